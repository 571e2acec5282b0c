//! One connection to the collector, from registration to its end.

use std::pin::pin;
use std::time::Duration;

use tinywatt_proto::MESSAGE_BYTES_MAX;
use tinywatt_proto::time::MonoNs;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::{deliver_request, deliver_response, work_request, work_response};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, sleep};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use v1::assignment_service_client::AssignmentServiceClient;
use v1::node_service_client::NodeServiceClient;
use v1::telemetry_service_client::TelemetryServiceClient;

use super::error::LinkError;
use super::window::{IN_FLIGHT_COUNT_MAX, InFlight, Probing};
use super::{Identity, Link};
use crate::clock::Clock;
use crate::spool::{AppendError, Spool};
use crate::trial::desk::{Counter, Order};

/// How often progress is told, for people who look at a bar.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

/// Messages about work that may wait for the connection: one `Finished` and a few of progress.
const WORK_COUNT_MAX: usize = 16;

type Up<T> = mpsc::Sender<T>;

/// An open connection.
#[derive(Debug)]
pub(super) struct Session {
    collector_version: String,
    deliver: Up<deliver_request::Item>,
    delivered: mpsc::Receiver<(Result<deliver_response::Item, Option<Status>>, MonoNs)>,
    work: Up<work_request::Item>,
    orders: tonic::Streaming<v1::WorkResponse>,
    last: watch::Receiver<u64>,
    in_flight: InFlight,
    probing: Probing,
    answered: bool,
    _reader: JoinSet<()>,
}

impl Session {
    /// Connects, registers and opens both streams.
    pub(super) async fn connect<C: Clock>(link: &mut Link<C>) -> Result<Self, LinkError> {
        let collector = || link.collector.clone();
        let connected = link.endpoint.connect().await;
        let channel = connected.map_err(|source| LinkError::Connect { collector: collector(), source })?;
        let Identity { node, boot, capabilities } = &link.identity;

        let mut nodes = NodeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = v1::RegisterRequest {
            node: node.to_string(),
            boot_id: boot.to_vec(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: Some(capabilities.clone()),
        };
        let registered = nodes.register(request).await;
        let register = |status| LinkError::unregistered(collector(), status);
        let collector_version = registered.map_err(register)?.into_inner().collector_version;

        // Never full: as many records as may be in flight, one probe and the hello.
        let (deliver, sending) = mpsc::channel(IN_FLIGHT_COUNT_MAX + 2);
        let hello = v1::DeliverHello { node: node.to_string(), boot_id: boot.to_vec() };
        send(&deliver, deliver_request::Item::Hello(hello), "delivery")?;
        let clock = link.clock.clone();
        let sending = ReceiverStream::new(sending).map(move |mut item| {
            // Stamped when the transport takes it, not when it joins the queue behind records.
            if let deliver_request::Item::Probe(probe) = &mut item {
                probe.sent_mono_ns = clock.now().0;
            }
            v1::DeliverRequest { item: Some(item) }
        });
        let mut client = TelemetryServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let refused = |stream| move |status| LinkError::closed(stream, Some(status));
        let arriving = client.deliver(sending).await.map_err(refused("delivery"))?.into_inner();
        let (arrived, delivered) = mpsc::channel(IN_FLIGHT_COUNT_MAX);
        let mut reader = JoinSet::new();
        reader.spawn(stamp_arrivals(arriving, link.clock.clone(), arrived));

        let (work, telling) = mpsc::channel(WORK_COUNT_MAX);
        let running = link.counter.begin();
        let last = link.spool.last_delivery_id();
        // After what is executing was looked up: an outcome is in the spool before its trial has ended.
        let spooled_delivery_id = Some(*last.borrow());
        let hello = v1::WorkHello { node: node.to_string(), boot_id: boot.to_vec(), running, spooled_delivery_id };
        send(&work, work_request::Item::Hello(hello), "work")?;
        let telling = ReceiverStream::new(telling).map(|item| v1::WorkRequest { item: Some(item) });
        let mut client = AssignmentServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let orders = client.work(telling).await.map_err(refused("work"))?.into_inner();

        Ok(Self {
            collector_version,
            deliver,
            delivered,
            work,
            orders,
            last,
            in_flight: InFlight::default(),
            probing: Probing::default(),
            answered: false,
            _reader: reader,
        })
    }

    /// Whether the collector answered at least once, so that the next failure is a new outage.
    pub(super) fn was_answered(&self) -> bool {
        self.answered
    }

    /// Works until the connection ends, or `stop` is cancelled and everything is acknowledged.
    pub(super) async fn run<C: Clock>(
        &mut self,
        link: &mut Link<C>,
        stop: &CancellationToken,
    ) -> Result<(), LinkError> {
        let (mut stopping, answer_limit) = (false, link.answer_limit);
        let mut probe = pin!(sleep(Duration::ZERO));
        let mut silence = pin!(sleep(answer_limit));
        let mut progress = tokio::time::interval(PROGRESS_PERIOD);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let caught_up = self.fill(&link.spool).await?;
            if stopping && caught_up && self.in_flight.is_empty() {
                return Ok(());
            }
            let is_due = !self.in_flight.is_empty() || self.probing.is_waiting();
            tokio::select! {
                () = stop.cancelled(), if !stopping => stopping = true,
                arrived = self.delivered.recv() => {
                    let (item, at) = arrived.ok_or(LinkError::closed("delivery", None))?;
                    let item = item.map_err(|status| LinkError::closed("delivery", status))?;
                    let is_probe = matches!(item, deliver_response::Item::Probe(_));
                    self.take(item, at, link).await?;
                    // The answer to a probe tells that the network works, and not that records are committed.
                    if !is_probe || self.in_flight.is_empty() {
                        silence.set(sleep(answer_limit));
                    }
                    if is_probe {
                        probe.set(sleep(self.probing.pause()));
                    }
                }
                changed = self.last.changed() => changed.map_err(|_| crate::spool::SpoolBroken::stopped())?,
                order = self.orders.message() => {
                    let order = order.map_err(|status| LinkError::closed("work", Some(status)))?;
                    let order = order.ok_or(LinkError::closed("work", None))?;
                    if !stopping {
                        pass_on(order, &link.counter)?;
                    }
                }
                Some(trial) = link.counter.finished() => {
                    let finished = v1::Finished { trial: Some(trial), spooled_delivery_id: Some(*self.last.borrow()) };
                    let finished = work_request::Item::Finished(finished);
                    self.work.try_send(finished).map_err(|_| LinkError::WorkNotRead)?;
                }
                _ = progress.tick() => {
                    if let Some(progress) = link.counter.changed_progress() {
                        // For people: one that does not fit is followed by a newer one.
                        let _ = self.work.try_send(work_request::Item::Progress(progress));
                    }
                }
                () = &mut probe, if !self.probing.is_waiting() => {
                    self.probing.sent();
                    let item = deliver_request::Item::Probe(v1::ProbeRequest::default());
                    send(&self.deliver, item, "delivery")?;
                }
                () = &mut silence, if is_due => {
                    return Err(LinkError::Silent { seconds: answer_limit.as_secs() });
                }
            }
            if !is_due {
                // Nobody owes an answer for the time before something was asked.
                silence.set(sleep(answer_limit));
            }
        }
    }

