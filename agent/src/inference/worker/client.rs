//! The agent's side: a handle on a worker process.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tinywatt_proto::hex;
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::time::{Window, nanoseconds};
use tinywatt_proto::v1;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::error::WorkerError;
use super::message::{LINE_BYTES_MAX, Load, Request, Response, Span};
use crate::process::name_status;

/// How long loading may take. The largest models that fit a Pi (hundreds of MB) read in seconds from a slow card.
const LOAD_LIMIT: Duration = Duration::from_secs(120);

/// How long a worker may be silent while it evaluates or warms up, or longer than an active window was to last: one
/// inference and its telling. An inference of more than a minute is not measurable by windows anyway.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// How long a worker that has answered, or that was killed, may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What a worker does first.
const LOADING: &str = "loading";

/// Signals that a program gets for its own faults: SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
const CRASHES: [i32; 5] = [4, 6, 7, 8, 11];

/// How much of the end of a worker's standard error is kept for messages, bytes.
const STDERR_BYTES_MAX: usize = 4 << 10;

/// What a worker is to load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadRequest {
    /// LiteRT's library as configured; when absent it is looked for where `agent runtime install` puts it.
    pub library: Option<PathBuf>,
    /// The `.tflite` file.
    pub model: PathBuf,
    /// The input set's file.
    pub inputs: PathBuf,
    /// Threads that the runtime may use.
    pub thread_count: u32,
    /// Real value of an input byte = byte × scale + offset, for input sets of plain bytes.
    pub input_scale: f64,
    /// See `input_scale`.
    pub input_offset: f64,
}

/// What a worker has loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Version of the runtime's library.
    pub runtime_version: String,
    /// The model's input.
    pub input: v1::TensorInfo,
    /// The model's output.
    pub output: v1::TensorInfo,
    /// Resident memory of the worker before the model was loaded; library and inputs are in it.
    pub memory_bytes_before: u64,
}

/// Every input once.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// From before the first copy in to after the last answer.
    pub window: Window,
    /// Square, row = label, column = prediction (the largest output, the lowest of several).
    pub confusion: Vec<u64>,
    /// Side of the square.
    pub class_count: u32,
    /// Inputs evaluated.
    pub input_count: u32,
    /// Over the output tensor's raw bytes of every input, in order.
    pub outputs_sha256: Sha256,
}

/// An active window.
#[derive(Debug, Clone, PartialEq)]
pub struct Active {
    /// From before the first copy in to after the last read out.
    pub window: Window,
    /// Inferences completed inside.
    pub inference_count: u64,
    /// Inferences that took longer than the histogram can tell (ten minutes); they are not in it.
    pub beyond_histogram_count: u64,
    /// Latency of each inference, ns, in HdrHistogram's V2 format.
    pub latency_histogram: Vec<u8>,
}

/// Memory of a worker at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Largest resident memory since the model began to load.
    pub memory_bytes_peak: u64,
}

/// A worker process. Dropping it kills the process.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    socket: BufReader<UnixStream>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    model: PathBuf,
    /// A request was sent and its answer has not come.
    is_busy: bool,
}

impl Worker {
    /// Starts `EXE worker` and lets it load a model.
    ///
    /// # Errors
    /// Any [`WorkerError`].
    pub async fn start(exe: &Path, request: LoadRequest) -> Result<(Self, Loaded), WorkerError> {
        let mut command = Command::new(exe);
        command.arg("worker");
        Self::start_by(command, request, LOAD_LIMIT).await
    }

    async fn start_by(
        mut command: Command,
        request: LoadRequest,
        limit: Duration,
    ) -> Result<(Self, Loaded), WorkerError> {
        let executable = PathBuf::from(command.as_std().get_program());
        let start = |source| WorkerError::Start { executable: executable.clone(), source };
        let (ours, theirs) = UnixStream::pair().map_err(start)?;
        let theirs = theirs.into_std().and_then(|socket| socket.set_nonblocking(false).map(|()| socket));
        command.stdin(OwnedFd::from(theirs.map_err(start)?)).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().map_err(start)?;
        // `command` still holds the child's end of the socket: as long as it does, the child's death goes unnoticed.
        drop(command);
        let stderr = child.stderr.take().map(|stderr| tokio::spawn(tail(stderr)));
        let model = request.model.clone();
        let mut worker = Self { child, socket: BufReader::new(ours), stderr, model, is_busy: false };
        let LoadRequest { library, model, inputs, thread_count, input_scale, input_offset } = request;
        let load = Request::Load(Load { library, model, inputs, thread_count, input_scale, input_offset });
        match worker.ask(LOADING, &load, limit, |_| ()).await? {
            Response::Loaded { runtime_version, input, output, memory_bytes_before } => {
                let (input, output) = ((&input).into(), (&output).into());
                Ok((worker, Loaded { runtime_version, input, output, memory_bytes_before }))
            }
            _ => Err(worker.garbled(LOADING, "another question's answer")),
        }
    }

