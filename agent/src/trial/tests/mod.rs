mod guard;
mod job;
mod meters;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tinywatt_proto::ids::Sha256;
use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::Window;
use tinywatt_proto::v1::assignment::Workload;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::{FailureReason, Phase, trial_outcome};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::{Counter, Order, desk};
use super::*;
use crate::clock::{Clock as _, Monotonic};
use crate::inference::worker::{Active, Evaluation, LoadRequest, Loaded, Memory, WorkerError};
use crate::sensor::load::{LoadConfig, Profile};
use crate::spool::SpoolConfig;
use crate::throttle::{Firmware, Throttling};

const LIMIT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(30);

/// Says when the device under test fails or never ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Script {
    Works,
    RefusesModel,
    DiesWhileActive,
    NeverFinishesActive,
}

#[derive(Debug, Clone)]
struct FakeLaunch {
    script: Script,
    alive: Arc<AtomicUsize>,
}

struct FakeDut {
    script: Script,
    alive: Arc<AtomicUsize>,
}

impl Drop for FakeDut {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Launch for FakeLaunch {
    type Dut = FakeDut;

    fn runtimes(&self) -> Vec<&str> {
        vec!["litert"]
    }

    async fn launch(&self, _: &str, request: LoadRequest) -> Result<(FakeDut, Loaded), WorkerError> {
        assert_eq!(std::fs::read(&request.model).expect("the model is there"), b"model");
        assert_eq!(std::fs::read(&request.inputs).expect("the inputs are there"), b"inputs");
        if self.script == Script::RefusesModel {
            return Err(WorkerError::Model { message: "the model wants 3 channels".to_owned() });
        }
        self.alive.fetch_add(1, Ordering::SeqCst);
        let tensor = v1::TensorInfo { element: "int8".to_owned(), ..v1::TensorInfo::default() };
        let loaded = Loaded {
            runtime_version: "2.1".to_owned(),
            input: tensor.clone(),
            output: tensor,
            memory_bytes_before: 1_000,
        };
        Ok((FakeDut { script: self.script, alive: Arc::clone(&self.alive) }, loaded))
    }
}

async fn spend(duration: Duration) -> Window {
    let start = Monotonic.now();
    sleep(duration).await;
    Window::new(start, Monotonic.now()).expect("time has passed")
}

impl Dut for FakeDut {
    async fn evaluate(&mut self, mut progress: impl FnMut(f64) + Send) -> Result<Evaluation, WorkerError> {
        let window = spend(SHORT).await;
        progress(1.0);
        let outputs_sha256 = Sha256::of(b"outputs");
        Ok(Evaluation { window, confusion: vec![3, 1, 0, 4], class_count: 2, input_count: 8, outputs_sha256 })
    }

    async fn warm_up(&mut self, _: u32) -> Result<Window, WorkerError> {
        Ok(spend(SHORT).await)
    }

    async fn run_for(&mut self, duration: Duration) -> Result<Active, WorkerError> {
        match self.script {
            Script::DiesWhileActive => {
                let (doing, status) = ("running".to_owned(), "signal 11 (SIGSEGV)".to_owned());
                Err(WorkerError::Died { doing, status, stderr: String::new() })
            }
            Script::NeverFinishesActive => std::future::pending().await,
            Script::Works | Script::RefusesModel => {
                let window = spend(duration).await;
                let latency_histogram = vec![1, 2, 3];
                Ok(Active { window, inference_count: 17, beyond_histogram_count: 0, latency_histogram })
            }
        }
    }

