//! The sink against a real InfluxDB 2: what is in the store is there, once, to the last bit and nanosecond, whatever
//! happened to the server on the way.

mod expected;
mod faults;
mod kills;
mod outage;
mod read_back;
mod small_disk;
mod world;
