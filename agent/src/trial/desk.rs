//! Where the link hands in orders and the executor lays out what it is doing.

use tinywatt_proto::v1;
use tokio::sync::{mpsc, watch};

/// Orders that may wait. The executor reads them at any time, so that even one is rare.
const ORDER_COUNT_MAX: usize = 8;

/// Ends that may wait for the link: one per assignment, and there is one assignment at a time.
const FINISHED_COUNT_MAX: usize = 8;

/// What the collector asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Execute this.
    Execute(Box<v1::Assignment>),
    /// Stop this.
    Cancel {
        /// What to stop.
        trial: v1::TrialKey,
        /// Why, for people.
        reason: String,
    },
}

/// The link's side.
#[derive(Debug)]
pub struct Counter {
    orders: mpsc::Sender<Order>,
    progress: watch::Receiver<Option<v1::Progress>>,
    finished: mpsc::Receiver<v1::TrialKey>,
}

/// The executor's side.
#[derive(Debug)]
pub struct Bench {
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) board: Board,
}

/// Where the executor shows what it is doing.
#[derive(Debug)]
pub(crate) struct Board {
    progress: watch::Sender<Option<v1::Progress>>,
    finished: mpsc::Sender<v1::TrialKey>,
}

/// Makes a desk, as its two sides.
pub fn desk() -> (Counter, Bench) {
    let (order_sender, orders) = mpsc::channel(ORDER_COUNT_MAX);
    let (progress, progress_receiver) = watch::channel(None);
    let (finished, finished_receiver) = mpsc::channel(FINISHED_COUNT_MAX);
    let counter = Counter { orders: order_sender, progress: progress_receiver, finished: finished_receiver };
    (counter, Bench { orders, board: Board { progress, finished } })
}

impl Counter {
    /// Begins a connection: what is executing now. What ended before is not worth telling any more, since a node that
    /// names nothing as running is free.
    pub fn begin(&mut self) -> Option<v1::TrialKey> {
        while self.finished.try_recv().is_ok() {}
        self.progress.borrow_and_update().as_ref().and_then(|progress| progress.trial.clone())
    }

    /// Hands in an order.
    ///
    /// # Errors
    /// Gives the order back when too many wait.
    pub fn order(&self, order: Order) -> Result<(), Order> {
        self.orders.try_send(order).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Waits for the next end. `None` once the executor is gone.
    pub async fn finished(&mut self) -> Option<v1::TrialKey> {
        self.finished.recv().await
    }

    /// What is executing, for whoever must not disturb it: nothing between trials.
    pub fn executing(&self) -> watch::Receiver<Option<v1::Progress>> {
        self.progress.clone()
    }

    /// What is executing, when that has changed.
    pub fn changed_progress(&mut self) -> Option<v1::Progress> {
        self.progress.has_changed().unwrap_or(false).then(|| self.progress.borrow_and_update().clone())?
    }
}

impl Board {
    /// Shows what is executing.
    pub(crate) fn show(&self, trial: &v1::TrialKey, phase: v1::Phase, fraction: f64) {
        self.show_job(trial, phase, fraction, None);
    }

    /// Shows what is executing, and what it says of itself.
    pub(crate) fn show_job(&self, trial: &v1::TrialKey, phase: v1::Phase, fraction: f64, job: Option<v1::JobProgress>) {
        let progress = v1::Progress { trial: Some(trial.clone()), phase: phase.into(), fraction, job };
        self.progress.send_replace(Some(progress));
    }

    /// Shows that nothing is executing, and tells what has ended.
    pub(crate) fn finish(&self, trial: v1::TrialKey) {
        self.progress.send_replace(None);
        self.tell_finished(trial);
    }

    /// Tells that an assignment has ended that was never executing.
    pub(crate) fn tell_finished(&self, trial: v1::TrialKey) {
        // Full only while nobody is connected; the next connection begins with what is executing.
        let _ = self.finished.try_send(trial);
    }
}
