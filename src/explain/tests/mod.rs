mod brute;
mod fixtures;
mod random;
mod reference;
mod tables;
