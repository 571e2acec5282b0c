//! Starts a program, waits for it and signals it. Never reads what it writes and knows no limit.
//!
//! Every program has a thread of its own that starts it, waits for its end and reaps it. So the instant of the end is
//! taken when it ends, whatever the runtime is busy with; a signal never reaches a process that merely got the same id
//! later; and the kernel can end a program with its agent, which it ties to the thread that started it.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tinywatt_proto::time::MonoNs;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::clock::Clock;

/// How long a program that was asked to end may take. A trainer saves nothing when it is stopped: its result is void.
pub const END_LIMIT: Duration = Duration::from_secs(5);

/// How long a killed program may take to be gone: only one that hangs in a device's driver needs any time at all.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Whom a program shares its signals with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// With the agent: what a terminal sends reaches both, and the program may outlive the agent.
    Shared,
    /// With its own children alone. All of them are killed when it ends, when it is dropped, and it itself also when the
    /// agent dies.
    Own,
}

/// A program that was started. Dropping it kills a [`Grouping::Own`].
#[derive(Debug)]
pub struct Started {
    /// The instant before it was started.
    pub at: MonoNs,
    signals: Arc<Signals>,
    ended: watch::Receiver<Option<Ended>>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: MonoNs,
    /// Its exit code, or the signal.
    pub status: ExitStatus,
    /// Largest resident memory of any single process among it and those that it waited for, as the kernel kept it (no
    /// polling, so it costs nothing and misses no peak). Pages that processes share are not counted twice, memory of
    /// processes side by side is not added up. At least what the agent itself takes, from before the program replaced it.
    pub memory_bytes_peak: u64,
}

#[derive(Debug)]
struct Signals {
    id: Pid,
    grouping: Grouping,
    /// Once it is, the id may belong to somebody else.
    is_reaped: Mutex<bool>,
}

/// Looks a program up: a name without a slash beside the agent's own program first, and otherwise left for PATH.
pub fn find(name: &OsStr, agent: Option<&Path>) -> PathBuf {
    let is_plain = !name.is_empty() && !name.as_encoded_bytes().contains(&b'/');
    let beside = agent.filter(|_| is_plain).and_then(Path::parent).map(|folder| folder.join(name));
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    beside.filter(is_program).unwrap_or_else(|| PathBuf::from(name))
}

/// Starts a program.
///
/// # Errors
/// As the system gives them: there is no such program, it is not executable, there are too many processes.
pub async fn start<C: Clock>(command: Command, grouping: Grouping, clock: C) -> io::Result<Started> {
    let (answer, started) = oneshot::channel();
    std::thread::Builder::new().name("program".to_owned()).spawn(move || attend(command, grouping, &clock, answer))?;
    started.await.map_err(io::Error::other)?
}

/// The whole life of a program, on a thread of its own.
fn attend<C: Clock>(mut command: Command, grouping: Grouping, clock: &C, answer: oneshot::Sender<io::Result<Started>>) {
    if grouping == Grouping::Own {
        set_apart(&mut command);
    }
    let at = clock.now();
    let spawned = command.spawn().and_then(|child| {
        i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("a process without an id"))
    });
    // With it go the ends of pipes that belong to the program.
    drop(command);
    let id = match spawned {
        Ok(id) => id,
        Err(error) => return drop(answer.send(Err(error))),
    };
    let signals = Arc::new(Signals { id, grouping, is_reaped: Mutex::new(false) });
    let (ending, ended) = watch::channel(None);
    // Nobody waits for it any more: the value that comes back is dropped, which kills.
    drop(answer.send(Ok(Started { at, signals: Arc::clone(&signals), ended })));

    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let waited = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(id), options));
    let at = clock.now();
    let mut is_reaped = signals.lock();
    if grouping == Grouping::Own {
        // The group's id cannot be anybody else's before its leader is reaped.
        let _ = rustix::process::kill_process_group(id, Signal::KILL);
    }
    let reaped = waited.map_err(io::Error::from).and_then(|_| reap(id));
    *is_reaped = true;
    drop(is_reaped);
    if let Ok((status, memory_bytes_peak)) = reaped {
        ending.send_replace(Some(Ended { at, status, memory_bytes_peak }));
    }
}

