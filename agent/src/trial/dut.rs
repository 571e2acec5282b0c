//! The device under test, as a trial sees it.

use std::path::PathBuf;
use std::time::Duration;

use tinywatt_proto::time::Window;

use crate::inference::worker::{Active, Evaluation, LoadRequest, Loaded, Memory, Worker, WorkerError};

/// Starts devices under test.
pub trait Launch: Send + Sync + 'static {
    /// What is started.
    type Dut: Dut;

    /// Name of the runtime, as assignments name it.
    fn runtime(&self) -> &'static str;

    /// The runtime's library as configured, for the request.
    fn library(&self) -> Option<PathBuf>;

    /// Starts a device and loads a model.
    fn launch(&self, request: LoadRequest) -> impl Future<Output = Result<(Self::Dut, Loaded), WorkerError>> + Send;
}

/// A device with a model loaded. Dropping it stops whatever it does.
pub trait Dut: Send + 'static {
    /// Runs every input once.
    fn evaluate(
        &mut self,
        progress: impl FnMut(f64) + Send,
    ) -> impl Future<Output = Result<Evaluation, WorkerError>> + Send;

    /// Runs so many inferences, untimed.
    fn warm_up(&mut self, inference_count: u32) -> impl Future<Output = Result<Window, WorkerError>> + Send;

    /// Runs inferences for a time, each timed.
    fn run_for(&mut self, duration: Duration) -> impl Future<Output = Result<Active, WorkerError>> + Send;

    /// Ends it.
    fn finish(self) -> impl Future<Output = Result<Memory, WorkerError>> + Send;
}

/// Starts LiteRT in worker processes.
#[derive(Debug, Clone)]
pub struct LaunchWorker {
    /// This program, which is its own worker.
    pub exe: PathBuf,
    /// LiteRT's library, where the configuration names one.
    pub library: Option<PathBuf>,
}

impl Launch for LaunchWorker {
    type Dut = Worker;

    fn runtime(&self) -> &'static str {
        "litert"
    }

    fn library(&self) -> Option<PathBuf> {
        self.library.clone()
    }

    fn launch(&self, request: LoadRequest) -> impl Future<Output = Result<(Worker, Loaded), WorkerError>> + Send {
        Worker::start(&self.exe, request)
    }
}

impl Dut for Worker {
    fn evaluate(
        &mut self,
        progress: impl FnMut(f64) + Send,
    ) -> impl Future<Output = Result<Evaluation, WorkerError>> + Send {
        Self::evaluate(self, progress)
    }

    fn warm_up(&mut self, inference_count: u32) -> impl Future<Output = Result<Window, WorkerError>> + Send {
        Self::warm_up(self, inference_count)
    }

    fn run_for(&mut self, duration: Duration) -> impl Future<Output = Result<Active, WorkerError>> + Send {
        Self::run_for(self, duration)
    }

    fn finish(self) -> impl Future<Output = Result<Memory, WorkerError>> + Send {
        Self::finish(self)
    }
}
