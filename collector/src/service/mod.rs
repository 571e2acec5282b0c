//! The gRPC services: thin, they turn messages into calls and errors into statuses.

pub mod artifact;
pub mod assignment;
pub mod control;
mod made;
pub mod node;
mod status;
pub mod telemetry;
mod watch;
mod written;