/// A group of its own, and an end with the agent's.
fn set_apart(command: &mut Command) {
    command.process_group(0);
    let agent = rustix::process::getpid();
    let die_with_agent = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The agent may have died before that was asked for.
        if rustix::process::getppid() == Some(agent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    #[expect(unsafe_code, reason = "between fork and exec only system calls are made: nothing allocates or locks")]
    unsafe {
        command.pre_exec(die_with_agent);
    }
}

/// Takes a zombie's status and its memory.
fn reap(id: Pid) -> io::Result<(ExitStatus, u64)> {
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    loop {
        #[expect(unsafe_code, reason = "no safe wrapper gives a child's memory; both pointers outlive the call")]
        let reaped = unsafe { libc::wait4(id.as_raw_nonzero().get(), &raw mut status, 0, usage.as_mut_ptr()) };
        if reaped >= 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    #[expect(unsafe_code, reason = "all zeros is a value of it, and the call has filled it in")]
    let usage = unsafe { usage.assume_init() };
    // Linux counts in KiB.
    let memory_bytes_peak = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024);
    Ok((ExitStatus::from_raw(status), memory_bytes_peak))
}

impl Started {
    /// Waits for its end. Children of a [`Grouping::Own`] that were still there have been killed then.
    ///
    /// # Errors
    /// When the agent was started with SIGCHLD ignored, so that nobody can learn how a program ends.
    pub async fn ended(&mut self) -> io::Result<Ended> {
        let ended = self.ended.wait_for(Option::is_some).await.ok().and_then(|ended| *ended);
        ended.ok_or_else(|| io::Error::other("the system does not tell how the program ended: is SIGCHLD ignored?"))
    }

    /// Sends a signal. One that has ended cannot be signalled, and needs not.
    pub fn signal(&self, signal: Signal) {
        self.signals.send(signal);
    }

    /// Asks it to end, kills what has not ended after [`END_LIMIT`], and waits until it is gone.
    pub async fn end(mut self) {
        self.signal(Signal::TERM);
        if timeout(END_LIMIT, self.ended()).await.is_err() {
            self.signal(Signal::KILL);
            if timeout(KILL_LIMIT, self.ended()).await.is_err() {
                tracing::warn!(process = ?self.signals.id, "a killed process does not go: does a driver hang?");
            }
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.signals.grouping == Grouping::Own {
            self.signals.send(Signal::KILL);
        }
    }
}

impl Signals {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, signal: Signal) {
        let is_reaped = self.lock();
        if !*is_reaped {
            // It may have ended and not be reaped yet: then there is nobody to hear it.
            let _ = match self.grouping {
                Grouping::Shared => rustix::process::kill_process(self.id, signal),
                Grouping::Own => rustix::process::kill_process_group(self.id, signal),
            };
        }
    }
}

/// A status as people say it: the exit code, or the signal by its name.
pub fn name_status(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else { return status.to_string() };
    // Numbers that all Linux machines share; the rest keep their number.
    let name = match signal {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    let hint = if signal == 9 { ", by a person or for want of memory" } else { "" };
    format!("signal {signal} ({name}{hint})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Monotonic;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    async fn own(script: &str) -> Started {
        start(shell(script), Grouping::Own, Monotonic).await.expect("there is a shell")
    }

    /// Waits until a process is gone, or only its entry is left.
    async fn gone(id: i32) {
        let gone = async {
            loop {
                let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
                if status.is_empty() || status.contains("State:\tZ") {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LIMIT, gone).await.expect("the process goes");
    }

    async fn id_in(file: &Path) -> i32 {
        let read = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(file)
                    && let Ok(id) = text.trim().parse()
                    && text.ends_with('\n')
                {
                    return id;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LIMIT, read).await.expect("the script tells its process")
    }

    #[tokio::test]
    async fn the_end_has_an_instant_a_status_and_a_memory() {
        let before = Monotonic.now();
        let mut started = own("exit 3").await;
        let ended = timeout(LIMIT, started.ended()).await.expect("ends").expect("told");
        assert_eq!(ended.status.code(), Some(3));
        assert!(before <= started.at && started.at < ended.at && ended.at <= Monotonic.now());
        assert!(ended.memory_bytes_peak > 100 << 10, "{}", ended.memory_bytes_peak);
        assert_eq!(started.ended().await.expect("told again"), ended);
        started.signal(Signal::KILL);
    }

    #[tokio::test]
    async fn the_largest_child_is_the_memory() {
        // 64 MB in the buffer of a child that the shell waits for.
        let mut started = own("dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; true").await;
        let ended = timeout(LIMIT, started.ended()).await.expect("ends").expect("told");
        assert!(ended.memory_bytes_peak > 64 << 20, "{}", ended.memory_bytes_peak);
    }

    #[tokio::test]
    async fn a_grandchild_does_not_outlive_the_program() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("id");
        let mut started = own(&format!("sleep 600 & echo $! > {}", file.display())).await;
        timeout(LIMIT, started.ended()).await.expect("ends").expect("told");
        gone(id_in(&file).await).await;
    }

    #[tokio::test]
    async fn one_that_ignores_the_signal_is_killed_with_its_children() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("id");
        let script = format!("trap '' TERM; sleep 600 & echo $! > {}; while :; do wait; done", file.display());
        let started = own(&script).await;
        let child = id_in(&file).await;
        timeout(LIMIT, started.end()).await.expect("gone within its limits");
        gone(child).await;
    }

    #[tokio::test]
    async fn dropping_it_kills_the_group() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("id");
        let started = own(&format!("sleep 600 & echo $! > {}; wait", file.display())).await;
        let child = id_in(&file).await;
        drop(started);
        gone(child).await;
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        let error = start(Command::new("/no/such/program"), Grouping::Own, Monotonic).await.expect_err("not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_plain_name_is_looked_up_beside_the_agent_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let (agent, beside) = (dir.path().join("agent"), dir.path().join("trainer"));
        std::fs::write(&beside, "").expect("written");
        let find = |name: &str| find(OsStr::new(name), Some(&agent));
        assert_eq!(find("trainer"), Path::new("trainer"), "not executable");
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).expect("set");
        assert_eq!(find("trainer"), beside);
        assert_eq!(find("other"), Path::new("other"));
        assert_eq!(find("./trainer"), Path::new("./trainer"));
        assert_eq!(find(""), Path::new(""));
    }

    #[test]
    fn signals_have_names() {
        assert_eq!(name_status(ExitStatus::from_raw(11)), "signal 11 (SIGSEGV)");
        assert!(name_status(ExitStatus::from_raw(9)).contains("want of memory"));
        assert_eq!(name_status(ExitStatus::from_raw(1 << 8)), "exit status: 1");
    }
}
