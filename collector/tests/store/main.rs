//! The store and the services before it, as an agent meets them.

mod catalogue;
mod deliver;
mod delivery_order;
mod kill;
mod refusal;
mod samples;
mod scenario;
