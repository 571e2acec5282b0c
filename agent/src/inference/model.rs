//! What a worker needs of a runtime, so that each runtime can live in a program of its own.
//!
//! LiteRT is opened by the agent's own program. PyTorch's library is linked, and a program that links it neither starts
//! without it nor stays small; so it has its own worker program, which serves the same questions.

use std::path::Path;

use super::tensor::TensorInfo;

/// A model that asks for a larger input is wrong: 1,024 × 1,024 in colour are 12 MiB.
pub const INPUT_BYTES_MAX: usize = 64 << 20;

/// Why a runtime did not do what it was asked; the chain of causes is told to people.
pub type Reason = Box<dyn std::error::Error + Send + Sync>;

/// What is to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelRequest<'a> {
    /// The model's file.
    pub path: &'a Path,
    /// Threads that the runtime may use.
    pub thread_count: u32,
    /// Quantised engine that the model must have been made for; empty: as the model says.
    pub engine: &'a str,
}

/// Executes models.
pub trait Runtime {
    /// What it loads.
    type Model: Model;

    /// Makes the library ready, so that the memory looked at before a model is loaded is everything else.
    ///
    /// # Errors
    /// When the library is missing or not one that is known.
    fn open(&mut self, library: Option<&Path>) -> Result<(), Reason>;

    /// Version of the library.
    fn version(&self) -> String;

    /// Loads a model; [`Runtime::open`] came before.
    ///
    /// # Errors
    /// When the file cannot be read or executed.
    fn load(&mut self, request: ModelRequest<'_>) -> Result<Self::Model, Reason>;
}

/// A model with one input and one output, ready to run.
pub trait Model {
    /// The input tensor.
    fn input(&self) -> &TensorInfo;

    /// The output tensor.
    fn output(&self) -> &TensorInfo;

    /// Lets `fill` write all bytes of the input tensor.
    ///
    /// # Errors
    /// When the runtime does not take them.
    fn write_input(&mut self, fill: impl FnOnce(&mut [u8])) -> Result<(), Reason>;

    /// Executes the model once.
    ///
    /// # Errors
    /// When the runtime fails.
    fn run(&mut self) -> Result<(), Reason>;

    /// Lets `take` read all bytes of the output tensor.
    ///
    /// # Errors
    /// When the runtime does not hand them out.
    fn read_output<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Result<T, Reason>;
}
