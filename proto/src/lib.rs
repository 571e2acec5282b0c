//! The wire of tinywatt: messages, units, ids, time and the record format.
//!
//! Everything here is a value. This crate does no I/O, reads no clock and knows neither agent nor collector.

pub mod backoff;
pub mod card;
pub mod chain;
pub mod columns;
pub mod hex;
pub mod ids;
pub mod inputs;
pub mod rail;
pub mod sample;
pub mod time;
pub mod units;

/// The messages and services of `tinywatt.v1`, generated from `proto/tinywatt/v1/*.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod v1 {
    include!("gen/tinywatt.v1.rs");
}

/// Largest gRPC message either side accepts, bytes. A batch is about 2 KB; a submitted experiment of a thousand
/// treatments stays under a megabyte.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Largest chunk of an artifact, report or export in one message, bytes.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;