    /// The process's id; `None` once it has ended.
    pub fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Runs every input once, in order.
    ///
    /// # Errors
    /// Any [`WorkerError`].
    pub async fn evaluate(&mut self, progress: impl FnMut(f64)) -> Result<Evaluation, WorkerError> {
        const DOING: &str = "evaluating";
        match self.ask(DOING, &Request::Evaluate, SILENCE_LIMIT, progress).await? {
            Response::Evaluated { window, confusion, class_count, input_count, outputs_sha256 } => {
                let outputs_sha256 = outputs_sha256.parse().map_err(|error| self.garbled(DOING, error))?;
                let window = self.window(DOING, window)?;
                Ok(Evaluation { window, confusion, class_count, input_count, outputs_sha256 })
            }
            _ => Err(self.garbled(DOING, "another question's answer")),
        }
    }

    /// Runs so many inferences, untimed.
    ///
    /// # Errors
    /// Any [`WorkerError`].
    pub async fn warm_up(&mut self, inference_count: u32) -> Result<Window, WorkerError> {
        const DOING: &str = "warming up";
        match self.ask(DOING, &Request::WarmUp { inference_count }, SILENCE_LIMIT, |_| ()).await? {
            Response::WarmedUp { window } => self.window(DOING, window),
            _ => Err(self.garbled(DOING, "another question's answer")),
        }
    }

    /// Runs as many inferences as begin within `duration`, each timed.
    ///
    /// # Errors
    /// Any [`WorkerError`].
    pub async fn run_for(&mut self, duration: Duration) -> Result<Active, WorkerError> {
        const DOING: &str = "running its active window";
        let request = Request::RunFor { duration_ns: nanoseconds(duration) };
        match self.ask(DOING, &request, duration.saturating_add(SILENCE_LIMIT), |_| ()).await? {
            Response::Ran { window, inference_count, beyond_histogram_count, latency_histogram } => {
                let histogram = hex::decode(&latency_histogram);
                let latency_histogram = histogram.ok_or_else(|| self.garbled(DOING, "a histogram without digits"))?;
                let window = self.window(DOING, window)?;
                Ok(Active { window, inference_count, beyond_histogram_count, latency_histogram })
            }
            _ => Err(self.garbled(DOING, "another question's answer")),
        }
    }

    /// Asks for the peak memory and lets the process end.
    ///
    /// # Errors
    /// Any [`WorkerError`].
    pub async fn finish(mut self) -> Result<Memory, WorkerError> {
        const DOING: &str = "finishing";
        match self.ask(DOING, &Request::Finish, SILENCE_LIMIT, |_| ()).await? {
            Response::Finished { memory_bytes_peak } => {
                // The answer is complete; a process that lingers after it is killed by being dropped.
                let _ = timeout(END_LIMIT, self.child.wait()).await;
                Ok(Memory { memory_bytes_peak })
            }
            _ => Err(self.garbled(DOING, "another question's answer")),
        }
    }

