//! The commands of the program `collector`. Data go to standard output, words to standard error.

pub mod artifacts;
pub mod cancel;
mod client;
pub mod dataset;
pub mod demo;
pub mod export;
pub mod influx;
pub mod nodes;
mod output;
pub mod report;
pub mod runs;
pub mod schedule;
pub mod serve;
pub mod sink;
pub mod status;
mod table;
pub mod train;
pub mod trainer;
mod upload;
mod watch;

pub use client::{ADDRESS_DEFAULT, Client, address};
