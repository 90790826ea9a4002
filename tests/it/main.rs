//! The integration tests: one binary, because linking is what costs.
//!
//! `kit` starts real brokers and real `probity` processes; the other modules are the tests, one
//! module per promise.

mod bucket;
mod assignment;
mod audit;
mod avro;
mod command;
mod drift;
mod explain;
mod garbage;
mod gpu;
mod image;
mod kit;
mod kills;
mod leaf;
mod limits;
mod metrics;
mod models;
mod operator;
mod packages;
mod poison;
mod reference;
mod rules;
mod spine;
mod standard;
mod tamper;
mod walkthrough;
mod weather;
mod zombies;

mod accounting;
mod broker;
