mod brute;
mod fixtures;
mod live;
mod random;
mod tables;
