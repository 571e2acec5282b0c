//! Why a connection ended.

use tonic::Status;

use super::refusal::{Refusal, is_strange};
use crate::spool::SpoolBroken;

/// A connection to the collector could not be made, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(
        "failed to connect to the collector at {collector}: start it there with `collector serve`, or set `collector`"
    )]
    Connect {
        collector: String,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("the collector at {collector} did not register this node")]
    Register {
        collector: String,
        #[source]
        source: Refusal,
    },
    #[error("what listens at {collector} is not a tinywatt collector: check the port")]
    Stranger { collector: String },
    #[error("the collector closed the {stream} stream")]
    Closed {
        stream: &'static str,
        #[source]
        source: Option<Refusal>,
    },
    #[error("the collector has not answered for {seconds} s")]
    Silent { seconds: u64 },
    #[error("the collector acknowledged record {acknowledged}, and {sent} was the last one sent")]
    Acknowledgement { acknowledged: u64, sent: u64 },
    #[error("the collector does not take what this node says about its work")]
    WorkNotRead,
    #[error("the collector sends assignments faster than a node can refuse them")]
    TooManyOrders,
    #[error(transparent)]
    Spool(#[from] SpoolBroken),
}

impl LinkError {
    pub(super) fn unregistered(collector: String, status: Status) -> Self {
        if is_strange(&status) {
            return Self::Stranger { collector };
        }
        Self::Register { collector, source: status.into() }
    }

    pub(super) fn closed(stream: &'static str, source: Option<Status>) -> Self {
        Self::Closed { stream, source: source.map(Refusal::from) }
    }
}
