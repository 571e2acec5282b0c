//! Nodes that deliver samples as agents do, many and fast, without being agents.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use tinywatt_agent::clock::{Clock, Virtual};
use tinywatt_agent::sensor::{self, Poll, SensorConfig};
use tinywatt_proto::columns::Encoder;
use tinywatt_proto::ids::BootId;
use tinywatt_proto::sample::Flags;
use tinywatt_proto::v1;
use tinywatt_proto::v1::deliver_request::Item;
use tinywatt_proto::v1::node_service_client::NodeServiceClient;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::telemetry_service_client::TelemetryServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// An INA219 with 12 bits for the shunt and 11 for the bus: 532 µs and 284 µs, 1.23 kHz.
const PERIOD_NS: u64 = 816_000;

/// 250 ms.
pub const BATCH_READING_COUNT: u64 = 310;

/// Time that a batch covers.
pub const BATCH_NS: u64 = PERIOD_NS * BATCH_READING_COUNT;

/// Different batches; longer streams repeat them at later times.
pub const PATTERN_COUNT: u64 = 64;

/// Records of a node that are no batches: its channel and one clock probe.
pub const EVENT_COUNT: u64 = 2;

/// Nodes that deliver.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// How many, one channel each.
    pub node_count: u8,
    /// Which batches of each.
    pub sequences: Range<u64>,
    /// Whether they deliver a batch when it is sampled, or as fast as they can, as after an outage.
    pub is_live: bool,
    /// Unix time of the begin of their monotonic clocks.
    pub begin_unix_ns: u64,
}

/// What they deliver.
#[derive(Debug, Clone)]
pub struct Load {
    patterns: Arc<[v1::SampleBatch]>,
}

impl Load {
    /// Samples the patterns.
    ///
    /// # Errors
    /// When the emulated chip fails.
    pub fn new() -> Result<Self> {
        Ok(Self { patterns: patterns()?.into() })
    }

    /// The different batches.
    pub fn patterns(&self) -> &[v1::SampleBatch] {
        &self.patterns
    }

    /// The batch with this sequence: a pattern, moved in time.
    ///
    /// # Panics
    /// Never: there are few patterns.
    pub fn batch(&self, sequence: u64) -> v1::SampleBatch {
        let index = usize::try_from(sequence % PATTERN_COUNT).expect("there are few patterns");
        let pattern = &self.patterns[index];
        let later_ns = sequence / PATTERN_COUNT * self.patterns.last().map_or(0, |last| last.last_mono_ns);
        v1::SampleBatch {
            first_mono_ns: pattern.first_mono_ns + later_ns,
            last_mono_ns: pattern.last_mono_ns + later_ns,
            ..pattern.clone()
        }
    }
}

/// The pattern whose first reading came late.
const FLAGGED_PATTERN: usize = 3;

/// Largest delay of a look at the chip, ns: ± 30 µs around the middle.
const JITTER_NS: u64 = 60_000;

