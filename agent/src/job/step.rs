//! One command of a job, from its start to its end: its log read, its limits kept, and nothing of it left running.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::Duration;

use tinywatt_proto::time::MonoNs;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::Limit;
use super::folder::Usage;
use super::{Folder, JOB_VARIABLE, JobError, Jobs, Log, strays};
use crate::clock::Clock;
use crate::process::{self, Ended, Grouping, Started, name_status};

/// Between two looks at the folder and at the progress. A look takes tens of microseconds; what a fast disk takes
/// meanwhile, half a gigabyte, is what a job may go over its limit. A limit of the kernel's (RLIMIT_FSIZE) would be sharp
/// and is not used: it counts shared memory as files, and ends a program without telling it which of them was too large.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// A look may take this part of the time: a folder of many files on a slow card is looked at less often.
const LOOK_PART: u32 = 50;

/// Longest time between two looks, however large the folder: a disk takes some GB in it, and no more.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Most files in a folder: a data set unpacked into single images.
const FILE_COUNT_MAX: u64 = 200_000;

/// What stays free on the disk for the agent's samples, hours of a channel at 1 kHz.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// What an assignment that states no limit gets.
const TIME_LIMIT: Duration = Duration::from_hours(24);
const OUTPUT_BYTES_MAX: u64 = 8 << 30;

/// How long the rest of the log may take once every process that could write it is dead.
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// Read from the pipe at once; it holds as much.
const PIECE_BYTES: usize = 64 << 10;

/// Which command of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// What is done before, not metered.
    Prepare,
    /// The job itself.
    Command,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "the preparing command",
            Self::Command => "the command",
        })
    }
}

/// A command with what it needs.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) kind: StepKind,
    /// Program and arguments, at least one word.
    pub(crate) words: &'a [String],
    /// 0: as long as any job may take.
    pub(crate) time_limit: Duration,
    /// 0: as much as any job may hold.
    pub(crate) output_bytes_max: u64,
    pub(crate) jobs: &'a Jobs,
    pub(crate) folder: &'a Folder,
    pub(crate) log: &'a Log,
}

impl Step<'_> {
    /// Executes it; gives when it was started and how it ended, which is with success. `look` is called twice a second.
    ///
    /// When this returns none of its processes is left; when it is dropped, its group is killed. `None` when `ending` was
    /// cancelled.
    pub(crate) async fn run<C: Clock>(
        &self,
        clock: &C,
        ending: &CancellationToken,
        mut look: impl FnMut() + Send,
    ) -> Result<Option<(MonoNs, Ended)>, JobError> {
        let (mut started, mut reading) = self.start(clock.clone()).await?;
        let start = started.at;
        let time_limit = if self.time_limit.is_zero() { TIME_LIMIT } else { self.time_limit };
        let result = {
            let mut time = pin!(sleep(time_limit));
            let mut tick = interval(LOOK_PERIOD);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    ended = started.ended() => break ended.map(Some).map_err(|source| self.not_started(source)),
                    () = ending.cancelled() => break Ok(None),
                    () = &mut time => {
                        let program = self.program().to_owned();
                        break Err(JobError::Time { step: self.kind, program, limit: time_limit });
                    }
                    _ = tick.tick() => {
                        look();
                        if let Err(error) = self.look_at_folder(clock, &mut tick).await {
                            break Err(error);
                        }
                    }
                }
            }
        };
        // At once for one that has ended by itself.
        started.end().await;
        self.sweep().await;
        if timeout(LOG_LIMIT, &mut reading).await.is_err() {
            reading.abort();
        }
        look();
        match result? {
            Some(ended) if ended.status.success() => Ok(Some((start, ended))),
            Some(ended) => {
                let (program, status) = (self.program().to_owned(), name_status(ended.status));
                let has_log = !self.log.last_line().is_empty();
                Err(JobError::Ended { step: self.kind, program, status, has_log })
            }
            None => Ok(None),
        }
    }

    /// Starts it in a group of its own, with both outputs into one pipe, so that their order is kept.
    async fn start<C: Clock>(&self, clock: C) -> Result<(Started, JoinHandle<()>), JobError> {
        let not_started = |source| self.not_started(source);
        let (output, input) = std::io::pipe().map_err(not_started)?;
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(output)).map_err(not_started)?;
        let mut command = Command::new(process::find(OsStr::new(self.program()), Some(self.jobs.agent())));
        command.args(self.words.iter().skip(1));
        if self.kind == StepKind::Command {
            command.arg(self.folder.job_file());
        }
        // Working in its folder, whatever it leaves by accident is counted, and goes with it.
        command.current_dir(self.folder.path()).env(JOB_VARIABLE, self.folder.job_file()).stdin(Stdio::null());
        command.stdout(input.try_clone().map_err(not_started)?).stderr(input);
        self.log.begin();
        let started = process::start(command, Grouping::Own, clock).await.map_err(not_started)?;
        Ok((started, tokio::spawn(keep(output, self.log.clone()))))
    }

    fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn not_started(&self, source: std::io::Error) -> JobError {
        JobError::Start { step: self.kind, program: self.program().to_owned(), source }
    }

    /// Looks whether the folder holds too much, or the disk has too little left.
    async fn look_at_folder<C: Clock>(&self, clock: &C, tick: &mut tokio::time::Interval) -> Result<(), JobError> {
        let bytes_max = if self.output_bytes_max == 0 { OUTPUT_BYTES_MAX } else { self.output_bytes_max };
        let start = clock.now();
        let looked = self.folder.usage(FILE_COUNT_MAX).await;
        let Ok(Usage { bytes: found_bytes, file_count, free_bytes, is_replaced }) = looked else { return Ok(()) };
        let (kind, program) = (self.kind, || self.program().to_owned());
        if is_replaced {
            return Err(JobError::Replaced { step: kind, program: program(), output_dir: self.folder.output_dir() });
        }
        let over = |limit| JobError::Output { step: kind, program: program(), found_bytes, file_count, limit };
        if found_bytes > bytes_max {
            return Err(over(Limit::Bytes(bytes_max)));
        }
        if file_count > FILE_COUNT_MAX {
            return Err(over(Limit::Files(FILE_COUNT_MAX)));
        }
        if let Some(free_bytes) = free_bytes.filter(|free_bytes| *free_bytes < FREE_BYTES_MIN) {
            let folder = self.folder.path().to_owned();
            return Err(JobError::DiskFull { step: kind, program: program(), free_bytes, folder });
        }
        let pause = (clock.now().since(start) * LOOK_PART).min(LOOK_PAUSE_MAX);
        if pause > LOOK_PERIOD {
            tick.reset_after(pause);
        }
        Ok(())
    }

    /// Ends what has left the group.
    async fn sweep(&self) {
        let folder = self.folder.path().to_owned();
        let swept = tokio::task::spawn_blocking(move || strays::end(&folder)).await;
        if let Ok(stray_count @ 1..) = swept {
            tracing::warn!(stray_count, "a job left processes behind in sessions of their own; they are ended");
        }
    }
}

/// Reads to the end.
async fn keep(mut output: pipe::Receiver, log: Log) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = output.read(&mut piece).await {
        log.push(&piece[..count]);
    }
}
