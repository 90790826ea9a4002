mod brute;
mod fixtures;
mod formats;
mod live;
mod random;
mod reference;
mod tables;
