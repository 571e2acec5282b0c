//! The device under test, as a trial sees it.

use std::time::Duration;

use tinywatt_proto::time::Window;

use crate::inference::runtimes::WorkerProgram;
use crate::inference::worker::{Active, Evaluation, LoadRequest, Loaded, Memory, Worker, WorkerError};

/// Starts devices under test.
pub trait Launch: Send + Sync + 'static {
    /// What is started.
    type Dut: Dut;

    /// Names of the runtimes, as assignments name them.
    fn runtimes(&self) -> Vec<&str>;

    /// Starts a device with one of the runtimes and loads a model.
    fn launch(
        &self,
        runtime: &str,
        request: LoadRequest,
    ) -> impl Future<Output = Result<(Self::Dut, Loaded), WorkerError>> + Send;
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

/// Starts worker processes.
#[derive(Debug, Clone)]
pub struct LaunchWorker {
    /// One program for each runtime that this node has.
    pub programs: Vec<WorkerProgram>,
}

impl Launch for LaunchWorker {
    type Dut = Worker;

    fn runtimes(&self) -> Vec<&str> {
        self.programs.iter().map(|program| program.runtime).collect()
    }

    async fn launch(&self, runtime: &str, request: LoadRequest) -> Result<(Worker, Loaded), WorkerError> {
        let found = self.programs.iter().find(|program| program.runtime == runtime);
        let unknown = || WorkerError::Runtime { message: format!("this agent has no runtime '{runtime}'") };
        let program = found.ok_or_else(unknown)?;
        let request = LoadRequest { library: program.library.clone(), ..request };
        Worker::start(&program.exe, program.arguments, request).await
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
