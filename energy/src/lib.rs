//! Turns watts into joules, with an uncertainty.
//!
//! The only place in the project that integrates. Everything is a pure function of its arguments: no I/O, no clock.
//!
//! The way of a figure: [`Series`] (samples of one channel) + window → [`integrate`] → [`Energy`] (joules and, as
//! separate components, what may be wrong with them) → [`above_idle`] subtracts the idle power of the windows around.

mod budget;
mod counter;
mod guard;
mod idle;
mod integrate;
mod join;
mod series;

pub use budget::{Budget, COVERAGE_FACTOR, Uncertainty};
pub use counter::{CounterErrors, CounterSample, window_min};
pub use guard::guard;
pub use idle::{AboveIdle, above_idle};
pub use integrate::{Energy, EnergyError, integrate};
pub use series::{EnergySample, Series};
