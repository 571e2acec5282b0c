//! Nodes: who registered, when they were seen, what they delivered, how their clocks stand.

use prost::Message;
use rusqlite::{OptionalExtension, params};
use tinywatt_proto::ids::{BootId, NameError, NodeId};
use tinywatt_proto::v1;

use super::{ReadError, Store, WriteError, sql};
use crate::clock_fit::{self, ClockFit};

/// Newest probes of a boot that a fit looks at: more than an hour of one a second. Older ones tell of another drift.
const PROBE_COUNT_MAX: u32 = 4_096;

/// A registered node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    /// The node.
    pub node: NodeId,
    /// Version of its agent.
    pub agent_version: String,
    /// What it said it can do.
    pub capabilities: v1::Capabilities,
    /// When it was last heard of.
    pub last_seen_unix_ns: u64,
    /// Boot id of its last registration.
    pub boot: BootId,
}

/// What a node delivered, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeCounts {
    /// Records stored.
    pub record_count: u64,
    /// Records that were there already.
    pub duplicate_count: u64,
    /// Records that were refused.
    pub rejected_count: u64,
    /// Records that are missing from their sequences.
    pub missing_count: u64,
}

/// A node could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The name is not one.
    #[error("failed to register the node: correct its name in the agent's configuration")]
    Name(#[source] NameError),
    /// The boot id is not one.
    #[error("failed to register node {node}: its boot id has {byte_count} bytes instead of 16")]
    BootId {
        /// The node.
        node: NodeId,
        /// Bytes it sent.
        byte_count: usize,
    },
    /// The store failed.
    #[error("failed to register node {node}")]
    Write {
        /// The node.
        node: NodeId,
        /// Cause.
        #[source]
        source: WriteError,
    },
}

// === impl Store ===

impl Store {
    /// Registers a node, or what changed about it.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing is changed.
    pub async fn upsert_node(&self, request: &v1::RegisterRequest, seen_unix_ns: u64) -> Result<(), RegisterError> {
        let node: NodeId = request.node.parse().map_err(RegisterError::Name)?;
        let boot = BootId::from_bytes(&request.boot_id)
            .ok_or_else(|| RegisterError::BootId { node: node.clone(), byte_count: request.boot_id.len() })?;
        let version = request.agent_version.clone();
        let capabilities = request.capabilities.clone().unwrap_or_default().encode_to_vec();
        let name = node.clone();
        self.write(move |session| {
            session
                .connection
                .prepare_cached(
                    "INSERT INTO node (node, agent_version, capabilities, boot_id, last_seen_unix_ns) \
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (node) DO UPDATE SET \
                     agent_version = excluded.agent_version, capabilities = excluded.capabilities, \
                     boot_id = excluded.boot_id, last_seen_unix_ns = excluded.last_seen_unix_ns",
                )?
                .execute(params![name.as_str(), version, capabilities, boot.as_bytes(), sql::integer(seen_unix_ns)])?;
            // Known from now on, see `is_replaced`.
            session
                .connection
                .prepare_cached(
                    "INSERT INTO boot (node_key, boot_id) SELECT node_key, ?2 FROM node WHERE node = ?1 \
                     ON CONFLICT DO NOTHING",
                )?
                .execute(params![name.as_str(), boot.as_bytes()])
                .map(|_| ())
        })
        .await
        .map_err(|source| RegisterError::Write { node, source })
    }

    /// Notes that a node was heard of. Nothing happens for a node that never registered.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn node_seen(&self, node: &NodeId, seen_unix_ns: u64) -> Result<(), WriteError> {
        let name = node.clone();
        self.write(move |session| {
            session
                .connection
                .prepare_cached("UPDATE node SET last_seen_unix_ns = ?2 WHERE node = ?1")?
                .execute(params![name.as_str(), sql::integer(seen_unix_ns)])
                .map(|_| ())
        })
        .await
    }

    /// All nodes that ever registered, by name.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, ReadError> {
        self.read(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT node, agent_version, capabilities, last_seen_unix_ns, boot_id FROM node ORDER BY node",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(NodeRow {
                    node: sql::node(row, 0)?,
                    agent_version: row.get(1)?,
                    capabilities: sql::message(row, 2)?,
                    last_seen_unix_ns: sql::unsigned(row, 3)?,
                    boot: sql::boot_id(row, 4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Boot id of a node's last registration; `None` for a node that never registered.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn registered_boot(&self, node: &NodeId) -> Result<Option<BootId>, ReadError> {
        let name = node.clone();
        self.read(move |transaction| {
            Ok(transaction
                .prepare_cached("SELECT boot_id FROM node WHERE node = ?1")?
                .query_row([name.as_str()], |row| sql::boot_id(row, 0))
                .optional()?)
        })
        .await
    }

    /// Whether another start of a node's agent has registered since this one did.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn is_replaced(&self, node: &NodeId, boot: BootId) -> Result<bool, ReadError> {
        let name = node.clone();
        self.read(move |transaction| {
            Ok(transaction
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM node JOIN boot USING (node_key) \
                     WHERE node = ?1 AND boot.boot_id = ?2 AND node.boot_id <> ?2)",
                )?
                .query_row(params![name.as_str(), boot.as_bytes()], |row| row.get(0))?)
        })
        .await
    }

    /// What a node delivered; `None` for a node that never registered.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn node_counts(&self, node: &NodeId) -> Result<Option<NodeCounts>, ReadError> {
        let name = node.clone();
        self.read(move |transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT record_count, duplicate_count, rejected_count, \
                 (SELECT coalesce(sum(gap.found_sequence - gap.expected_sequence), 0) \
                  FROM boot JOIN stream USING (boot_key) JOIN gap USING (stream_key) \
                  WHERE boot.node_key = node.node_key AND gap.cause = 'missing') \
                 FROM node WHERE node = ?1",
            )?;
            let counts = statement.query_row([name.as_str()], |row| {
                Ok(NodeCounts {
                    record_count: sql::unsigned(row, 0)?,
                    duplicate_count: sql::unsigned(row, 1)?,
                    rejected_count: sql::unsigned(row, 2)?,
                    missing_count: sql::unsigned(row, 3)?,
                })
            });
            Ok(counts.optional()?)
        })
        .await
    }

    /// Where a boot's clock stands against Unix time; `None` before its first probe.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn clock_fit(&self, node: &NodeId, boot: BootId) -> Result<Option<ClockFit>, ReadError> {
        let name = node.clone();
        self.read(move |transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT sent_mono_ns, received_unix_ns, answered_unix_ns, returned_mono_ns \
                 FROM clock_probe JOIN boot USING (boot_key) JOIN node USING (node_key) \
                 WHERE node = ?1 AND boot.boot_id = ?2 ORDER BY sequence DESC LIMIT ?3",
            )?;
            let rows = statement.query_map(params![name.as_str(), boot.as_bytes(), PROBE_COUNT_MAX], |row| {
                Ok(v1::ClockProbe {
                    sent_mono_ns: sql::unsigned(row, 0)?,
                    received_unix_ns: sql::unsigned(row, 1)?,
                    answered_unix_ns: sql::unsigned(row, 2)?,
                    returned_mono_ns: sql::unsigned(row, 3)?,
                })
            })?;
            let probes: Vec<_> = rows.collect::<Result<_, _>>()?;
            Ok(clock_fit::fit(&probes))
        })
        .await
    }
}
