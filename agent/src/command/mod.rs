//! The commands of the program.

pub mod exec;
pub mod read;
