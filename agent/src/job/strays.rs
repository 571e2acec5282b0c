//! Processes that left a job's group and go on: found by the job's variable in their environment, and killed.
//!
//! A group's end does not reach what has moved to a session of its own, and the kernel ends only a killed agent's direct
//! child. Such a process would heat the machine through every trial after it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::JOB_VARIABLE;

/// Looks at all processes. What is killed may have started others meanwhile; nothing starts others fifty times.
const ROUND_COUNT_MAX: u32 = 50;

/// Between two looks: a killed process is gone within microseconds, unless it frees gigabytes.
const ROUND_PAUSE: Duration = Duration::from_millis(10);

/// Kills every process that works for a job whose file lies somewhere in `folder`, and waits until none is left. Gives
/// how many were found. Blocks; reads the environments of the agent's user's processes, so not for inside a window.
pub(super) fn end(folder: &Path) -> usize {
    let mut found = std::collections::BTreeSet::new();
    for _ in 0..ROUND_COUNT_MAX {
        let strays = find_and_kill(folder);
        if strays.is_empty() {
            break;
        }
        found.extend(strays);
        std::thread::sleep(ROUND_PAUSE);
    }
    found.len()
}

fn find_and_kill(folder: &Path) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| is_killed(*id, folder)).collect()
}

fn is_killed(id: i32, folder: &Path) -> bool {
    let Some(process) = Pid::from_raw(id) else { return false };
    // Taken before the look, so that what is killed is what was looked at.
    let handle = pidfd_open(process, PidfdFlags::empty());
    // Nobody else's can be read; one that has ended has none.
    let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    if !environment.split(|byte| *byte == 0).any(|variable| is_of_job(variable, folder)) {
        return false;
    }
    let killed = match handle {
        Ok(handle) => pidfd_send_signal(handle, Signal::KILL),
        // A kernel before 5.3.
        Err(rustix::io::Errno::NOSYS) => rustix::process::kill_process(process, Signal::KILL),
        Err(error) => Err(error),
    };
    killed.is_ok()
}

fn is_of_job(variable: &[u8], folder: &Path) -> bool {
    let value = variable.strip_prefix(JOB_VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
    value.is_some_and(|path| Path::new(OsStr::from_bytes(path)).starts_with(folder))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_in_a_session_of_its_own_is_found_and_others_are_left() {
        let dir = tempfile::tempdir().expect("a folder");
        let (ours, other) = (dir.path().join("a"), dir.path().join("ab"));
        let start = |folder: &Path| {
            let mut command = Command::new("sh");
            command.args(["-c", "echo ready; exec sleep 600"]).env(JOB_VARIABLE, folder.join("job.json"));
            let mut child = command.stdout(Stdio::piped()).spawn().expect("a shell");
            let mut ready = [0; 6];
            std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut ready).expect("it is there");
            child
        };
        let (mut stray, mut spared) = (start(&ours), start(&other));
        assert_eq!(end(&ours), 1);
        assert!(!stray.wait().expect("gone").success());
        assert!(spared.try_wait().expect("a child").is_none(), "a folder whose name only begins alike");
        assert_eq!(end(dir.path()), 1);
        spared.wait().expect("gone");
    }
}
