//! The store and the services before it, as an agent meets them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod catalogue;
mod deliver;
mod delivery_order;
mod feed;
mod health;
mod kill;
mod refusal;
mod samples;
mod scenario;
mod sink;
