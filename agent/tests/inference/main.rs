//! The worker process on real models: right answers, and clear errors for everything that is wrong.
//!
//! LiteRT is looked for as the agent does. Without it these tests skip and say so.

mod answers;
mod refusals;
mod scene;
mod windows;