    async fn finish(self) -> Result<Memory, WorkerError> {
        Ok(Memory { memory_bytes_peak: 5_000 })
    }
}

struct Bench {
    spool: Spool,
    counter: Counter,
    boot: BootId,
    alive: Arc<AtomicUsize>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), crate::spool::SpoolBroken>>,
    sampling: Vec<tokio::task::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

fn put(dir: &Path, content: &[u8]) -> v1::ArtifactRef {
    let sha256 = Sha256::of(content);
    std::fs::create_dir_all(dir).expect("a folder");
    std::fs::write(dir.join(sha256.to_string()), content).expect("written");
    v1::ArtifactRef { sha256: sha256.0.to_vec(), size_bytes: content.len() as u64, name: "a file".to_owned() }
}

/// A channel, and what samples it.
type Sampled = (Measured, tokio::task::JoinHandle<()>);

fn sampled_both() -> [Sampled; 2] {
    [(4, "rail"), (7, "usb")].map(|(index, name)| sampled(index, name))
}

/// A channel with an emulated load whose readings are in the spool at once.
fn sampled(index: u32, name: &str) -> Sampled {
    let (switch, mut load) = LoadSwitch::new(Profile::new(&LoadConfig::default(), 1));
    let (sender, spooled) = watch::channel(MonoNs(0));
    let (totals_sender, totals) = watch::channel(Totals::default());
    let sampling = tokio::spawn(async move {
        let mut from = Monotonic.now();
        loop {
            sleep(Duration::from_millis(2)).await;
            let to = Monotonic.now();
            load.mean(from, to);
            // Half a watt by the scale below.
            let reading = Reading { at: to, first: 1_000, second: 1_250, flags: Flags::NONE };
            totals_sender.send_modify(|totals| totals.add(&reading));
            sender.send_replace(to);
            from = to;
        }
    });
    let scale = v1::channel::Scale::ShuntBus(v1::ShuntBusScale {
        shunt_nanovolts_per_code: 10_000,
        bus_microvolts_per_code: 4_000,
        shunt_nanoohms: 100_000_000,
        ..v1::ShuntBusScale::default()
    });
    let channel = v1::Channel { channel: index, name: name.to_owned(), scale: Some(scale), ..v1::Channel::default() };
    (Measured { channel, spooled, totals, load: Some(switch) }, sampling)
}

impl Bench {
    /// Nobody listens for artifacts: everything comes from the cache.
    fn start(script: Script) -> Self {
        Self::start_with(sampled_both(), script, "http://127.0.0.1:9", false)
    }

    fn start_with(
        channels: impl IntoIterator<Item = Sampled>,
        script: Script,
        collector: &str,
        has_jobs: bool,
    ) -> Self {
        Self::start_asking(Firmware::default(), channels, script, collector, has_jobs)
    }

