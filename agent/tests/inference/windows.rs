//! Windows, histograms, memory, and the end of a worker.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use tinywatt_agent::clock::{Clock, Monotonic};
use tinywatt_agent::inference::worker::WorkerError;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::scene::{AGENT, assert_says, digits, has_runtime, start};

/// Far beyond what any state here takes to come about.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_active_window_holds_every_inference_it_counts() {
    if !has_runtime() {
        return;
    }
    let before = Monotonic.now();
    let (mut worker, loaded) = start(digits("full-integer")).await.expect("starts");
    let warm_up = worker.warm_up(100).await.expect("runs");
    let duration = Duration::from_millis(200);
    let active = worker.run_for(duration).await.expect("runs");
    let after = Monotonic.now();
    assert!(before <= warm_up.start() && warm_up.end() <= active.window.start() && active.window.end() <= after);
    assert!(active.window.duration() >= duration);
    let latencies: Histogram<u64> =
        Deserializer::new().deserialize(&mut &active.latency_histogram[..]).expect("the V2 format");
    assert_eq!(latencies.len() + active.beyond_histogram_count, active.inference_count);
    assert!(active.inference_count > 0 && latencies.min() > 0);
    // All latencies together fit into the window; the histogram's rounding adds 0.1 % at most.
    let total_ns: f64 =
        latencies.iter_recorded().map(|step| step.value_iterated_to() as f64 * step.count_at_value() as f64).sum();
    assert!(total_ns * 0.998 <= active.window.duration().as_nanos() as f64);
    let memory = worker.finish().await.expect("ends");
    assert!(memory.memory_bytes_peak >= loaded.memory_bytes_before && loaded.memory_bytes_before > 0);
}

#[tokio::test]
async fn no_warm_up_and_no_time_still_give_windows() {
    if !has_runtime() {
        return;
    }
    let (mut worker, _) = start(digits("float32")).await.expect("starts");
    assert!(worker.warm_up(0).await.is_ok());
    let active = worker.run_for(Duration::ZERO).await.expect("runs");
    assert_eq!(active.inference_count, 0);
}

#[tokio::test]
async fn a_killed_worker_is_reported_and_the_agent_lives_on() {
    if !has_runtime() {
        return;
    }
    let (mut worker, _) = start(digits("float32")).await.expect("starts");
    let id = worker.process_id().expect("runs");
    let id = rustix::process::Pid::from_raw(i32::try_from(id).expect("a process id")).expect("not 0");
    let (result, ()) = tokio::join!(timeout(LONG, worker.run_for(LONG * 10)), async {
        // Not SIGSEGV: Rust's own handler, which looks for stack overflows, lets one that was only sent pass.
        rustix::process::kill_process(id, rustix::process::Signal::ABORT).expect("it is ours");
    });
    assert_says(&result.expect("in time").expect_err("killed"), &["SIGABRT", "active window", "cnn-float32.tflite"]);
}

#[tokio::test]
async fn a_command_after_an_abandoned_one_is_refused() {
    if !has_runtime() {
        return;
    }
    let (mut worker, _) = start(digits("float32")).await.expect("starts");
    assert!(timeout(Duration::from_millis(10), worker.run_for(LONG)).await.is_err());
    let error = worker.evaluate(|_| ()).await.expect_err("busy");
    assert!(matches!(error, WorkerError::Abandoned), "{error}");
}

#[tokio::test]
async fn a_worker_whose_agent_is_gone_ends_in_mid_work() {
    if !has_runtime() {
        return;
    }
    let (ours, theirs) = UnixStream::pair().expect("a socket");
    let mut worker = tokio::process::Command::new(AGENT);
    worker.arg("worker").stdin(OwnedFd::from(theirs)).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = worker.spawn().expect("starts");
    drop(worker);
    ours.set_nonblocking(true).expect("ours");
    let mut socket = BufReader::new(tokio::net::UnixStream::from_std(ours).expect("a socket"));
    let digits = digits("float32");
    let load = serde_json::json!({ "load": {
        "library": null, "model": digits.model, "inputs": digits.inputs,
        "thread_count": 1, "input_scale": 0.0625, "input_offset": 0.0,
    } });
    let run = serde_json::json!({ "run_for": { "duration_ns": 600_000_000_000u64 } });
    socket.write_all(format!("{load}\n").as_bytes()).await.expect("sent");
    let mut answer = String::new();
    timeout(LONG, socket.read_line(&mut answer)).await.expect("in time").expect("an answer");
    assert!(answer.contains("loaded"), "{answer}");
    socket.write_all(format!("{run}\n").as_bytes()).await.expect("sent");
    drop(socket);
    let status = timeout(LONG, child.wait()).await.expect("it ends long before its ten minutes").expect("a status");
    assert_eq!(status.signal(), Some(9));
}
