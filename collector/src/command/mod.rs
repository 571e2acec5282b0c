//! The commands of the program `collector`.

pub mod serve;
