//! The link: delivers what the spool holds, probes the clock, and passes orders on. Decides nothing.
//!
//! One task, one connection. While there is none it tries again, ever more slowly; sampling and spooling go on, and the
//! next connection begins with the oldest record that was not acknowledged, of whatever boot id.

pub mod artifacts;
mod endpoint;
mod error;
mod refusal;
mod session;
mod window;

use std::collections::HashSet;
use std::mem::Discriminant;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tinywatt_proto::backoff;
use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::v1;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::clock::Clock;
use crate::spool::{Spool, SpoolBroken};
use crate::trial::desk::Counter;
pub use endpoint::{AddressError, endpoint};
use error::LinkError;
pub use refusal::{NoCollector, Refusal, ask};
use session::Session;
use tinywatt_proto::chain::Chain;

/// Connecting (5 s at most), registering and opening two streams are one small row at the collector; what takes longer
/// than this is not going to come.
const OPEN_LIMIT: Duration = Duration::from_secs(20);

/// Longest silence while an answer is due. The collector commits several times a second; what takes it longer than
/// this is not waited out but begun anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Who an agent is, as it says to the collector.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Name of the node.
    pub node: NodeId,
    /// This start of the agent.
    pub boot: BootId,
    /// What the node can measure and run.
    pub capabilities: v1::Capabilities,
}

/// The link of one agent.
#[derive(Debug)]
pub struct Link<C> {
    collector: String,
    endpoint: Endpoint,
    identity: Identity,
    spool: Spool,
    clock: C,
    counter: Counter,
    rng: ChaCha8Rng,
    told: Told,
    answer_limit: Duration,
}

/// What was said about an outage: each kind of reason once.
#[derive(Debug, Default)]
struct Told {
    reasons: HashSet<Discriminant<LinkError>>,
}

impl<C: Clock> Link<C> {
    /// Makes a link to `collector`, `http://HOST:PORT`.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(
        collector: &str,
        identity: Identity,
        spool: Spool,
        clock: C,
        counter: Counter,
    ) -> Result<Self, AddressError> {
        // Jitter must differ between agents, and a boot id does.
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(identity.boot.as_bytes());
        Ok(Self {
            collector: collector.to_owned(),
            endpoint: endpoint(collector)?,
            identity,
            spool,
            clock,
            counter,
            rng: ChaCha8Rng::from_seed(seed),
            told: Told::default(),
            answer_limit: ANSWER_LIMIT,
        })
    }

    /// Delivers until `stop` is cancelled and everything in the spool is acknowledged, or the connection is gone.
    ///
    /// What is not delivered stays in the spool. Bound the time after `stop` from outside.
    ///
    /// # Errors
    /// When the spool is broken. A collector that cannot be reached is no error.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SpoolBroken> {
        let mut failure_count = 0u32;
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                connected = timeout(OPEN_LIMIT, Session::connect(&mut self)) => connected,
                () = stop.cancelled() => break,
            };
            let ended = match connected.unwrap_or(Err(LinkError::Silent { seconds: OPEN_LIMIT.as_secs() })) {
                Ok(mut session) => {
                    let ended = session.run(&mut self, &stop).await;
                    if session.was_answered() {
                        failure_count = 0;
                    }
                    ended
                }
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => return Ok(()),
                Err(LinkError::Spool(broken)) => return Err(broken),
                Err(error) => self.told.lost(&error),
            }
            failure_count = failure_count.saturating_add(1);
            let wait = backoff::delay(failure_count, self.rng.random());
            tokio::select! {
                () = sleep(wait) => {}
                () = stop.cancelled() => break,
            }
        }
        Ok(())
    }
}

impl Told {
    /// Says once per outage and kind of reason that the link waits.
    fn lost(&mut self, error: &LinkError) {
        let error_chain = Chain(error);
        if self.reasons.insert(std::mem::discriminant(error)) {
            tracing::warn!(error = %error_chain, "no connection to the collector; sampling goes on, the spool keeps it");
        } else {
            tracing::debug!(error = %error_chain, "still no connection to the collector");
        }
    }

    /// Says once that an outage is over.
    fn answered(&mut self, collector: &str, version: &str) {
        tracing::info!(collector, collector_version = version, "connected to the collector");
        self.reasons.clear();
    }
}

#[cfg(test)]
pub(crate) mod tests;
