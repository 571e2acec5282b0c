//! Jobs, as small shell scripts: what they make, and every way in which they go wrong.

use serde_json::Value;

use super::*;
use crate::link::tests::collector::{Behaviour, Collector};

/// Begins every script: `$1` is the path of the job file.
const BEGIN: &str = "dir=$(dirname \"$1\"); out=$dir/output\n\
    finish() { printf '%s' \"$1\" > \"$dir/result.json.part\"; mv \"$dir/result.json.part\" \"$dir/result.json\"; }\n";

pub(super) const NOTHING_MADE: &str =
    r#"{"schema":"tinywatt.result.v1","framework":{"name":"sh","version":"1"},"artifacts":[]}"#;

pub(super) struct Scene {
    pub(super) bench: Bench,
    collector: Collector,
}

impl Scene {
    async fn start() -> Self {
        Self::start_with(sampled_both()).await
    }

    pub(super) async fn start_with(channels: impl IntoIterator<Item = Sampled>) -> Self {
        let collector = Collector::start(Behaviour::default()).await;
        let bench = Bench::start_with(channels, Script::Works, &collector.address(), true);
        Self { bench, collector }
    }

    fn jobs_dir(&self) -> PathBuf {
        self.bench._dir.path().join("jobs")
    }

    /// Executes a script to its end.
    pub(super) async fn run(&mut self, trial: u32, script: &str) -> Vec<v1::Record> {
        self.bench.execute(job(trial, script));
        self.ended(trial).await
    }

    async fn ended(&mut self, trial: u32) -> Vec<v1::Record> {
        let records = self.bench.finished(&key(trial)).await;
        let left = std::fs::read_dir(self.jobs_dir()).expect("there").count();
        assert_eq!(left, 0, "no folder outlives its job");
        records
    }

    /// The failure of a script that does not become a result.
    async fn failure(&mut self, trial: u32, script: &str) -> v1::Failure {
        let records = self.run(trial, script).await;
        let failure = failed(&records, trial);
        assert_eq!(failure.reason(), FailureReason::Job, "{}", failure.message);
        failure
    }

    fn log(&self, log: Option<&v1::ArtifactRef>) -> String {
        let log = log.expect("a log");
        let content = self.collector.artifact(&log.sha256).expect("the collector has it");
        assert_eq!(content.len() as u64, log.size_bytes);
        String::from_utf8(content).expect("text")
    }

