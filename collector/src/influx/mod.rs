//! Sets an InfluxDB 2 server up: organisation, buckets, tokens, the task that downsamples, and the files that tell of them.
//!
//! Everything is looked up by its name first, so that a second time changes nothing. Never writes a point, and no token or
//! password comes into a log, an error or standard output. Blocks.

mod admin;
mod client;
mod downsample;
mod files;
mod init;
mod retention;
mod token;
mod url;

pub use client::InfluxError;
pub(crate) use client::agent;
pub use files::{FileError, Folder, Settings};
pub use init::{InitError, Operator, Origin, Plan, init};
pub use retention::Retention;
pub use token::{Token, TokenError};
pub use url::{ServerUrl, UrlError};
