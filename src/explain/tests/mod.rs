mod brute;
mod fixtures;
mod live;
mod random;
mod reference;
mod tables;
