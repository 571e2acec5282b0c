//! The worker's side: the child process, `agent worker` or another worker program.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use tinywatt_proto::hex;

use super::error::Fault;
use super::memory;
use super::message::{LINE_BYTES_MAX, Request, Response, Span};
use super::session::{Session, SessionError};
use crate::inference::model::{Model, Runtime};

/// The worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Standard input is not the agent's socket.
    #[error("a worker is started by the agent itself, with a socket as its standard input")]
    NotASocket(#[source] io::Error),
    /// The agent cannot be told.
    #[error("failed to answer the agent")]
    Answer(#[source] io::Error),
    /// The agent was told that something failed.
    #[error("{0}")]
    Failed(String),
}

/// Answers the agent's requests until it says finish, one model per process.
///
/// When the agent goes away in mid-work, however it ended, this process kills itself at once: a worker that nobody
/// listens to would burn power into the next trial's windows.
///
/// # Errors
/// Any [`ServeError`]; the agent has been told why already, where it still listens.
pub fn serve(mut runtime: impl Runtime) -> Result<(), ServeError> {
    let socket = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(ServeError::NotASocket)?;
    socket.peer_addr().map_err(ServeError::NotASocket)?;
    let requests = listen(socket.try_clone().map_err(ServeError::NotASocket)?);
    let mut answers = Answers(socket);
    let mut session = None;
    for request in requests {
        let finished = matches!(request, Ok(Request::Finish));
        match request.and_then(|request| answer(request, &mut session, &mut runtime, &mut answers)) {
            Ok(response) => answers.send(&response)?,
            Err(Failure { fault, message }) => {
                answers.send(&Response::Failed { fault, message: message.clone() })?;
                return Err(ServeError::Failed(message));
            }
        }
        if finished {
            return Ok(());
        }
    }
    Ok(())
}

/// What the agent is told of a failure: the whole chain of causes.
struct Failure {
    fault: Fault,
    message: String,
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self { fault: error.fault(), message: format!("{:#}", anyhow::Error::new(error)) }
    }
}

fn answer<M: Model>(
    request: Request,
    session: &mut Option<Session<M>>,
    runtime: &mut impl Runtime<Model = M>,
    answers: &mut Answers,
) -> Result<Response, Failure> {
    if let Request::Load(load) = request {
        let loaded = session.insert(Session::load(&load, runtime)?);
        return Ok(Response::Loaded {
            runtime_version: runtime.version(),
            input: loaded.input().clone(),
            output: loaded.output().clone(),
            memory_bytes_before: loaded.memory_bytes_before,
        });
    }
    let no_model = || Failure { fault: Fault::Worker, message: "no model has been loaded".to_owned() };
    let session = session.as_mut().ok_or_else(no_model)?;
    // An agent that cannot be told of progress is gone, and the listener acts on that.
    let progress = |fraction| drop(answers.send(&Response::Progress { fraction }));
    match request {
        Request::Load(_) | Request::Evaluate => {
            let done = session.evaluate(progress)?;
            Ok(Response::Evaluated {
                window: Span::between(done.start, done.end),
                confusion: done.confusion,
                class_count: done.class_count,
                input_count: done.input_count,
                outputs_sha256: done.outputs_sha256.to_string(),
            })
        }
        Request::WarmUp { inference_count } => {
            let (start, end) = session.warm_up(inference_count, progress)?;
            Ok(Response::WarmedUp { window: Span::between(start, end) })
        }
        Request::RunFor { duration_ns } => {
            let done = session.run_for(Duration::from_nanos(duration_ns))?;
            Ok(Response::Ran {
                window: Span::between(done.start, done.end),
                inference_count: done.inference_count,
                beyond_histogram_count: done.beyond_histogram_count,
                latency_histogram: hex::encode(&done.latency_histogram),
            })
        }
        Request::Finish => {
            let memory_bytes_peak = memory::peak_bytes().map_err(SessionError::Memory)?;
            Ok(Response::Finished { memory_bytes_peak })
        }
    }
}

/// Reads requests on a thread of its own, which sleeps in `read` while the model runs and notices when the agent is gone.
fn listen(socket: UnixStream) -> mpsc::IntoIter<Result<Request, Failure>> {
    // Question and answer come in turn, so more than one waiting request is a mistake of the agent.
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(socket);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if !matches!(read, Ok(1..)) {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                return;
            }
            let request = serde_json::from_slice(&line).map_err(|error| Failure {
                fault: Fault::Worker,
                message: format!("the agent's request is not readable: {error}"),
            });
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    receiver.into_iter()
}

struct Answers(UnixStream);

impl Answers {
    fn send(&mut self, response: &Response) -> Result<(), ServeError> {
        let mut line = serde_json::to_vec(response).expect("an answer has string keys and finite numbers only");
        line.push(b'\n');
        self.0.write_all(&line).map_err(ServeError::Answer)
    }
}