    /// Sends records while there is room. `true` when the spool holds none that was not sent.
    async fn fill(&mut self, spool: &Spool) -> Result<bool, LinkError> {
        loop {
            let last = *self.last.borrow_and_update();
            if self.in_flight.last_sent() >= last {
                return Ok(true);
            }
            let room = self.in_flight.room();
            if room == 0 {
                return Ok(false);
            }
            let page = spool.read(self.in_flight.last_sent(), room).await?;
            if page.records.is_empty() {
                // Everything up to `last` was acknowledged in an earlier connection.
                return Ok(true);
            }
            for record in page.records {
                self.in_flight.sent(record.delivery_id);
                send(&self.deliver, deliver_request::Item::Record(record), "delivery")?;
            }
        }
    }

    async fn take<C: Clock>(
        &mut self,
        item: deliver_response::Item,
        at: MonoNs,
        link: &mut Link<C>,
    ) -> Result<(), LinkError> {
        if !std::mem::replace(&mut self.answered, true) {
            link.told.answered(&link.collector, &self.collector_version);
        }
        match item {
            deliver_response::Item::Acknowledgement(v1::Acknowledgement { delivery_id }) => {
                let sent = self.in_flight.last_sent();
                if !self.in_flight.acknowledge(delivery_id) {
                    return Err(LinkError::Acknowledgement { acknowledged: delivery_id, sent });
                }
                link.spool.acknowledge(delivery_id).await?;
            }
            deliver_response::Item::Probe(answer) => {
                if self.probing.answered() && answer.sent_mono_ns <= at.0 {
                    let fact = Fact::ClockProbe(v1::ClockProbe {
                        sent_mono_ns: answer.sent_mono_ns,
                        received_unix_ns: answer.received_unix_ns,
                        answered_unix_ns: answer.answered_unix_ns,
                        returned_mono_ns: at.0,
                    });
                    match link.spool.append(link.identity.boot, fact).await {
                        Ok(_) => {}
                        Err(AppendError::Broken(broken)) => return Err(broken.into()),
                        // The clock's fit has others; the next probe comes in seconds.
                        Err(full) => tracing::debug!(error = %full, "a clock probe was dropped"),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Queues a message. The queues hold more than is ever in flight, so that one is only refused when nobody sends.
fn send<T>(queue: &Up<T>, item: T, stream: &'static str) -> Result<(), LinkError> {
    queue.try_send(item).map_err(|_| LinkError::closed(stream, None))
}

/// Hands every message on with the instant of its arrival, whatever the session is busy with.
async fn stamp_arrivals<C: Clock>(
    mut arriving: tonic::Streaming<v1::DeliverResponse>,
    clock: C,
    arrived: mpsc::Sender<(Result<deliver_response::Item, Option<Status>>, MonoNs)>,
) {
    loop {
        let message = arriving.message().await;
        let at = clock.now();
        let item = match message {
            Ok(Some(v1::DeliverResponse { item: Some(item) })) => Ok(item),
            // An item of a newer collector.
            Ok(Some(v1::DeliverResponse { item: None })) => continue,
            Ok(None) => Err(None),
            Err(status) => Err(Some(status)),
        };
        let is_end = item.is_err();
        if arrived.send((item, at)).await.is_err() || is_end {
            return;
        }
    }
}

fn pass_on(order: v1::WorkResponse, counter: &Counter) -> Result<(), LinkError> {
    let order = match order.item {
        Some(work_response::Item::Assignment(assignment)) => Order::Execute(Box::new(assignment)),
        Some(work_response::Item::Cancellation(v1::Cancellation { trial: Some(trial), reason })) => {
            Order::Cancel { trial, reason }
        }
        _ => {
            tracing::warn!("the collector sent an order that this agent does not know: is the agent older?");
            return Ok(());
        }
    };
    counter.order(order).map_err(|_| LinkError::TooManyOrders)
}
