mod brute;
mod fixtures;
mod formats;
mod live;
mod plan;
mod random;
mod reference;
mod tables;