    fn start_asking(
        firmware: Firmware,
        channels: impl IntoIterator<Item = Sampled>,
        script: Script,
        collector: &str,
        has_jobs: bool,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(&dir.path().join("spool"), &SpoolConfig::default()).expect("opens");
        let cache = dir.path().join("artifacts");
        put(&cache, b"model");
        put(&cache, b"inputs");
        let (boot, alive, (counter, bench)) = (BootId::random(), Arc::default(), desk());
        let (channels, sampling) = channels.into_iter().unzip();
        let endpoint = crate::link::endpoint(collector).expect("an address");
        let jobs = Jobs::open(&dir.path().join("jobs"), Path::new("/nowhere/agent")).expect("opens");
        let equipment = Equipment {
            boot,
            clock: Monotonic,
            spool: spool.clone(),
            channels,
            jobs: has_jobs.then_some(jobs),
            artifacts: Artifacts::new(&cache, &endpoint),
            firmware,
            launch: FakeLaunch { script, alive: Arc::clone(&alive) },
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(Executor::new(equipment, bench).run(stop.clone()));
        Self { spool, counter, boot, alive, stop, running, sampling, _dir: dir }
    }

    fn execute(&self, assignment: v1::Assignment) {
        self.counter.order(Order::Execute(Box::new(assignment))).expect("there is room");
    }

    /// Waits until the executor shows a phase.
    async fn until(&mut self, phase: Phase) {
        let shown = async {
            loop {
                if self.counter.changed_progress().is_some_and(|progress| progress.phase() == phase) {
                    return;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, shown).await.expect("the phase comes");
    }

    /// Waits for the end of a trial and gives all records.
    async fn finished(&mut self, trial: &v1::TrialKey) -> Vec<v1::Record> {
        let finished = timeout(LIMIT, self.counter.finished()).await.expect("it ends");
        assert_eq!(finished.as_ref(), Some(trial));
        self.spool.read(0, usize::MAX).await.expect("readable").records
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(LIMIT, self.running).await.expect("stops").expect("no panic").expect("the spool works");
        self.sampling.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn key(trial: u32) -> v1::TrialKey {
    v1::TrialKey { run_id: "digits-a".to_owned(), trial, attempt: 1 }
}

fn reference(content: &[u8]) -> Option<v1::ArtifactRef> {
    let size_bytes = content.len() as u64;
    Some(v1::ArtifactRef { sha256: Sha256::of(content).0.to_vec(), size_bytes, name: "a file".to_owned() })
}

fn assignment(trial: u32) -> v1::Assignment {
    let nanos = u64::try_from(SHORT.as_nanos()).expect("short");
    let workload = v1::InferenceWorkload {
        runtime: "litert".to_owned(),
        model: reference(b"model"),
        inputs: reference(b"inputs"),
        thread_count: 1,
        warm_up_inference_count: 2,
        idle_ns: nanos,
        active_ns: 2 * nanos,
        cool_down_ns: nanos,
        input_scale: 1.0,
        input_offset: 0.0,
        ..v1::InferenceWorkload::default()
    };
    v1::Assignment {
        trial: Some(key(trial)),
        channel: "rail".to_owned(),
        workload: Some(Workload::Inference(workload)),
        ..v1::Assignment::default()
    }
}

fn outcome(records: &[v1::Record], trial: u32) -> v1::TrialOutcome {
    let outcomes = records.iter().filter_map(|record| match &record.fact {
        Some(Fact::Outcome(outcome)) if outcome.trial == Some(key(trial)) => Some(outcome.clone()),
        _ => None,
    });
    let [outcome] = &outcomes.collect::<Vec<_>>()[..] else { panic!("one outcome of a trial") };
    outcome.clone()
}

fn failure(records: &[v1::Record], trial: u32) -> (FailureReason, String) {
    match outcome(records, trial).result {
        Some(trial_outcome::Result::Failure(failure)) => (failure.reason(), failure.message.clone()),
        other => panic!("a failure, not {other:?}"),
    }
}

fn completed(records: &[v1::Record], trial: u32) -> v1::Completed {
    match outcome(records, trial).result {
        Some(trial_outcome::Result::Completed(completed)) => completed,
        other => panic!("completed, not {other:?}"),
    }
}

#[tokio::test]
async fn an_inference_trial_goes_through_its_phases_in_order() {
    let mut bench = Bench::start(Script::Works);
    bench.execute(assignment(0));
    let records = bench.finished(&key(0)).await;
    let outcome = outcome(&records, 0);
    assert_eq!((&outcome.samples_boot_id, outcome.samples_channel), (&bench.boot.to_vec(), 4));
    let completed = completed(&records, 0);
    let phases: Vec<_> = completed.windows.iter().map(v1::Window::phase).collect();
    assert_eq!(phases, [Phase::Idle, Phase::Active, Phase::Idle]);
    assert_eq!(completed.windows[1].inference_count, 17);
    let summary = completed.inference.expect("of an inference trial");
    assert_eq!((summary.confusion, summary.class_count, summary.input_count), (vec![3, 1, 0, 4], 2, 8));
    assert_eq!((summary.memory_bytes_before, summary.memory_bytes_peak), (1_000, 5_000));

    let markers: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.fact {
            Some(Fact::Marker(marker)) => Some((marker.phase(), marker.edge(), marker.mono_ns)),
            _ => None,
        })
        .collect();
    let starts = markers.iter().filter(|marker| marker.1 == v1::Edge::Start).map(|marker| marker.0).collect::<Vec<_>>();
    let order =
        [Phase::Prepare, Phase::Evaluate, Phase::CoolDown, Phase::Idle, Phase::WarmUp, Phase::Active, Phase::Idle];
    assert_eq!(starts, order);
    assert!(markers.windows(2).all(|pair| pair[0].2 <= pair[1].2), "phases do not overlap");
    assert!(matches!(records.last().expect("a record").fact, Some(Fact::Outcome(_))), "the outcome is last");
    assert_eq!(bench.alive.load(Ordering::SeqCst), 0);
    bench.end().await;
}

#[tokio::test]
async fn a_trial_is_shown_before_it_asks_the_firmware_so_that_nobody_else_asks() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let firmware = Firmware::new(|| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        Throttling::Bits(0x2_0000)
    });
    let mut bench = Bench::start_asking(firmware, sampled_both(), Script::Works, "http://127.0.0.1:9", false);
    let executing = bench.counter.executing();
    bench.execute(assignment(0));
    let asked = async {
        while ASKED.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LIMIT, asked).await.expect("it asks");
    assert!(executing.borrow().is_some());
    let completed = completed(&bench.finished(&key(0)).await, 0);
    assert_eq!((completed.throttled_bits_before, completed.throttled_bits), (Some(0x2_0000), Some(0x2_0000)));
    assert!(executing.borrow().is_none());
    bench.end().await;
}

#[tokio::test]
async fn the_emulated_load_works_in_the_active_window_and_idles_around_it() {
    let mut bench = Bench::start(Script::Works);
    bench.execute(assignment(0));
    let completed = completed(&bench.finished(&key(0)).await, 0);
    let watts = |window: &v1::Window| {
        let seconds = Duration::from_nanos(window.end_mono_ns - window.start_mono_ns).as_secs_f64();
        window.simulated_true_joules.expect("known, because its readings are in the spool") / seconds
    };
    let [before, active, after] = &completed.windows[..] else { panic!("three windows") };
    assert!(watts(active) > 1.2 * watts(before), "{} and {} W", watts(active), watts(before));
    assert!(watts(active) > 1.1 * watts(after), "{} and {} W", watts(active), watts(after));
    bench.end().await;
}

#[tokio::test]
async fn a_cancelled_trial_ends_the_worker_and_the_node_goes_on() {
    let mut bench = Bench::start(Script::NeverFinishesActive);
    bench.execute(assignment(0));
    bench.until(Phase::Active).await;
    assert_eq!(bench.alive.load(Ordering::SeqCst), 1);
    let reason = "the run was cancelled".to_owned();
    bench.counter.order(Order::Cancel { trial: key(9), reason: "another one".to_owned() }).expect("there is room");
    bench.counter.order(Order::Cancel { trial: key(0), reason }).expect("there is room");
    let records = bench.finished(&key(0)).await;
    assert_eq!(failure(&records, 0), (FailureReason::Cancelled, "cancelled: the run was cancelled".to_owned()));
    assert_eq!(bench.alive.load(Ordering::SeqCst), 0);
    bench.execute(assignment(1));
    bench.until(Phase::Active).await;
    bench.end().await;
}

#[tokio::test]
async fn stopping_the_agent_in_mid_trial_leaves_an_outcome() {
    let mut bench = Bench::start(Script::NeverFinishesActive);
    bench.execute(assignment(0));
    bench.until(Phase::Active).await;
    let (spool, alive) = (bench.spool.clone(), Arc::clone(&bench.alive));
    bench.end().await;
    let records = spool.read(0, usize::MAX).await.expect("readable").records;
    assert_eq!(failure(&records, 0).0, FailureReason::Worker);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_fails_is_told_with_its_reason() {
    let mut bench = Bench::start(Script::RefusesModel);
    bench.execute(assignment(0));
    let records = bench.finished(&key(0)).await;
    assert_eq!(failure(&records, 0), (FailureReason::Model, "the model wants 3 channels".to_owned()));

    bench.execute(v1::Assignment { channel: "gpu".to_owned(), ..assignment(1) });
    let (reason, message) = failure(&bench.finished(&key(1)).await, 1);
    assert_eq!(
        (reason, message.as_str()),
        (FailureReason::Sensor, "no channel 'gpu' on this node; there are: rail, usb")
    );

    let mut other = assignment(2);
    if let Some(Workload::Inference(workload)) = &mut other.workload {
        workload.runtime = "onnx".to_owned();
    }
    bench.execute(other);
    assert_eq!(failure(&bench.finished(&key(2)).await, 2).0, FailureReason::Runtime);

    bench.execute(v1::Assignment { workload: None, ..assignment(3) });
    assert_eq!(failure(&bench.finished(&key(3)).await, 3).0, FailureReason::Runtime);

    let mut nameless = assignment(4);
    if let Some(Workload::Inference(workload)) = &mut nameless.workload {
        workload.inputs = None;
    }
    bench.execute(nameless);
    assert_eq!(failure(&bench.finished(&key(4)).await, 4).0, FailureReason::Artifact);
    bench.end().await;
}

#[tokio::test]
async fn a_worker_that_dies_is_a_failure_of_the_worker() {
    let mut bench = Bench::start(Script::DiesWhileActive);
    bench.execute(assignment(0));
    let (reason, message) = failure(&bench.finished(&key(0)).await, 0);
    assert_eq!(reason, FailureReason::Worker);
    assert!(message.contains("SIGSEGV"), "{message}");
    bench.end().await;
}

#[tokio::test]
async fn a_second_assignment_is_refused_and_the_first_goes_on() {
    let mut bench = Bench::start(Script::NeverFinishesActive);
    bench.execute(assignment(0));
    bench.until(Phase::Active).await;
    // Sent again after a reconnect: not a second one.
    bench.execute(assignment(0));
    bench.execute(assignment(1));
    let (reason, message) = failure(&bench.finished(&key(1)).await, 1);
    assert_eq!(reason, FailureReason::Worker);
    assert!(message.contains("trial 0 of run digits-a"), "{message}");
    assert_eq!(bench.alive.load(Ordering::SeqCst), 1);
    bench.end().await;
}

#[tokio::test]
async fn a_recording_is_replayed_under_a_boot_id_of_its_own() {
    let samples: Vec<String> = (0..2_000).map(|index| format!("{}e-6", 10 + index % 7)).collect();
    let trace = format!(
        r#"[{{"file": "a.bin", "infer": {{"iterations": 250}},
            "power": {{"samples": [{}], "timestamps": [["00", 100], ["01", 1900]]}}}}]"#,
        samples.join(", ")
    );
    let mut bench = Bench::start(Script::Works);
    put(&bench._dir.path().join("artifacts"), trace.as_bytes());
    let workload = v1::ReplayWorkload { trace: reference(trace.as_bytes()) };
    let replay = Some(Workload::Replay(workload));
    bench.execute(v1::Assignment { workload: replay, ..assignment(0) });
    let records = bench.finished(&key(0)).await;
    let outcome = outcome(&records, 0);
    assert_ne!(outcome.samples_boot_id, bench.boot.to_vec());
    let played: Vec<_> = records.iter().filter(|record| record.boot_id == outcome.samples_boot_id).collect();
    let Some(Fact::ChannelOpened(channel)) = &played[0].fact else { panic!("no channel") };
    assert_eq!(channel.name, "a-file", "after the trace, not the node's channel");
    let readings = played.iter().filter_map(|record| match &record.fact {
        Some(Fact::Batch(batch)) => Some(tinywatt_proto::columns::decode(batch, 1_000, false).expect("readable")),
        _ => None,
    });
    let readings: Vec<_> = readings.flatten().collect();
    assert_eq!(readings.len(), 2_000);
    let completed = completed(&records, 0);
    let [window] = &completed.windows[..] else { panic!("one window") };
    assert_eq!((window.phase(), window.inference_count), (Phase::Active, 250));
    let inside =
        readings.iter().filter(|reading| (window.start_mono_ns + 1..=window.end_mono_ns).contains(&reading.at.0));
    assert_eq!(inside.count(), 1_800);
    assert!(completed.inference.is_none());
    bench.end().await;
}

#[tokio::test]
async fn several_channels_measure_one_trial_and_each_once() {
    let mut bench = Bench::start(Script::Works);
    let further = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    bench.execute(v1::Assignment { further_channels: further(&["usb"]), ..assignment(0) });
    let records = bench.finished(&key(0)).await;
    let outcome = outcome(&records, 0);
    assert_eq!((outcome.samples_channel, outcome.samples_further_channels), (4, vec![7]));
    assert!(completed(&records, 0).windows.iter().all(|window| window.simulated_true_joules.is_some()));

    bench.execute(v1::Assignment { further_channels: further(&["usb", "rail"]), ..assignment(1) });
    let (reason, message) = failure(&bench.finished(&key(1)).await, 1);
    assert_eq!(reason, FailureReason::Sensor);
    assert!(message.contains("'rail' twice"), "{message}");
    bench.execute(v1::Assignment { channel: String::new(), ..assignment(2) });
    let (_, message) = failure(&bench.finished(&key(2)).await, 2);
    assert!(message.contains("names no channel, and the node has 2: rail, usb"), "{message}");
    bench.end().await;
}
