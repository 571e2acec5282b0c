//! The writer's connection and what it remembers between commits: short keys and the heads of the streams.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use tinywatt_proto::columns::has_two_columns;
use tinywatt_proto::ids::{BootId, NodeId};
use tinywatt_proto::v1;

use super::check::Stream;
use super::sql;

/// Streams remembered: a thousand channels of 20 nodes over 10 restarts. Beyond it everything is read anew.
const HEAD_COUNT_MAX: usize = 4_096;

/// Where a stream stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) stream_key: i64,
    /// Every sequence below has arrived, but for gaps.
    pub(super) next_sequence: u64,
    /// Whether a record below `next_sequence` may be missing.
    pub(super) may_have_gaps: bool,
    /// Last instant of the batch with the highest sequence.
    pub(super) last_mono_ns: Option<u64>,
    /// How the channel's batches are coded; `None` before it is announced.
    pub(super) coding: Option<Coding>,
}

/// What of a channel's description decides how its batches are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coding {
    pub(super) time_unit_ns: u32,
    pub(super) two_columns: bool,
}

impl From<&v1::Channel> for Coding {
    fn from(channel: &v1::Channel) -> Self {
        Self { time_unit_ns: channel.time_unit_ns, two_columns: has_two_columns(channel) }
    }
}

/// Counters of one node that wait for the end of the transaction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) record_count: i64,
    pub(super) duplicate_count: i64,
    pub(super) rejected_count: i64,
}

/// The writer's connection and its memory.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    nodes: HashMap<NodeId, i64>,
    boots: HashMap<(i64, BootId), i64>,
    heads: HashMap<(i64, Stream), Head>,
    moved: HashMap<i64, u64>,
    counted: HashMap<i64, Counted>,
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            nodes: HashMap::new(),
            boots: HashMap::new(),
            heads: HashMap::new(),
            moved: HashMap::new(),
            counted: HashMap::new(),
        }
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(|_| ())
    }

    /// Writes what was only remembered, then commits.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        for (stream_key, next_sequence) in self.moved.drain() {
            self.connection
                .prepare_cached("UPDATE stream SET next_sequence = ?2 WHERE stream_key = ?1")?
                .execute(params![stream_key, sql::integer(next_sequence)])?;
        }
        for (node_key, counted) in self.counted.drain() {
            self.connection
                .prepare_cached(
                    "UPDATE node SET record_count = record_count + ?2, duplicate_count = duplicate_count + ?3, \
                     rejected_count = rejected_count + ?4 WHERE node_key = ?1",
                )?
                .execute(params![node_key, counted.record_count, counted.duplicate_count, counted.rejected_count])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        if self.heads.len() > HEAD_COUNT_MAX {
            self.forget();
        }
        Ok(())
    }

    /// Undoes the transaction and forgets what it may have changed.
    pub(super) fn roll_back(&mut self) {
        self.forget();
        // After some failures SQLite has rolled back by itself, and says so with an error.
        let _ = self.connection.execute_batch("ROLLBACK");
    }

    fn forget(&mut self) {
        self.nodes.clear();
        self.boots.clear();
        self.heads.clear();
        self.moved.clear();
        self.counted.clear();
    }

    /// Key of a registered node.
    pub(super) fn node_key(&mut self, node: &NodeId) -> rusqlite::Result<Option<i64>> {
        if let Some(key) = self.nodes.get(node) {
            return Ok(Some(*key));
        }
        let key = self
            .connection
            .prepare_cached("SELECT node_key FROM node WHERE node = ?1")?
            .query_row([node.as_str()], |row| row.get(0))
            .optional()?;
        if let Some(key) = key {
            self.nodes.insert(node.clone(), key);
        }
        Ok(key)
    }

    /// Key of a boot, made when it is new.
    pub(super) fn boot_key(&mut self, node_key: i64, boot: BootId) -> rusqlite::Result<i64> {
        if let Some(key) = self.boots.get(&(node_key, boot)) {
            return Ok(*key);
        }
        let key = self
            .connection
            .prepare_cached(
                "INSERT INTO boot (node_key, boot_id) VALUES (?1, ?2) \
                 ON CONFLICT DO UPDATE SET boot_id = excluded.boot_id RETURNING boot_key",
            )?
            .query_row(params![node_key, boot.as_bytes()], |row| row.get(0))?;
        self.boots.insert((node_key, boot), key);
        Ok(key)
    }

    /// Where a stream stands; at 0 when it is new.
    pub(super) fn head(&mut self, boot_key: i64, stream: Stream) -> rusqlite::Result<Head> {
        if let Some(head) = self.heads.get(&(boot_key, stream)) {
            return Ok(*head);
        }
        let (stream_key, next_sequence) = self
            .connection
            .prepare_cached(
                "INSERT INTO stream (boot_key, channel, next_sequence) VALUES (?1, ?2, 0) \
                 ON CONFLICT DO UPDATE SET channel = excluded.channel RETURNING stream_key, next_sequence",
            )?
            .query_row(params![boot_key, stream.column()], |row| Ok((row.get(0)?, sql::unsigned(row, 1)?)))?;
        let may_have_gaps = self
            .connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM gap WHERE stream_key = ?1 AND cause = 'missing')")?
            .query_row([stream_key], |row| row.get(0))?;
        let last_mono_ns = self
            .connection
            .prepare_cached("SELECT last_mono_ns FROM batch WHERE stream_key = ?1 ORDER BY sequence DESC LIMIT 1")?
            .query_row([stream_key], |row| sql::unsigned(row, 0))
            .optional()?;
        let head = Head { stream_key, next_sequence, may_have_gaps, last_mono_ns, coding: None };
        self.heads.insert((boot_key, stream), head);
        Ok(head)
    }

    /// Remembers where a stream stands now; written by [`Self::commit`].
    pub(super) fn set_head(&mut self, boot_key: i64, stream: Stream, head: Head) {
        self.moved.insert(head.stream_key, head.next_sequence);
        self.heads.insert((boot_key, stream), head);
    }

    /// Counters of a node; written by [`Self::commit`].
    pub(super) fn counted(&mut self, node_key: i64) -> &mut Counted {
        self.counted.entry(node_key).or_default()
    }
}
