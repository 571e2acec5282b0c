//! The commands of the program.

mod channels;
pub mod exec;
mod meter;
pub mod read;
