//! Everything that links PyTorch's library: a worker that runs TorchScript modules, and a trainer.
//!
//! A crate of its own, because a program that links libtorch neither starts without it nor stays small; agent and
//! collector do both. Without the feature `torch` it holds what needs no library: the card in a module's file.

pub mod card;
#[cfg(feature = "torch")]
pub mod library;
#[cfg(feature = "torch")]
pub mod runtime;
#[cfg(feature = "torch")]
pub mod train;