/// Batches of an emulated INA219 under the agent's own driver: an idle load, the chip's noise, and a thread that looks
/// late by up to [`JITTER_NS`]. The delays are the same in every run.
fn patterns() -> Result<Vec<v1::SampleBatch>> {
    let clock = Virtual::default();
    let config: SensorConfig = serde_json::from_str(r#"{"source": "ina219-emulator", "name": "rail"}"#)?;
    let mut sensor = sensor::build(&config, clock.clone())?.sensor;
    let mut encoder = Encoder::default();
    let mut batches = Vec::new();
    let mut state = 1u64;
    while batches.len() as u64 != PATTERN_COUNT {
        let look_again = match sensor.poll() {
            Poll::Reading { mut reading, look_again, .. } => {
                if batches.len() == FLAGGED_PATTERN && encoder.reading_count() == 0 {
                    reading.flags = Flags::LATE;
                }
                encoder.push(&reading, 1_000, true);
                if encoder.reading_count() as u64 == BATCH_READING_COUNT {
                    batches.extend(encoder.finish(0, Vec::new()));
                }
                look_again
            }
            Poll::NotReady { look_again } => look_again,
            Poll::Failed { reason, .. } => bail!("the emulated chip failed: {reason:?}"),
            Poll::End => bail!("the emulated chip ended"),
        };
        // Constants of Knuth's MMIX generator; its high bits are random enough for delays.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        clock.sleep_until(look_again);
        clock.advance(Duration::from_nanos((state >> 33) % JITTER_NS));
    }
    Ok(batches)
}

/// Boot id of a node.
///
/// # Panics
/// Never: it has 16 bytes.
pub fn boot(node: u8) -> BootId {
    BootId::from_bytes(&[node + 1; 16]).expect("16 bytes")
}

/// A record of a node.
pub fn record(delivery_id: u64, node: u8, sequence: u64, fact: Fact) -> v1::Record {
    v1::Record { delivery_id, boot_id: boot(node).to_vec(), sequence, fact: Some(fact) }
}

/// A batch of a node as it goes up.
pub fn request(delivery_id: u64, node: u8, batch: v1::SampleBatch) -> v1::DeliverRequest {
    v1::DeliverRequest { item: Some(Item::Record(record(delivery_id, node, 0, Fact::Batch(batch)))) }
}

/// The channel of every node: 0.1 Ω.
pub fn channel() -> v1::Channel {
    v1::Channel {
        channel: 0,
        name: "rail".to_owned(),
        source: "ina219".to_owned(),
        kind: v1::FigureKind::Measured.into(),
        sample_period_ns: PERIOD_NS,
        time_unit_ns: 1_000,
        scale: Some(v1::channel::Scale::ShuntBus(v1::ShuntBusScale {
            shunt_nanovolts_per_code: 10_000,
            bus_microvolts_per_code: 4_000,
            shunt_nanoohms: 100_000_000,
            shunt_code_max: 32_000,
            error_budget: None,
        })),
        rail: "i2c/i2c-1/0x40".to_owned(),
    }
}

/// What a node says of itself.
pub fn registration(node: u8) -> v1::RegisterRequest {
    v1::RegisterRequest {
        node: format!("pi-{node}"),
        boot_id: boot(node).to_vec(),
        agent_version: "0.1.0".to_owned(),
        capabilities: None,
    }
}

/// Delivers everything to a collector and waits until it is acknowledged.
///
/// # Errors
/// When the collector does not take it.
pub async fn deliver(address: &str, nodes: &Nodes) -> Result<()> {
    let load = Load::new()?;
    let mut delivering = tokio::task::JoinSet::new();
    for node in 0..nodes.node_count {
        delivering.spawn(deliver_one(format!("http://{address}"), node, load.clone(), nodes.clone()));
    }
    while let Some(delivered) = delivering.join_next().await {
        delivered??;
    }
    Ok(())
}

async fn deliver_one(address: String, node: u8, load: Load, nodes: Nodes) -> Result<()> {
    let connection = Channel::from_shared(address)?.connect().await?;
    NodeServiceClient::new(connection.clone()).register(registration(node)).await?;
    let (up, requests) = mpsc::channel(64);
    let mut answers =
        TelemetryServiceClient::new(connection).deliver(ReceiverStream::new(requests)).await?.into_inner();
    let last_delivery_id = nodes.sequences.end + EVENT_COUNT;
    let sending = tokio::spawn(async move {
        let hello = v1::DeliverHello { node: format!("pi-{node}"), boot_id: boot(node).to_vec() };
        up.send(v1::DeliverRequest { item: Some(Item::Hello(hello)) }).await?;
        let probe = v1::ClockProbe {
            sent_mono_ns: 0,
            received_unix_ns: nodes.begin_unix_ns + 100_000,
            answered_unix_ns: nodes.begin_unix_ns + 100_000,
            returned_mono_ns: 200_000,
        };
        for (sequence, fact) in [Fact::ChannelOpened(channel()), Fact::ClockProbe(probe)].into_iter().enumerate() {
            let sequence = sequence as u64;
            let record = record(sequence + 1, node, sequence, fact);
            up.send(v1::DeliverRequest { item: Some(Item::Record(record)) }).await?;
        }
        // Agents start at any time: their batches do not arrive together.
        let shift = Duration::from_nanos(BATCH_NS * u64::from(node) / u64::from(nodes.node_count));
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + shift, Duration::from_nanos(BATCH_NS));
        for sequence in nodes.sequences {
            if nodes.is_live {
                ticks.tick().await;
            }
            let record = record(sequence + EVENT_COUNT + 1, node, sequence, Fact::Batch(load.batch(sequence)));
            up.send(v1::DeliverRequest { item: Some(Item::Record(record)) }).await?;
        }
        anyhow::Ok(up)
    });
    while let Some(answer) = answers.message().await? {
        if let Some(v1::deliver_response::Item::Acknowledgement(acknowledgement)) = answer.item
            && acknowledgement.delivery_id == last_delivery_id
        {
            sending.await??;
            return Ok(());
        }
    }
    bail!("the collector ended the stream of pi-{node}");
}
