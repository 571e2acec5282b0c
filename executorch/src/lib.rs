//! Everything that links ExecuTorch's libraries: a worker that runs `.pte` programs, with XNNPACK's kernels.
//!
//! A crate of its own, because a program that links them does not start without them; agent and collector must. The
//! libraries are those of the official wheel, complete in release 1.5.1 without Python and PyTorch (14.5 MB of them
//! are linked). They execute what the trainers' release (1.2.0) exports; outputs equal those of 1.5.1's own Python runtime
//! to the last bit. XNNPACK itself rounds differently in the two releases: of an untrained 8-bit ResNet-8's outputs 4.6 %
//! are one quantisation step away from what 1.2.0 gives, so a device's accuracy may differ in the last digits from the
//! trainer's.
//!
//! To build, with a C++ compiler:
//!
//! ```text
//! EXECUTORCH=$(executorch/fetch /opt/tinywatt) cargo build --release -p tinywatt-executorch --features executorch
//! ```
//!
//! and put `executorch-worker` beside the agent. The program finds the libraries where they were at build time (rpath);
//! where they lie elsewhere on the device, `LD_LIBRARY_PATH` names their folder. The build refuses another release than
//! 1.5.1, and so does the program at run time.
//!
//! A bridge of its own (`bridge.cpp`) instead of the crate `executorch`: that one sets no thread count, which every
//! measurement here states, and wants libclang and bindgen for it.

#[cfg(feature = "executorch")]
mod bridge;
#[cfg(feature = "executorch")]
pub mod runtime;

/// Version of ExecuTorch that the program was built with.
#[cfg(feature = "executorch")]
pub const VERSION: &str = env!("TINYWATT_EXECUTORCH_VERSION");