    /// Waits until the executor shows what the job says.
    async fn until_job(&mut self, is_it: impl Fn(&v1::JobProgress) -> bool) -> v1::Progress {
        let shown = async {
            loop {
                if let Some(progress) = self.bench.counter.changed_progress()
                    && progress.job.as_ref().is_some_and(&is_it)
                {
                    return progress;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, shown).await.expect("the job says it")
    }

    /// Waits until a file of the only job has a whole line.
    async fn line_of(&self, name: &str) -> String {
        let read = async {
            loop {
                let folders = std::fs::read_dir(self.jobs_dir()).into_iter().flatten().flatten();
                let texts = folders.filter_map(|folder| std::fs::read_to_string(folder.path().join(name)).ok());
                if let Some(text) = texts.into_iter().find(|text| text.ends_with('\n')) {
                    return text.trim().to_owned();
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LIMIT, read).await.expect("the file comes")
    }
}

fn failed(records: &[v1::Record], trial: u32) -> v1::Failure {
    match outcome(records, trial).result {
        Some(trial_outcome::Result::Failure(failure)) => failure,
        other => panic!("a failure, not {other:?}"),
    }
}

fn workload(script: &str) -> v1::JobWorkload {
    v1::JobWorkload {
        kind: v1::JobKind::Train.into(),
        command: ["sh", "-c", &format!("{BEGIN}{script}"), "job"].map(str::to_owned).to_vec(),
        seed: 42,
        thread_count: 2,
        device: v1::JobDevice::Cpu.into(),
        idle_ns: u64::try_from(SHORT.as_nanos()).expect("short"),
        time_limit_ns: 60_000_000_000,
        output_bytes_max: 64 << 20,
        ..v1::JobWorkload::default()
    }
}

fn assigned(trial: u32, workload: v1::JobWorkload) -> v1::Assignment {
    v1::Assignment { workload: Some(Workload::Job(workload)), ..assignment(trial) }
}

fn job(trial: u32, script: &str) -> v1::Assignment {
    assigned(trial, workload(script))
}

fn is_alive(id: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

/// A process that was killed may need a moment to be gone.
async fn gone(id: &str) {
    let gone = async {
        while is_alive(id) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LIMIT, gone).await.expect("the process goes");
}

#[tokio::test]
async fn a_job_is_given_its_file_and_gives_artifacts_phases_and_a_log() {
    let mut scene = Scene::start().await;
    let big: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    scene.collector.put(big.clone());
    let script = r#"
        echo working; echo "in $TINYWATT_JOB" >&2
        cp "$dir/inputs/parent.keras" "$out/model.tflite"; : > "$out/checkpoint.keras"
        cp "$1" "$out/told.json"
        now() { read -r up rest < /proc/uptime; echo "${up%.*}${up#*.}0000000"; }
        start=$(now); sleep 0.05; middle=$(now); sleep 0.05; end=$(now)
        finish '{"schema":"tinywatt.result.v1","framework":{"name":"sh","version":"1"},"artifacts":[
            {"role":"model","file":"model.tflite"},{"role":"checkpoint","file":"checkpoint.keras"},
            {"role":"told","file":"told.json"}],"phases":[
            {"phase":"train","start_mono_ns":'$((start + 10000000))',"end_mono_ns":'$middle'},
            {"phase":"evaluate","start_mono_ns":'$middle',"end_mono_ns":'$end'}]}'
    "#;
    let artifact = v1::ArtifactRef { name: "checkpoint.keras".to_owned(), ..reference(&big).expect("one") };
    let parent = v1::JobInput { name: "parent".to_owned(), source: Some(v1::job_input::Source::Artifact(artifact)) };
    let workload = v1::JobWorkload {
        inputs: vec![parent],
        config_json: r#"{"epochs": 3, "learning_rate": 1e-3}"#.to_owned(),
        prepare: ["sh", "-c", "echo prepared; test $# = 0"].map(str::to_owned).to_vec(),
        ..workload(script)
    };
    scene.bench.execute(assigned(0, workload));
    let records = scene.ended(0).await;
    if let Some(trial_outcome::Result::Failure(failure)) = outcome(&records, 0).result {
        panic!("{}", failure.message);
    }
    assert_eq!(outcome(&records, 0).samples_channel, 4);
    let completed = completed(&records, 0);
    let phases: Vec<_> = completed.windows.iter().map(|window| (window.phase(), window.inference_count)).collect();
    let expected = [(Phase::Idle, 0), (Phase::Active, 1), (Phase::Train, 0), (Phase::Evaluate, 0), (Phase::Idle, 0)];
    assert_eq!(phases, expected);
    let watts = |window: &v1::Window| {
        let seconds = Duration::from_nanos(window.end_mono_ns - window.start_mono_ns).as_secs_f64();
        window.simulated_true_joules.expect("known") / seconds
    };
    assert!(watts(&completed.windows[1]) > 1.2 * watts(&completed.windows[0]), "the load works with the command");

    let job = completed.job.expect("of a job");
    assert_eq!(job.kind(), v1::JobKind::Train);
    assert!(job.memory_bytes_peak > 0);
    let log = scene.log(job.log.as_ref());
    assert!(log.starts_with("prepared\nworking\nin /") && log.ends_with("/job.json\n"), "{log}");
    let result: Value = serde_json::from_str(&job.result_json).expect("as the job wrote it");
    assert_eq!(result["framework"]["name"], "sh");

    let of = |role: &str| {
        let made = job.artifacts.iter().find(|artifact| artifact.role == role).expect(role);
        let made = made.artifact.clone().expect("named");
        (scene.collector.artifact(&made.sha256).expect("there before the outcome"), made.name)
    };
    assert_eq!(of("model"), (big, "model.tflite".to_owned()));
    assert_eq!(of("checkpoint"), (Vec::new(), "checkpoint.keras".to_owned()));
    let told: Value = serde_json::from_slice(&of("told").0).expect("JSON");
    let (told_path, dir) = (|name: &str| PathBuf::from(told[name].as_str().expect(name)), scene.jobs_dir());
    let folder = dir.canonicalize().expect("there").join("digits-a-0-1");
    assert_eq!(
        (&told["schema"], &told["kind"], &told["device"]),
        (&"tinywatt.job.v1".into(), &"train".into(), &"cpu".into())
    );
    assert_eq!((&told["seed"], &told["thread_count"]), (&42.into(), &2.into()));
    assert_eq!(told["config"], serde_json::json!({"epochs": 3, "learning_rate": 1e-3}));
    assert_eq!(told["inputs"]["parent"]["path"], folder.join("inputs/parent.keras").to_str().expect("text"));
    assert_eq!(told["inputs"]["parent"]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(told_path("output_dir"), folder.join("output"));
    assert_eq!(told_path("result"), folder.join("result.json"));
    assert_eq!(told_path("progress"), folder.join("progress.jsonl"));

    let edges = records.iter().filter_map(|record| match &record.fact {
        Some(Fact::Marker(marker)) if marker.edge() == v1::Edge::Start => Some(marker.phase()),
        _ => None,
    });
    let edges: Vec<_> = edges.collect();
    let order = [Phase::Prepare, Phase::Idle, Phase::Active, Phase::Train, Phase::Evaluate, Phase::Idle];
    assert_eq!(edges, order);
    assert!(matches!(records.last().expect("a record").fact, Some(Fact::Outcome(_))), "the outcome is last");
    scene.bench.end().await;
}

#[tokio::test]
async fn what_is_no_success_is_told_with_the_way_out_and_the_last_lines() {
    let mut scene = Scene::start().await;
    let with_artifact = |file: &str| {
        let artifacts = format!(r#""artifacts":[{{"role":"model","file":"{file}"}}]"#);
        format!(
            "echo mine > $dir/secret; ln -s ../secret $out/link; finish '{}'",
            NOTHING_MADE.replace(r#""artifacts":[]"#, &artifacts)
        )
    };
    let finish = |result: &str| format!("finish '{result}'");
    for (trial, (script, part)) in (0..).zip([
        (":".to_owned(), "left no result.json: it must write"),
        ("echo {} > $dir/result.json.part".to_owned(), "only result.json.part"),
        (finish("garbage"), "result.json cannot be used: it is no JSON"),
        (finish(r#"{"schema":"tinywatt.result.v9"}"#), "must be \"tinywatt.result.v1\"; framework is missing"),
        (with_artifact("model.pt"), "there is no 'model.pt' in output_dir"),
        (with_artifact("link"), "'link' is a symbolic link"),
        (with_artifact("../secret"), "plain name of a file in output_dir, and is \"../secret\""),
        (format!("{}; exit 3", finish(NOTHING_MADE)), "was ended by exit status: 3; its log tells why"),
        ("kill -9 $$".to_owned(), "was ended by signal 9 (SIGKILL, by a person or for want of memory)"),
    ]) {
        let failure = scene.failure(trial, &format!("echo first; echo the end of {trial} >&2\n{script}")).await;
        assert!(failure.message.contains(part), "{}", failure.message);
        let last = format!("; its last lines:\nfirst\nthe end of {trial}");
        assert!(failure.message.ends_with(&last), "{}", failure.message);
        assert_eq!(scene.log(failure.log.as_ref()), format!("first\nthe end of {trial}\n"));
    }
    let silent = scene.failure(20, "exit 1").await;
    assert!(
        silent.message.ends_with("it wrote nothing that tells why: try it by hand on this node"),
        "{}",
        silent.message
    );
    assert_eq!(silent.log, None);
    let records = scene.run(21, &finish(NOTHING_MADE)).await;
    assert!(completed(&records, 21).job.is_some_and(|job| job.log.is_none()), "the node goes on");
    scene.bench.end().await;
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_named() {
    let mut scene = Scene::start().await;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let none = v1::JobWorkload { command: words(&["no-such-trainer", "run"]), ..workload("") };
    scene.bench.execute(assigned(0, none));
    let failure = failed(&scene.ended(0).await, 0);
    assert_eq!(failure.reason(), FailureReason::Job);
    // Where a folder in PATH may not be searched, the system says that instead of that there is none.
    let parts = ["failed to start the command `no-such-trainer`, which ", "give its full path"];
    assert!(parts.iter().all(|part| failure.message.contains(part)), "{}", failure.message);

    let unprepared = v1::JobWorkload { prepare: words(&["sh", "-c", "echo no network; exit 7"]), ..workload("") };
    scene.bench.execute(assigned(1, unprepared));
    let failure = failed(&scene.ended(1).await, 1);
    let said = "the preparing command `sh` was ended by exit status: 7; its log tells why; its last lines:\nno network";
    assert_eq!(failure.message, said);

    scene.bench.execute(assigned(2, v1::JobWorkload { config_json: "[]".to_owned(), ..workload("") }));
    let failure = failed(&scene.ended(2).await, 2);
    assert!(failure.message.contains("no JSON object"), "{}", failure.message);

    let missing = v1::ArtifactRef { name: "train.twin".to_owned(), ..reference(b"nobody has it").expect("one") };
    let input = v1::JobInput { name: "train".to_owned(), source: Some(v1::job_input::Source::Artifact(missing)) };
    scene.bench.execute(assigned(3, v1::JobWorkload { inputs: vec![input], ..workload("") }));
    assert_eq!(failed(&scene.ended(3).await, 3).reason(), FailureReason::Artifact);
    scene.bench.end().await;
}

#[tokio::test]
async fn a_node_without_jobs_says_how_to_enable_them() {
    let mut bench = Bench::start(Script::Works);
    bench.execute(job(0, "finish"));
    let (reason, message) = failure(&bench.finished(&key(0)).await, 0);
    assert_eq!(reason, FailureReason::Runtime);
    assert!(message.contains("`enabled = true` under [jobs]"), "{message}");
    bench.end().await;
}

#[tokio::test]
async fn one_that_takes_too_long_and_will_not_end_is_killed() {
    let mut scene = Scene::start().await;
    let script = "trap 'echo not yet' TERM; echo $$ > $dir/id; while :; do sleep 0.05; done";
    let slow = v1::JobWorkload { time_limit_ns: 2_000_000_000, ..workload(script) };
    scene.bench.execute(assigned(0, slow));
    let id = scene.line_of("id").await;
    let failure = failed(&scene.ended(0).await, 0);
    assert_eq!(failure.reason(), FailureReason::Job);
    assert!(failure.message.contains("was ended after 2s, its time limit"), "{}", failure.message);
    assert!(failure.message.ends_with("not yet"), "it was asked first: {}", failure.message);
    assert!(!is_alive(&id));
    scene.bench.end().await;
}

#[tokio::test]
async fn one_that_fills_the_disk_is_ended() {
    let mut scene = Scene::start().await;
    let script = "head -c 3000000 /dev/zero > $out/a; head -c 3000000 /dev/zero > $dir/b; exec sleep 600";
    let full = v1::JobWorkload { output_bytes_max: 5_000_000, ..workload(script) };
    scene.bench.execute(assigned(0, full));
    let failure = failed(&scene.ended(0).await, 0);
    assert_eq!(failure.reason(), FailureReason::Job);
    let parts = ["the command `sh` was ended: its folder held 60", "and it may hold 5000000 bytes"];
    assert!(parts.iter().all(|part| failure.message.contains(part)), "{}", failure.message);
    scene.bench.end().await;
}

#[tokio::test]
async fn one_that_works_elsewhere_is_ended() {
    let mut scene = Scene::start().await;
    let elsewhere = tempfile::tempdir().expect("a folder");
    let script = format!("rmdir $out; ln -s {} $out; exec sleep 600", elsewhere.path().display());
    let failure = scene.failure(0, &script).await;
    let parts = ["was ended: ", "/output is not the folder any more that the agent made", "`state_dir` on another"];
    assert!(parts.iter().all(|part| failure.message.contains(part)), "{}", failure.message);
    scene.bench.end().await;
}

#[tokio::test]
async fn a_result_that_is_a_pipe_fails_the_job_and_not_the_agent() {
    let mut scene = Scene::start().await;
    let failure = scene.failure(0, "mkfifo $dir/progress.jsonl; mkfifo $dir/result.json").await;
    assert!(failure.message.contains("result.json cannot be used: it is no file"), "{}", failure.message);
    let records = scene.run(1, &format!("finish '{NOTHING_MADE}'")).await;
    assert!(completed(&records, 1).job.is_some(), "the node goes on");
    scene.bench.end().await;
}

/// Two markers for each of a thousand phases, in one transaction: no delivery id between them is ever the last one.
#[tokio::test]
async fn the_markers_of_many_phases_are_one_commit() {
    let mut scene = Scene::start().await;
    let mut last = scene.bench.spool.last_delivery_id();
    let watching = tokio::spawn(async move {
        let mut seen = std::collections::BTreeSet::new();
        while last.changed().await.is_ok() {
            seen.insert(*last.borrow_and_update());
        }
        seen
    });
    let script = r#"exec python3 - "$1" <<'END'
import json, sys, time
job = json.load(open(sys.argv[1]))
start = time.monotonic_ns()
at = [start + index * 1000 for index in range(1001)]
phases = [dict(phase="train", start_mono_ns=a, end_mono_ns=b) for a, b in zip(at, at[1:])]
time.sleep(0.01)
result = dict(schema="tinywatt.result.v1", framework=dict(name="sh", version="1"), artifacts=[], phases=phases)
json.dump(result, open(job["result"], "w"))
END
"#;
    let records = scene.run(0, script).await;
    assert_eq!(completed(&records, 0).windows.iter().filter(|window| window.phase() == Phase::Train).count(), 1000);
    let of_phases = records
        .iter()
        .filter(|record| matches!(&record.fact, Some(Fact::Marker(marker)) if marker.phase() == Phase::Train));
    let ids: Vec<u64> = of_phases.map(|record| record.delivery_id).collect();
    assert_eq!(ids.len(), 2000);
    scene.bench.end().await;
    let seen = watching.await.expect("it ends with the spool");
    let (first, last) = (ids[0], ids[1999]);
    assert_eq!(last - first, 1999, "nothing between them");
    assert!(seen.contains(&last) || seen.iter().any(|id| *id > last), "{seen:?}");
    assert_eq!(seen.range(first..last).collect::<Vec<_>>(), Vec::<&u64>::new());
}

#[tokio::test]
async fn of_a_flood_of_words_the_ends_are_kept() {
    let mut scene = Scene::start().await;
    let script =
        format!("echo begin; head -c 100000000 /dev/zero | tr '\\0' 'x'; echo; echo done; finish '{NOTHING_MADE}'");
    let records = scene.run(0, &script).await;
    let job = completed(&records, 0).job.expect("of a job");
    let log = scene.log(job.log.as_ref());
    assert!(log.len() <= 4 << 20, "{}", log.len());
    assert!(log.starts_with("begin\nxxx") && log.ends_with("xxx\ndone\n") && log.contains("bytes are left out here"));
    scene.bench.end().await;
}

#[tokio::test]
async fn children_do_not_outlive_their_job_wherever_they_hide() {
    let mut scene = Scene::start().await;
    let script = format!(
        "sleep 600 & echo $! > $dir/near; setsid sh -c 'echo $$ > \"$0/far\"; exec sleep 600' $dir &\n\
         until test -s $dir/far; do sleep 0.01; done; until test -e $dir/go; do sleep 0.01; done; finish '{NOTHING_MADE}'"
    );
    scene.bench.execute(job(0, &script));
    let (near, far) = (scene.line_of("near").await, scene.line_of("far").await);
    assert!(is_alive(&near) && is_alive(&far));
    let folder = std::fs::read_dir(scene.jobs_dir()).expect("there").next().expect("one").expect("readable").path();
    std::fs::write(folder.join("go"), "").expect("written");
    let records = scene.ended(0).await;
    assert!(completed(&records, 0).job.is_some());
    gone(&near).await;
    gone(&far).await;
    scene.bench.end().await;
}

#[tokio::test]
async fn a_cancelled_job_is_asked_to_end_and_its_log_is_kept() {
    let mut scene = Scene::start().await;
    let script = "trap 'echo saved; exit 0' TERM; sleep 600 & echo $! > $dir/id; echo training; wait; finish '{}'";
    scene.bench.execute(job(0, script));
    let child = scene.line_of("id").await;
    scene.bench.until(Phase::Active).await;
    let cancel = Order::Cancel { trial: key(0), reason: "the run was cancelled".to_owned() };
    scene.bench.counter.order(cancel).expect("there is room");
    let failure = failed(&scene.ended(0).await, 0);
    assert_eq!(failure.reason(), FailureReason::Cancelled);
    assert!(failure.message.starts_with("cancelled: the run was cancelled"), "{}", failure.message);
    assert!(scene.log(failure.log.as_ref()).ends_with("saved\n"));
    gone(&child).await;
    let records = scene.run(1, &format!("finish '{NOTHING_MADE}'")).await;
    assert!(completed(&records, 1).job.is_some(), "the node goes on");
    scene.bench.end().await;
}

#[tokio::test]
async fn stopping_the_agent_in_mid_job_leaves_an_outcome_and_no_process() {
    let mut scene = Scene::start().await;
    scene.bench.execute(job(0, "echo $$ > $dir/id; echo training; sleep 600; finish '{}'"));
    let id = scene.line_of("id").await;
    scene.bench.until(Phase::Active).await;
    let spool = scene.bench.spool.clone();
    scene.bench.end().await;
    let failure = failed(&spool.read(0, usize::MAX).await.expect("readable").records, 0);
    assert!(failure.message.starts_with("the agent was stopped in mid-trial"), "{}", failure.message);
    assert_eq!(scene.collector.artifact(&failure.log.expect("a log").sha256), Some(b"training\n".to_vec()));
    gone(&id).await;
}

#[tokio::test]
async fn what_a_job_says_of_itself_is_shown_with_its_watts() {
    let mut scene = Scene::start().await;
    let script = format!(
        "printf 'garbage\\n{{\"phase\":\"train\",\"epoch\":3,\"epoch_count\":10,\"loss\":1.25}}\\n{{' > $dir/progress.jsonl\n\
         until test -e $dir/go; do sleep 0.01; done; finish '{NOTHING_MADE}'"
    );
    scene.bench.execute(job(0, &script));
    let shown = scene.until_job(|job| job.epoch == Some(3) && job.power_watts.is_some()).await;
    assert_eq!(shown.phase(), Phase::Active);
    assert!((shown.fraction - 0.3).abs() < 1e-9);
    let said = shown.job.expect("a job");
    assert_eq!(
        (said.phase.as_str(), said.epoch_count, said.loss, said.accuracy),
        ("train", Some(10), Some(1.25), None)
    );
    let watts = said.power_watts.expect("asked for");
    assert!((watts - 0.5).abs() < 1e-6, "{watts}");
    let folder = std::fs::read_dir(scene.jobs_dir()).expect("there").next().expect("one").expect("readable").path();
    std::fs::write(folder.join("go"), "").expect("written");
    assert!(completed(&scene.ended(0).await, 0).job.is_some());
    scene.bench.end().await;
}

#[tokio::test]
async fn an_upload_waits_for_a_collector_that_is_away() {
    let address = Collector::free_address().await;
    let mut bench = Bench::start_with(sampled_both(), Script::Works, &format!("http://{address}"), true);
    let result = NOTHING_MADE.replace(r#""artifacts":[]"#, r#""artifacts":[{"role":"model","file":"m.pt"}]"#);
    bench.execute(job(0, &format!("echo model > $out/m.pt; finish '{result}'")));
    bench.until(Phase::CoolDown).await;
    let collector = Collector::start_at(address, Behaviour::default()).await;
    let records = bench.finished(&key(0)).await;
    let job = completed(&records, 0).job.expect("of a job");
    let model = job.artifacts[0].artifact.clone().expect("named");
    assert_eq!(collector.artifact(&model.sha256), Some(b"model\n".to_vec()));
    bench.end().await;
}

#[tokio::test]
async fn an_artifact_that_the_collector_refuses_fails_the_trial() {
    let collector = Collector::start(Behaviour { refuses_uploads: true, ..Behaviour::default() }).await;
    let mut bench = Bench::start_with(sampled_both(), Script::Works, &collector.address(), true);
    let result = NOTHING_MADE.replace(r#""artifacts":[]"#, r#""artifacts":[{"role":"model","file":"m.pt"}]"#);
    bench.execute(job(0, &format!("echo model > $out/m.pt; finish '{result}'")));
    let (reason, message) = failure(&bench.finished(&key(0)).await, 0);
    assert_eq!((reason, &*message), (FailureReason::Job, "the collector does not take 'm.pt': there is no room"));
    bench.end().await;
}

#[tokio::test]
async fn one_that_waits_for_the_collector_can_be_cancelled() {
    let address = Collector::free_address().await;
    let mut bench = Bench::start_with(sampled_both(), Script::Works, &format!("http://{address}"), true);
    let result = NOTHING_MADE.replace(r#""artifacts":[]"#, r#""artifacts":[{"role":"model","file":"m.pt"}]"#);
    bench.execute(job(0, &format!("echo model > $out/m.pt; finish '{result}'")));
    bench.until(Phase::CoolDown).await;
    bench.counter.order(Order::Cancel { trial: key(0), reason: "enough".to_owned() }).expect("there is room");
    let (reason, message) = failure(&bench.finished(&key(0)).await, 0);
    assert_eq!((reason, &*message), (FailureReason::Cancelled, "cancelled: enough"));
    bench.end().await;
}
