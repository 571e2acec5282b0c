//! The worker: a child process that holds one model and one input set.
//!
//! A corrupt model can crash a runtime, and a runtime's memory cannot be told from the agent's own; in a process of its
//! own neither matters. The agent talks to it over one socket, the child's standard input, in lines of JSON; whatever
//! a library prints to standard output goes nowhere and cannot garble an answer.

mod client;
mod error;
mod memory;
mod message;
mod serve;
mod session;

pub use client::{Active, Evaluation, LoadRequest, Loaded, Memory, Worker};
pub use error::WorkerError;
pub use serve::{ServeError, serve};
