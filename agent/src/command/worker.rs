//! `agent worker`: the process that holds a model. Started by the agent itself, hidden from help.

use crate::inference::litert::LiteRt;
use crate::inference::locate::Surroundings;
use crate::inference::worker::serve;

/// Serves the agent that started this process.
///
/// # Errors
/// When the worker cannot go on; the agent has been told.
pub fn run(surroundings: &Surroundings) -> anyhow::Result<()> {
    Ok(serve(LiteRt::new(surroundings.clone()))?)
}
