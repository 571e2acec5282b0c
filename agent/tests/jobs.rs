//! The real agent, as a process, executes jobs for a collector in this process.

#[path = "../src/link/tests/collector.rs"]
#[expect(dead_code, reason = "shared with the link's own tests, which use other parts of it")]
mod collector;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use collector::{Behaviour, Collector};
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::v1;
use tinywatt_proto::v1::record::Fact;
use tinywatt_proto::v1::{assignment, trial_outcome, work_request, work_response};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn start(dir: &Path, collector: &Collector) -> Self {
        let config = dir.join("agent.toml");
        let text = format!(
            "node = 'bench'\ncollector = '{}'\nstate_dir = '{}'\n[jobs]\nenabled = true\n\
             [[sensor]]\nname = 'rail'\nsource = 'ina219-emulator'\nseed = 1\n",
            collector.address(),
            dir.join("state").display()
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
        command.args(["run", "--config"]).arg(config).env("RUST_LOG", "warn").stdout(Stdio::null());
        Self(command.spawn().expect("an agent"))
    }
}

fn job(trial: u32, script: &str) -> work_response::Item {
    let workload = v1::JobWorkload {
        kind: v1::JobKind::Train.into(),
        command: ["sh", "-c", script, "job"].map(str::to_owned).to_vec(),
        idle_ns: 300_000_000,
        time_limit_ns: 60_000_000_000,
        output_bytes_max: 10 << 20,
        ..v1::JobWorkload::default()
    };
    work_response::Item::Assignment(v1::Assignment {
        trial: Some(key(trial)),
        workload: Some(assignment::Workload::Job(workload)),
        ..v1::Assignment::default()
    })
}

fn key(trial: u32) -> v1::TrialKey {
    v1::TrialKey { run_id: "study-a".to_owned(), trial, attempt: 1 }
}

/// Waits for the outcome of a trial.
async fn outcome(collector: &Collector, trial: u32) -> v1::TrialOutcome {
    let found = collector.wait_for(|record| match &record.fact {
        Some(Fact::Outcome(outcome)) if outcome.trial == Some(key(trial)) => Some(outcome.clone()),
        _ => None,
    });
    timeout(LIMIT, found).await.expect("an outcome")
}

async fn line_of(path: &Path) -> String {
    let read = async {
        loop {
            if let Some(line) = std::fs::read_to_string(path).ok().filter(|text| text.ends_with('\n')) {
                return line.trim().to_owned();
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, read).await.expect("the file comes")
}

async fn gone(id: &str) {
    let gone = async {
        loop {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            if status.is_empty() || status.contains("State:\tZ") {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, gone).await.expect("the process goes");
}

fn folders(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("state/jobs")).expect("there").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_is_executed_metered_and_handed_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let collector = Collector::start(Behaviour::default()).await;
    let _agent = Agent::start(dir.path(), &collector);
    let script = r#"
        dir=$(dirname "$1"); echo '{"phase":"train","epoch":1,"epoch_count":2}' > "$dir/progress.jsonl"
        sleep 1.5; echo model > "$dir/output/model.pt"
        printf '{"schema":"tinywatt.result.v1","framework":{"name":"sh","version":"1"},
            "artifacts":[{"role":"model","file":"model.pt"}]}' > "$dir/result.json.part"
        mv "$dir/result.json.part" "$dir/result.json"; echo done
    "#;
    collector.order(job(0, script)).await;
    let runtimes = collector.capabilities().expect("it registered before").runtimes;
    let job_runtime = runtimes.iter().find(|runtime| runtime.name == "job").expect("it says that it executes jobs");
    assert_eq!(job_runtime.version, env!("CARGO_PKG_VERSION"));
    let progress = collector.wait_for_work(|item| match item {
        work_request::Item::Progress(progress) => progress
            .job
            .as_ref()
            .is_some_and(|job| job.epoch == Some(1) && job.power_watts.is_some_and(|watts| watts > 1.0)),
        _ => false,
    });
    timeout(LIMIT, progress).await.expect("progress with watts");
    let Some(trial_outcome::Result::Completed(completed)) = outcome(&collector, 0).await.result else {
        panic!("it is completed")
    };
    let [before, active, after] = &completed.windows[..] else { panic!("three windows") };
    let length = |window: &v1::Window| Duration::from_nanos(window.end_mono_ns - window.start_mono_ns);
    assert!(length(active) >= Duration::from_millis(1_500), "{:?}", length(active));
    let watts = |window: &v1::Window| window.simulated_true_joules.expect("known") / length(window).as_secs_f64();
    assert!(watts(active) > 1.2 * watts(before).max(watts(after)));
    let model = completed.job.expect("a job").artifacts[0].artifact.clone().expect("named");
    assert_eq!(model.sha256, Sha256::of(b"model\n").0);
    assert_eq!(collector.artifact(&model.sha256), Some(b"model\n".to_vec()));
    assert_eq!(folders(dir.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_agent_leaves_no_training_behind_and_its_next_start_no_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let collector = Collector::start(Behaviour::default()).await;
    let agent = Agent::start(dir.path(), &collector);
    // A child in a session of its own is what the kernel does not end with the agent.
    let script = "cd $(dirname \"$1\"); echo $$ > near\n\
                  setsid sh -c 'echo $$ > far; exec sleep 600' & while :; do sleep 1; done";
    collector.order(job(0, script)).await;
    let folder = dir.path().join("state/jobs/study-a-0-1");
    let (near, far) = (line_of(&folder.join("near")).await, line_of(&folder.join("far")).await);
    drop(agent);
    gone(&near).await;
    assert_eq!(folders(dir.path()), 1);
    let _agent = Agent::start(dir.path(), &collector);
    gone(&far).await;
    // The order is not heard before the agent is back, whose stream the collector learns of when it connects.
    timeout(LIMIT, collector.wait_for_connections(2)).await.expect("it is back");
    assert_eq!(folders(dir.path()), 0);
}
