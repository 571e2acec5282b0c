//! What came and what changed, in the order of the commits, for whoever writes it on.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use tinywatt_proto::ids::{AttemptId, NodeId, RunId};
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;

use super::axis::probe;
use super::reader::Failure;
use super::{ReadError, Store, sql};

/// A batch as it lies in the store, not decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredBatch {
    /// Key that ascends in the order of arrival.
    pub batch_key: i64,
    /// Its boot.
    pub boot_key: i64,
    /// Its channel within the boot.
    pub channel: u32,
    /// Its stream.
    pub stream_key: i64,
    /// The batch, lost readings included.
    pub batch: v1::SampleBatch,
    /// Its place among the batches of its stream.
    pub sequence: u64,
    /// The batch before it in sequence, as far as one has arrived.
    pub before: Option<Neighbour>,
    /// The batch after it in sequence, when that arrived before it.
    pub overtaken_by: Option<Neighbour>,
}

/// A batch beside another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its sequence.
    pub sequence: u64,
    /// Its instant on the side that is near: the last reading of the one before, the first of the one after.
    pub at: MonoNs,
}

/// The batch of a stream that was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its sequence and its last reading.
    pub batch: Neighbour,
    /// Whether one after it in sequence came before it.
    pub is_overtaken: bool,
}

impl From<&StoredBatch> for Newest {
    fn from(stored: &StoredBatch) -> Self {
        Self {
            batch: Neighbour { sequence: stored.sequence, at: MonoNs(stored.batch.last_mono_ns) },
            is_overtaken: stored.overtaken_by.is_some(),
        }
    }
}

/// What changed after a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// Each with its key, in the order of the commits. What is gone by now is left out.
    pub changed: Vec<(i64, Changed)>,
    /// Key of the last one, also when that is gone.
    pub last_key: i64,
    /// Whether these were all.
    pub is_level: bool,
}

/// A channel that batches belong to.
#[derive(Debug, Clone, PartialEq)]
pub struct FedChannel {
    /// Its node.
    pub node: NodeId,
    /// Its description, with the scale.
    pub channel: v1::Channel,
}

/// Something that came or changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// A run was started or ended.
    Run(RunId),
    /// An attempt was assessed.
    Attempt(AttemptId),
    /// A phase of an attempt began or ended.
    Marker {
        /// The boot whose clock it is.
        boot_key: i64,
        /// Its node.
        node: NodeId,
        /// The marker.
        marker: v1::Marker,
    },
    /// A clock probe.
    ClockProbe {
        /// The boot whose clock it is.
        boot_key: i64,
        /// Its node.
        node: NodeId,
        /// The probe.
        probe: v1::ClockProbe,
    },
    /// How an agent is.
    AgentHealth {
        /// The boot whose clock it is.
        boot_key: i64,
        /// Its node.
        node: NodeId,
        /// What it told.
        health: v1::NodeHealth,
    },
    /// How the nodes and the collector are: JSON, as it was kept.
    Health {
        /// When.
        at_unix_ns: u64,
        /// The JSON.
        health: String,
    },
}

// === impl Store ===

impl Store {
    /// Batches after a key, in the order of arrival: at most `count_max`, and no more once they hold `reading_count_max`
    /// readings. `newest` tells of each stream the last batch before, as far as the caller knows it: what follows that one
    /// in sequence needs no look at others.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn batches_after(
        &self,
        batch_key: i64,
        count_max: u32,
        reading_count_max: u64,
        newest: HashMap<i64, Newest>,
    ) -> Result<Vec<StoredBatch>, ReadError> {
        self.read(move |transaction| batches_after(transaction, batch_key, count_max, reading_count_max, newest)).await
    }

    /// The channel of a boot.
    ///
    /// # Errors
    /// When the store failed; a batch is stored only once its channel is.
    pub async fn fed_channel(&self, boot_key: i64, channel: u32) -> Result<FedChannel, ReadError> {
        self.read(move |transaction| {
            Ok(transaction
                .prepare_cached(
                    "SELECT node, description FROM channel JOIN boot USING (boot_key) JOIN node USING (node_key) \
                     WHERE boot_key = ?1 AND channel = ?2",
                )?
                .query_row(params![boot_key, channel], |row| {
                    Ok(FedChannel { node: sql::node(row, 0)?, channel: sql::message(row, 1)? })
                })?)
        })
        .await
    }

    /// The key of a boot of a node; `None` when it delivered nothing.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn boot_key(&self, node: &NodeId, boot: tinywatt_proto::ids::BootId) -> Result<Option<i64>, ReadError> {
        let node = node.clone();
        self.read(move |transaction| {
            Ok(transaction
                .prepare_cached(
                    "SELECT boot_key FROM boot JOIN node USING (node_key) WHERE node = ?1 AND boot.boot_id = ?2",
                )?
                .query_row(params![node.as_str(), boot.as_bytes()], |row| row.get(0))
                .optional()?)
        })
        .await
    }

    /// What changed after a key, at most so many.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn changes_after(&self, change_key: i64, count_max: u32) -> Result<Changes, ReadError> {
        self.read(move |transaction| changes_after(transaction, change_key, count_max)).await
    }
}

