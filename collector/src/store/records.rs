//! Taking records in: each once, in any order, with every hole written down.

use std::sync::PoisonError;

use prost::Message;
use rusqlite::{Connection, params};
use tinywatt_proto::ids::NodeId;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;

use super::check::{self, Refusal};
use super::facts::Slot;
use super::place::{Place, insert_gap};
use super::session::Session;
use super::{Store, Urgency, WriteError, sql};

/// Refused records kept of each node, the newest: enough to see what goes wrong, too few to fill a disk.
const REJECTED_COUNT_MAX: u32 = 256;

/// Bytes kept of a refused record: all of any batch.
const REJECTED_BYTES_MAX: usize = 64 << 10;

/// What one commit made durable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Committed {
    /// Everything up to and including this delivery id is durable; 0 when there was no record.
    pub delivery_id: u64,
    /// Outcomes that were not known before, in order.
    pub outcomes: Vec<v1::TrialOutcome>,
    /// Reasons of the records that were refused, and kept as such.
    pub rejected: Vec<String>,
}

/// Records were not committed; none of them is acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The node never registered.
    #[error("node {node} is not registered: register before delivering")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// The store failed.
    #[error("failed to commit {record_count} records of node {node}")]
    Write {
        /// The node.
        node: NodeId,
        /// Records of the commit.
        record_count: usize,
        /// Cause.
        #[source]
        source: WriteError,
    },
}

// === impl Store ===

impl Store {
    /// Makes records durable and gives the acknowledgement for them.
    ///
    /// A record with a known key changes nothing. A record that cannot be stored is kept among the rejected with its
    /// reason, and acknowledged: it must not block what comes after it.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing is acknowledged, and the sender keeps its records.
    pub async fn commit_records(&self, node: NodeId, records: Vec<v1::Record>) -> Result<Committed, CommitError> {
        self.commit_records_with(Urgency::Now, node, records).await
    }

    /// Like [`Self::commit_records`], with a say in how soon.
    ///
    /// # Errors
    /// As [`Self::commit_records`].
    pub async fn commit_records_with(
        &self,
        urgency: Urgency,
        node: NodeId,
        records: Vec<v1::Record>,
    ) -> Result<Committed, CommitError> {
        let (sender, record_count) = (node.clone(), records.len());
        match self.parts.writer.write(urgency, move |session| commit(session, &sender, &records)).await {
            Ok(Some(committed)) => {
                let mut delivered = self.parts.delivered.lock().unwrap_or_else(PoisonError::into_inner);
                delivered.insert(node, committed.delivery_id);
                Ok(committed)
            }
            Ok(None) => Err(CommitError::UnknownNode { node }),
            Err(source) => Err(CommitError::Write { node, record_count, source }),
        }
    }
}

fn commit(session: &mut Session, node: &NodeId, records: &[v1::Record]) -> rusqlite::Result<Option<Committed>> {
    let Some(node_key) = session.node_key(node)? else { return Ok(None) };
    let mut committed = Committed::default();
    for record in records {
        committed.delivery_id = committed.delivery_id.max(record.delivery_id);
        match take_in(session, node_key, record)? {
            Taken::Stored => {
                session.counted(node_key).record_count += 1;
                if let Some(Fact::Outcome(outcome)) = &record.fact {
                    committed.outcomes.push(outcome.clone());
                }
            }
            Taken::Known => session.counted(node_key).duplicate_count += 1,
            Taken::Refused(refusal) => {
                let reason = refusal.to_string();
                keep_rejected(&session.connection, node_key, record, &reason)?;
                session.counted(node_key).rejected_count += 1;
                committed.rejected.push(reason);
            }
        }
    }
    Ok(Some(committed))
}

/// What became of a record.
enum Taken {
    Stored,
    Known,
    Refused(Refusal),
}

fn take_in(session: &mut Session, node_key: i64, record: &v1::Record) -> rusqlite::Result<Taken> {
    let key = match check::key(record) {
        Ok(key) => key,
        Err(refusal) => return Ok(Taken::Refused(refusal)),
    };
    let boot_key = session.boot_key(node_key, key.boot)?;
    let mut head = session.head(boot_key, key.stream)?;
    let Some(place) = Place::find(&session.connection, &head, key.sequence)? else { return Ok(Taken::Known) };
    let slot = Slot { connection: &session.connection, boot_key, sequence: key.sequence, is_late: place.is_late() };
    let stored = match &record.fact {
        Some(Fact::Batch(batch)) => slot.batch(&mut head, batch)?,
        Some(Fact::ChannelOpened(channel)) => slot.channel(channel)?,
        Some(Fact::Marker(marker)) => slot.marker(marker)?,
        Some(Fact::ClockProbe(probe)) => slot.clock_probe(probe)?,
        Some(Fact::Outcome(outcome)) => slot.outcome(outcome)?,
        Some(Fact::Health(health)) => slot.health(health)?,
        None => Err(Refusal::UnknownFact),
    };
    place.occupy(&session.connection, &mut head, key.sequence)?;
    if stored.is_err() {
        insert_gap(&session.connection, head.stream_key, key.sequence, key.sequence + 1, "rejected")?;
    }
    session.set_head(boot_key, key.stream, head);
    Ok(stored.map_or_else(Taken::Refused, |()| Taken::Stored))
}

fn keep_rejected(connection: &Connection, node_key: i64, record: &v1::Record, reason: &str) -> rusqlite::Result<()> {
    let mut bytes = record.encode_to_vec();
    let record_bytes = i64::try_from(bytes.len()).expect("a message is shorter than memory");
    bytes.truncate(REJECTED_BYTES_MAX);
    connection
        .prepare_cached(
            "INSERT INTO rejected (node_key, delivery_id, reason, record_bytes, record) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![node_key, sql::integer(record.delivery_id), reason, record_bytes, bytes])?;
    connection
        .prepare_cached(
            "DELETE FROM rejected WHERE node_key = ?1 AND rejected_key <= (SELECT rejected_key FROM rejected \
             WHERE node_key = ?1 ORDER BY rejected_key DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![node_key, REJECTED_COUNT_MAX])?;
    Ok(())
}
