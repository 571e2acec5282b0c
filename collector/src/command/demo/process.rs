//! The demo's child processes: started with a log each, watched, and stopped in the direction of the data.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Time a program gets to stop by itself: an agent drains its spool, the collector finishes its commits.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Time a program gets to say its first word.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// A running program. Killed when dropped.
pub(super) struct Program {
    name: String,
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts a program; what it says on standard error goes to `log`.
    pub(super) fn start(path: &Path, arguments: &[&str], log: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = File::create(log).with_context(|| format!("the log {} cannot be written", log.display()))?;
        let mut child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", path.display()))?;
        let stdout = child.stdout.take().context("standard output was asked for")?;
        Ok(Self { name, child, stdout: BufReader::new(stdout).lines() })
    }

    /// The rest of the first line that begins with `prefix`.
    pub(super) async fn line_after(&mut self, prefix: &str) -> anyhow::Result<String> {
        let said = async {
            while let Some(line) = self.stdout.next_line().await? {
                if let Some(rest) = line.strip_prefix(prefix) {
                    return anyhow::Ok(rest.trim().to_owned());
                }
            }
            bail!("the {} ended before it was ready", self.name)
        };
        let in_time = tokio::time::timeout(START_TIME_MAX, said).await;
        in_time.with_context(|| format!("no word of readiness within {START_TIME_MAX:?}"))?
    }

    async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // Fails only when the process has ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIME_MAX, self.child.wait()).await.is_err() {
            tracing::warn!(program = self.name, "did not stop in time and is killed");
        }
    }
}

/// Runs a program to its end. All that it says goes to standard error: standard output is for the report.
pub(super) async fn finish(path: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("{} does not start", path.display()))?;
    if !status.success() {
        bail!("`{} {}` failed: {status}", path.display(), arguments.join(" "));
    }
    Ok(())
}

/// Waits until one of the programs ends, which none should.
pub(super) async fn first_to_end<T>(programs: &mut [Program]) -> anyhow::Result<T> {
    const LOOK_EVERY: Duration = Duration::from_millis(200);
    loop {
        for program in programs.iter_mut() {
            if let Some(status) = program.child.try_wait().context("a child process is lost")? {
                bail!("the {} ended by itself: {status}", program.name);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Stops agents before the collector, so that it takes their last records.
pub(super) async fn stop_all(programs: Vec<Program>) {
    for program in programs.into_iter().rev() {
        program.stop().await;
    }
}