fn batches_after(
    transaction: &Transaction<'_>,
    batch_key: i64,
    count_max: u32,
    reading_count_max: u64,
    mut newest: HashMap<i64, Newest>,
) -> Result<Vec<StoredBatch>, Failure> {
    let mut statement = transaction.prepare_cached(
        "SELECT batch_key, boot_key, channel, stream_key, sequence, first_mono_ns, last_mono_ns, reading_count, lost, \
         columns, columns_crc32 FROM batch JOIN stream USING (stream_key) \
         WHERE batch_key > ?1 ORDER BY batch_key LIMIT ?2",
    )?;
    let mut rows = statement.query(params![batch_key, count_max])?;
    let mut batches: Vec<StoredBatch> = Vec::new();
    let mut reading_count = 0;
    while reading_count < reading_count_max
        && let Some(row) = rows.next()?
    {
        let batch = stored_batch(row)?;
        reading_count += u64::from(batch.batch.reading_count);
        batches.push(batch);
    }
    for stored in &mut batches {
        // One that came late may stand before a gap of its own, which this one then makes smaller.
        let follows = |newest: &&Newest| newest.batch.sequence + 1 == stored.sequence && !newest.is_overtaken;
        match newest.get(&stored.stream_key).filter(follows) {
            Some(newest) => stored.before = Some(newest.batch),
            None => look_around(transaction, stored)?,
        }
        newest.insert(stored.stream_key, Newest::from(&*stored));
    }
    Ok(batches)
}

/// Finds the batches around one that does not follow the last one in sequence.
fn look_around(transaction: &Transaction<'_>, batch: &mut StoredBatch) -> Result<(), Failure> {
    let neighbour =
        |row: &Row<'_>| Ok(Neighbour { sequence: sql::unsigned(row, 0)?, at: MonoNs(sql::unsigned(row, 1)?) });
    let (sequence, key) = (sql::integer(batch.sequence), batch.batch_key);
    // Only of what had arrived when it did: the same, however often and however late this is read.
    batch.before = transaction
        .prepare_cached(
            "SELECT sequence, last_mono_ns FROM batch WHERE stream_key = ?1 AND sequence < ?2 AND batch_key < ?3 \
             ORDER BY sequence DESC LIMIT 1",
        )?
        .query_row(params![batch.stream_key, sequence, key], neighbour)
        .optional()?;
    batch.overtaken_by = transaction
        .prepare_cached(
            "SELECT sequence, first_mono_ns FROM batch WHERE stream_key = ?1 AND sequence > ?2 AND batch_key < ?3 \
             ORDER BY sequence LIMIT 1",
        )?
        .query_row(params![batch.stream_key, sequence, key], neighbour)
        .optional()?;
    Ok(())
}

fn stored_batch(row: &Row<'_>) -> rusqlite::Result<StoredBatch> {
    let lost = match row.get_ref(8)?.as_blob_or_null()? {
        Some(_) => sql::message::<v1::SampleBatch>(row, 8)?.lost_readings,
        None => Vec::new(),
    };
    let columns: Vec<u8> = row.get(9)?;
    let channel = row.get(2)?;
    Ok(StoredBatch {
        batch_key: row.get(0)?,
        boot_key: row.get(1)?,
        channel,
        stream_key: row.get(3)?,
        sequence: sql::unsigned(row, 4)?,
        batch: v1::SampleBatch {
            channel,
            first_mono_ns: sql::unsigned(row, 5)?,
            last_mono_ns: sql::unsigned(row, 6)?,
            reading_count: row.get(7)?,
            lost_readings: lost,
            columns: columns.into(),
            columns_crc32: row.get(10)?,
        },
        before: None,
        overtaken_by: None,
    })
}

