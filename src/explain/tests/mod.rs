mod brute;
mod fixtures;
mod random;
mod tables;
