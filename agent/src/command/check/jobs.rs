//! Whether this node executes jobs, and in how much room.

use super::{Finding, Verdict};
use crate::config::Config;

const SUBJECT: &str = "jobs";

/// A training's checkpoint, model and temporary files are rarely more.
const FREE_BYTES_GOOD: u64 = 4 << 30;

pub(super) fn check(config: &Config) -> Finding {
    if !config.jobs.enabled {
        let detail =
            "not executed here; `enabled = true` under [jobs] lets the collector start any command as this user";
        return Finding::new(Verdict::Ok, SUBJECT, detail);
    }
    let dir = config.state_dir.join("jobs");
    // The folder itself is made when the agent runs.
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(&dir);
    let free_bytes = rustix::fs::statvfs(there).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let detail = format!("executed as this user in {}", dir.display());
    if rustix::process::geteuid().is_root() {
        let advice = "; this user is root, and no job needs that: run the agent as another one";
        return Finding::new(Verdict::Warn, SUBJECT, detail + advice);
    }
    match free_bytes {
        Ok(free_bytes) if free_bytes < FREE_BYTES_GOOD => {
            let advice = format!("; only {} MiB are free there, which a training may need", free_bytes >> 20);
            Finding::new(Verdict::Warn, SUBJECT, detail + &advice)
        }
        _ => Finding::new(Verdict::Ok, SUBJECT, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn jobs_are_off_unless_asked_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let environment = Environment { state_directory: Some(dir.path().to_owned()), ..Environment::default() };
        let mut config = Config::load(None, &environment).expect("defaults");
        let finding = check(&config);
        assert!(finding.verdict == Verdict::Ok && finding.detail.starts_with("not executed here"), "{finding}");
        config.jobs.enabled = true;
        let finding = check(&config);
        assert_ne!(finding.verdict, Verdict::Fail, "{finding}");
        assert!(finding.detail.contains("/jobs"), "{finding}");
    }
}