/// One row of `change`, before what it points to was read.
struct Pointer {
    key: i64,
    fact: String,
    run: Option<String>,
    attempt_key: Option<i64>,
    boot_key: Option<i64>,
    sequence: Option<i64>,
    health_key: Option<i64>,
}

fn changes_after(transaction: &Transaction<'_>, change_key: i64, count_max: u32) -> Result<Changes, Failure> {
    let mut statement = transaction.prepare_cached(
        "SELECT change_key, fact, run, attempt_key, boot_key, sequence, health_key FROM change \
         WHERE change_key > ?1 ORDER BY change_key LIMIT ?2",
    )?;
    let rows = statement.query_map(params![change_key, count_max], |row| {
        Ok(Pointer {
            key: row.get(0)?,
            fact: row.get(1)?,
            run: row.get(2)?,
            attempt_key: row.get(3)?,
            boot_key: row.get(4)?,
            sequence: row.get(5)?,
            health_key: row.get(6)?,
        })
    })?;
    let pointers: Vec<Pointer> = rows.collect::<Result<_, _>>()?;
    let last_key = pointers.last().map_or(change_key, |pointer| pointer.key);
    let is_level = pointers.len() < count_max as usize;
    let mut all = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        if let Some(changed) = changed(transaction, &pointer)? {
            all.push((pointer.key, changed));
        }
    }
    Ok(Changes { changed: all, last_key, is_level })
}

fn changed(transaction: &Transaction<'_>, pointer: &Pointer) -> Result<Option<Changed>, Failure> {
    let of_boot = |sql: &str| transaction.prepare_cached(sql);
    let keys = params![pointer.boot_key, pointer.sequence];
    let boot_key = pointer.boot_key.unwrap_or_default();
    Ok(match pointer.fact.as_str() {
        "run" => {
            let run = pointer.run.as_deref().unwrap_or_default().parse();
            Some(Changed::Run(run.map_err(|source| sql::unreadable(2, source))?))
        }
        "attempt" => transaction
            .prepare_cached("SELECT run, trial, attempt FROM attempt WHERE attempt_key = ?1")?
            .query_row([pointer.attempt_key], |row| {
                let run: String = row.get(0)?;
                let run = run.parse().map_err(|source| sql::unreadable(0, source))?;
                Ok(Changed::Attempt(AttemptId { run, trial: row.get(1)?, attempt: row.get(2)? }))
            })
            .optional()?,
        "marker" => of_boot(
            "SELECT node, run, trial, attempt, mono_ns, phase, edge FROM marker JOIN boot USING (boot_key) \
             JOIN node USING (node_key) WHERE boot_key = ?1 AND sequence = ?2",
        )?
        .query_row(keys, |row| {
            let trial = v1::TrialKey { run_id: row.get(1)?, trial: row.get(2)?, attempt: row.get(3)? };
            let (mono_ns, phase, edge) = (sql::unsigned(row, 4)?, row.get(5)?, row.get(6)?);
            let marker = v1::Marker { trial: Some(trial), mono_ns, phase, edge };
            Ok(Changed::Marker { boot_key, node: sql::node(row, 0)?, marker })
        })
        .optional()?,
        "clock_probe" => of_boot(
            "SELECT sent_mono_ns, received_unix_ns, answered_unix_ns, returned_mono_ns, node FROM clock_probe \
             JOIN boot USING (boot_key) JOIN node USING (node_key) WHERE boot_key = ?1 AND sequence = ?2",
        )?
        .query_row(keys, |row| Ok(Changed::ClockProbe { boot_key, node: sql::node(row, 4)?, probe: probe(row)? }))
        .optional()?,
        "agent_health" => of_boot(
            "SELECT node, health FROM agent_health JOIN boot USING (boot_key) JOIN node USING (node_key) \
             WHERE boot_key = ?1 AND sequence = ?2",
        )?
        .query_row(keys, |row| {
            Ok(Changed::AgentHealth { boot_key, node: sql::node(row, 0)?, health: sql::message(row, 1)? })
        })
        .optional()?,
        // The only one left that the table's CHECK lets in.
        _ => transaction
            .prepare_cached("SELECT at_unix_ns, health FROM health WHERE health_key = ?1")?
            .query_row([pointer.health_key], |row| {
                Ok(Changed::Health { at_unix_ns: sql::unsigned(row, 0)?, health: row.get(1)? })
            })
            .optional()?,
    })
}