    /// Sends a request and waits for its answer; every line must come within `limit` of the one before.
    async fn ask(
        &mut self,
        doing: &str,
        request: &Request,
        limit: Duration,
        mut progress: impl FnMut(f64),
    ) -> Result<Response, WorkerError> {
        if self.is_busy {
            return Err(WorkerError::Abandoned);
        }
        self.is_busy = true;
        let mut line = serde_json::to_vec(request).map_err(|error| self.garbled(doing, error))?;
        line.push(b'\n');
        if self.socket.write_all(&line).await.is_err() {
            return Err(self.died(doing).await);
        }
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.socket).take(LINE_BYTES_MAX);
            match timeout(limit, bounded.read_until(b'\n', &mut line)).await {
                Err(_) => return Err(self.silent(doing, limit).await),
                Ok(Ok(1..)) if line.ends_with(b"\n") => {}
                Ok(Ok(1..)) if line.len() as u64 >= LINE_BYTES_MAX => {
                    return Err(self.garbled(doing, "an endless line"));
                }
                Ok(_) => return Err(self.died(doing).await),
            }
            match serde_json::from_slice(&line).map_err(|error| self.garbled(doing, error))? {
                Response::Progress { fraction } => progress(fraction),
                Response::Failed { fault, message } => return Err(WorkerError::reported(fault, message)),
                answer => {
                    self.is_busy = false;
                    return Ok(answer);
                }
            }
        }
    }

    async fn died(&mut self, doing: &str) -> WorkerError {
        // The socket is closed, so the process is ending; one that is not is killed.
        let ended = timeout(END_LIMIT, self.child.wait()).await;
        let (status, is_crash) = match ended {
            Ok(Ok(status)) => (name_status(status), status.signal().is_some_and(|signal| CRASHES.contains(&signal))),
            Ok(Err(error)) => (error.to_string(), false),
            Err(_) => {
                let _ = self.child.start_kill();
                ("nothing, but closed its socket,".to_owned(), false)
            }
        };
        let stderr = self.last_words().await;
        if is_crash && doing == LOADING {
            return WorkerError::Crashed { model: self.model.clone(), status, stderr };
        }
        WorkerError::Died { doing: self.doing(doing), status, stderr }
    }

    async fn silent(&mut self, doing: &str, limit: Duration) -> WorkerError {
        let _ = self.child.start_kill();
        WorkerError::Silent { doing: self.doing(doing), limit, stderr: self.last_words().await }
    }

    fn garbled(&self, doing: &str, detail: impl std::fmt::Display) -> WorkerError {
        WorkerError::Garbled { doing: self.doing(doing), detail: detail.to_string() }
    }

    fn window(&self, doing: &str, span: Span) -> Result<Window, WorkerError> {
        span.window().map_err(|error| self.garbled(doing, error))
    }

    fn doing(&self, doing: &str) -> String {
        format!("{doing} (model {})", self.model.display())
    }

    async fn last_words(&mut self) -> String {
        let Some(stderr) = self.stderr.take() else { return String::new() };
        let bytes = timeout(END_LIMIT, stderr).await.ok().and_then(Result::ok).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

/// Reads to the end and keeps the last of it.
async fn tail(mut stderr: ChildStderr) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0u8; 1 << 10]);
    while let Ok(count @ 1..) = stderr.read(&mut piece).await {
        kept.extend_from_slice(&piece[..count]);
        kept.drain(..kept.len().saturating_sub(STDERR_BYTES_MAX));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a shell in a worker's place; its standard input is the socket.
    async fn started(script: &str, limit: Duration) -> WorkerError {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let request = LoadRequest {
            library: None,
            model: "some.tflite".into(),
            inputs: "some.twin".into(),
            thread_count: 1,
            input_scale: 1.0,
            input_offset: 0.0,
        };
        Worker::start_by(command, request, limit).await.map(drop).expect_err("not a worker")
    }

    #[tokio::test]
    async fn a_worker_that_dies_is_reported_with_signal_task_and_last_words() {
        let error = started("echo the end is near >&2; kill -TERM $$", LOAD_LIMIT).await;
        let text = error.to_string();
        for part in ["SIGTERM", "while loading", "some.tflite", "the end is near"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert_eq!(error.reason(), v1::FailureReason::Worker);
        assert!(started("exit 3", LOAD_LIMIT).await.to_string().contains("exit status: 3"));
    }

    #[tokio::test]
    async fn a_crash_over_a_model_is_the_models_fault() {
        let error = started("kill -SEGV $$", LOAD_LIMIT).await;
        let text = error.to_string();
        assert!(text.contains("SIGSEGV") && text.contains("some.tflite, which is most likely corrupt"), "{text}");
        assert_eq!(error.reason(), v1::FailureReason::Model);
    }

    #[tokio::test]
    async fn a_silent_worker_is_given_up() {
        let error = started("exec sleep 600", Duration::from_millis(50)).await;
        assert!(matches!(error, WorkerError::Silent { .. }), "{error}");
    }

    #[tokio::test]
    async fn nonsense_and_other_answers_are_refused() {
        for line in ["nonsense", "{\"finished\":{\"memory_bytes_peak\":1}}", "{}"] {
            let error = started(&format!("echo '{line}' >&0; exec sleep 600"), LOAD_LIMIT).await;
            assert!(matches!(error, WorkerError::Garbled { .. }), "{line}: {error}");
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_cut() {
        let error = started("exec cat /dev/zero >&0", LOAD_LIMIT).await;
        assert!(error.to_string().contains("endless"), "{error}");
    }

    #[tokio::test]
    async fn much_talk_keeps_its_end() {
        let error = started("seq 100000 >&2; exit 1", LOAD_LIMIT).await;
        let WorkerError::Died { stderr, .. } = error else { panic!("{error}") };
        assert!(stderr.ends_with("99999\n100000") && stderr.len() <= STDERR_BYTES_MAX, "{}", stderr.len());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let request = LoadRequest {
            library: None,
            model: PathBuf::new(),
            inputs: PathBuf::new(),
            thread_count: 1,
            input_scale: 1.0,
            input_offset: 0.0,
        };
        let error = Worker::start(Path::new("/nowhere/agent"), request).await.map(drop).expect_err("nothing there");
        assert!(error.to_string().contains("/nowhere/agent"), "{error}");
    }
}
