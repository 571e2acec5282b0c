//! Asks a worker program for its version, with limits: whatever it does, the agent starts.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::clock::Monotonic;
use crate::process::{self, Grouping, name_status};

/// A worker program answers within a second; one whose libraries lie on a slow card may take longer to be loaded.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// More than any version, and than what a loader says of a library that is missing.
const OUTPUT_BYTES_MAX: u64 = 4 << 10;

/// Characters of a version; it is announced and stored.
const VERSION_LENGTH_MAX: usize = 100;

/// Characters of a program's words in a message.
const WORDS_LENGTH_MAX: usize = 200;

/// A program does not tell its version.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It does not start.
    #[error("it does not start")]
    Start(#[source] io::Error),
    /// It goes on.
    #[error("it did not answer within {} s and was killed", .0.as_secs_f64())]
    Late(Duration),
    /// It prints without end.
    #[error("it printed more than {OUTPUT_BYTES_MAX} bytes and was killed")]
    Long,
    /// It fails.
    #[error("it ended with {status}: {words}")]
    Fails {
        /// How it ended.
        status: String,
        /// What it said.
        words: String,
    },
    /// It is another program.
    #[error("it printed '{0}', which is no version")]
    Garbage(String),
}

/// Starts `PROGRAM --version` and reads the line that it prints. It is killed with its children when it passes a limit.
pub(super) async fn version(program: &Path, limit: Duration) -> Result<String, AskError> {
    let (output, said) = pipe().map_err(AskError::Start)?;
    let (errors, complained) = pipe().map_err(AskError::Start)?;
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(said).stderr(complained);
    // Dropping it kills, and the thread that it has reaps it.
    let mut started = process::start(command, Grouping::Own, Monotonic).await.map_err(AskError::Start)?;
    let answered = timeout(limit, async {
        let (output, errors) = tokio::try_join!(read(output), read(errors))?;
        Ok((output, errors, started.ended().await.map_err(AskError::Start)?.status))
    });
    let (output, errors, status) = answered.await.map_err(|_| AskError::Late(limit))??;
    if !status.success() {
        return Err(AskError::Fails { status: name_status(status), words: words(&errors) });
    }
    let version = output.trim();
    let is_version = !version.is_empty()
        && version.chars().count() <= VERSION_LENGTH_MAX
        && !version.contains(|letter: char| letter.is_control() || letter == char::REPLACEMENT_CHARACTER);
    if is_version { Ok(version.to_owned()) } else { Err(AskError::Garbage(words(&output))) }
}

fn pipe() -> io::Result<(pipe::Receiver, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?, writer))
}

async fn read(pipe: pipe::Receiver) -> Result<String, AskError> {
    let mut bytes = Vec::new();
    pipe.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(AskError::Start)?;
    if bytes.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(AskError::Long);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The start of what a program said, safe to print.
fn words(text: &str) -> String {
    text.trim().escape_debug().take(WORDS_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    struct Script(tempfile::TempDir);

    impl Script {
        fn new(text: &str) -> Self {
            let script = Self(tempfile::tempdir().expect("a folder"));
            let id = script.0.path().join("id");
            let text = format!("#!/bin/sh\necho $$ > {}\n{text}\n", id.display());
            std::fs::write(script.path(), text).expect("written");
            std::fs::set_permissions(script.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
            script
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("worker")
        }

        async fn ask(&self, limit: Duration) -> Result<String, AskError> {
            version(&self.path(), limit).await
        }

        /// Waits until nothing is left of it, not even an entry in the table of processes.
        async fn reaped(&self) {
            let id = std::fs::read_to_string(self.0.path().join("id")).expect("it began");
            let entry = format!("/proc/{}", id.trim());
            let gone = async {
                while Path::new(&entry).exists() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            timeout(Duration::from_secs(60), gone).await.expect("killed and reaped");
        }
    }

    #[tokio::test]
    async fn a_version_is_read() {
        let script = Script::new("echo 2.11.0+cpu");
        assert_eq!(script.ask(LIMIT).await.expect("answers"), "2.11.0+cpu");
        script.reaped().await;
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let script = Script::new("trap '' TERM\nsleep 600\n:");
        // Long enough for a shell to begin on a busy machine.
        let error = script.ask(Duration::from_secs(2)).await.expect_err("hangs");
        assert!(matches!(error, AskError::Late(_)), "{error}");
        script.reaped().await;
    }

    #[tokio::test]
    async fn one_that_prints_for_ever_is_killed_at_once() {
        for text in ["trap '' PIPE\nwhile :; do echo 2.11.0; done", "while :; do echo no >&2; done"] {
            let script = Script::new(text);
            let error = script.ask(Duration::from_secs(60)).await.expect_err("endless");
            assert!(matches!(error, AskError::Long), "{error}");
            script.reaped().await;
        }
    }

    #[tokio::test]
    async fn what_is_no_version_is_shown_and_not_passed_on() {
        for (text, shown) in [
            ("printf '\\033[2Jabc'", "\\u{1b}[2Jabc"),
            ("printf '\\377\\376'", "which is no version"),
            ("printf 'one\\ntwo\\n'", "one\\ntwo"),
            ("exit 0", "''"),
            ("printf %0101d 7", "000"),
        ] {
            let error = Script::new(text).ask(LIMIT).await.expect_err("garbage").to_string();
            assert!(error.contains(shown), "'{shown}' is not in '{error}'");
            assert!(!error.contains('\u{1b}'));
        }
    }

    #[tokio::test]
    async fn one_that_fails_is_told_with_code_and_words() {
        let error = Script::new("echo libtorch_cpu.so: cannot open >&2; exit 3").ask(LIMIT).await.expect_err("fails");
        assert_eq!(error.to_string(), "it ended with exit status: 3: libtorch_cpu.so: cannot open");
        let error = version(Path::new("/nowhere/worker"), LIMIT).await.expect_err("missing");
        assert!(matches!(error, AskError::Start(_)), "{error}");
    }
}
