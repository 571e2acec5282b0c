//! What a job says of itself while it works: the lines that it appends to its progress file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use rustix::fs::CWD;
use serde::Deserialize;
use tinywatt_proto::v1;

use super::log::printable;
use super::plain;

/// Longest line. One with all keys is 200 bytes.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Most bytes read in one look, twice a second. A job that writes more says nothing that a person could follow: what
/// lies between is left out.
const LOOK_BYTES_MAX: u64 = 256 << 10;

/// Longest word for a phase and longest text, in characters.
const PHASE_COUNT_MAX: usize = 32;
const TEXT_COUNT_MAX: usize = 200;

/// Follows a progress file.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    file: Option<File>,
    read_bytes: u64,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    /// The line at hand is too long, or its beginning was left out.
    is_skipping: bool,
    said: v1::JobProgress,
    fraction: Option<f64>,
    garbage_count: u64,
}

#[derive(Debug, Deserialize)]
struct Line {
    phase: Option<String>,
    epoch: Option<u32>,
    epoch_count: Option<u32>,
    loss: Option<f64>,
    accuracy: Option<f64>,
    fraction: Option<f64>,
    text: Option<String>,
}

impl Tail {
    /// Follows a file that need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            read_bytes: 0,
            rest: Vec::new(),
            is_skipping: false,
            said: v1::JobProgress::default(),
            fraction: None,
            garbage_count: 0,
        }
    }

    /// Reads what has been appended.
    pub(crate) fn look(&mut self) {
        if self.file.is_none() {
            self.file = plain::open_file(CWD, &self.path).ok();
        }
        // What cannot be read is no progress, and nothing else either.
        let _ = self.read();
    }

    fn read(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let size_bytes = file.metadata()?.len();
        if size_bytes < self.read_bytes {
            // Begun anew.
            self.read_bytes = 0;
            self.rest.clear();
            self.is_skipping = false;
        }
        if size_bytes - self.read_bytes > LOOK_BYTES_MAX {
            self.read_bytes = size_bytes - LOOK_BYTES_MAX;
            self.rest.clear();
            self.is_skipping = true;
        }
        file.seek(SeekFrom::Start(self.read_bytes))?;
        let mut appended = Vec::new();
        let count = file.take(LOOK_BYTES_MAX).read_to_end(&mut appended)?;
        self.read_bytes += count as u64;
        for piece in appended.split_inclusive(|byte| *byte == b'\n') {
            self.take(piece);
        }
        Ok(())
    }

    fn take(&mut self, piece: &[u8]) {
        let is_end = piece.ends_with(b"\n");
        if !self.is_skipping {
            self.rest.extend_from_slice(&piece[..piece.len().min(LINE_BYTES_MAX + 1)]);
            self.is_skipping = self.rest.len() > LINE_BYTES_MAX;
            if self.is_skipping {
                self.rest.clear();
                self.garbage_count += 1;
            } else if is_end {
                let line = std::mem::take(&mut self.rest);
                self.understand(line.trim_ascii());
            }
        }
        if is_end {
            self.is_skipping = false;
        }
    }

    fn understand(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            self.garbage_count += 1;
            return;
        };
        let said = &mut self.said;
        if let Some(phase) = line.phase {
            said.phase = one_line(&phase, PHASE_COUNT_MAX);
        }
        if let Some(text) = line.text {
            said.text = one_line(&text, TEXT_COUNT_MAX);
        }
        said.epoch = line.epoch.or(said.epoch);
        said.epoch_count = line.epoch_count.or(said.epoch_count);
        said.loss = line.loss.or(said.loss);
        said.accuracy = line.accuracy.or(said.accuracy);
        self.fraction = line.fraction.or(self.fraction);
    }

    /// What the job has said last, of everything that it said.
    pub(crate) fn said(&self) -> v1::JobProgress {
        self.said.clone()
    }

    /// The part that is done: as the job says, or by its epochs, 0 to 1.
    pub(crate) fn fraction(&self) -> f64 {
        let by_epochs = || Some(f64::from(self.said.epoch?) / f64::from(self.said.epoch_count?.max(1)));
        self.fraction.or_else(by_epochs).unwrap_or(0.0).clamp(0.0, 1.0)
    }

    /// Lines that nobody can read.
    pub(crate) fn garbage_count(&self) -> u64 {
        self.garbage_count
    }
}

fn one_line(text: &str, count_max: usize) -> String {
    printable(&text.replace('\n', " "), count_max)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Job {
        tail: Tail,
        file: File,
        _dir: tempfile::TempDir,
    }

    impl Job {
        fn start() -> Self {
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().join("progress.jsonl");
            let mut tail = Tail::new(path.clone());
            tail.look();
            assert_eq!(tail.said(), v1::JobProgress::default(), "not there yet");
            Self { tail, file: File::create(path).expect("made"), _dir: dir }
        }

        fn says(&mut self, text: &str) -> v1::JobProgress {
            self.file.write_all(text.as_bytes()).expect("written");
            self.tail.look();
            self.tail.said()
        }
    }

    #[test]
    fn what_was_said_last_stays_and_half_a_line_waits() {
        let mut job = Job::start();
        let said = job.says("{\"phase\":\"train\",\"epoch\":1,\"epoch_count\":4,\"loss\":2.5}\n{\"epo");
        assert_eq!((said.phase.as_str(), said.epoch, said.loss), ("train", Some(1), Some(2.5)));
        assert!((job.tail.fraction() - 0.25).abs() < 1e-12);
        let said = job.says("ch\":2,\"accuracy\":0.5,\"fraction\":0.4,\"unknown\":[]}\n");
        assert_eq!((said.epoch, said.loss, said.accuracy), (Some(2), Some(2.5), Some(0.5)));
        assert!((job.tail.fraction() - 0.4).abs() < 1e-12, "the job's own word");
        assert_eq!(job.tail.garbage_count(), 0);
    }

    #[test]
    fn garbage_is_counted_and_passed_over() {
        let mut job = Job::start();
        let long = format!("{{\"text\":\"{}\"}}\n", "x".repeat(2 * LINE_BYTES_MAX));
        job.says(&format!("nonsense\n\n{{\"epoch\":-1}}\n[]\n{{\"loss\":NaN}}\n\u{0}\n{long}"));
        assert_eq!(job.tail.garbage_count(), 6);
        let said = job.says("{\"epoch\":7,\"fraction\":9e9,\"text\":\"a\\u001b[31m\\nb\"}\n");
        assert_eq!((said.epoch, said.text.as_str()), (Some(7), "a[31m b"));
        assert!((job.tail.fraction() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_flood_is_followed_at_its_end() {
        let mut job = Job::start();
        let flood: String = (0..100_000).map(|epoch| format!("{{\"epoch\":{epoch}}}\n")).collect();
        assert_eq!(job.says(&flood).epoch, Some(99_999));
        assert_eq!(job.tail.garbage_count(), 0, "the line that is cut at the front is nobody's fault");
        let endless = "x".repeat(3 << 20);
        job.says(&endless);
        assert_eq!(job.says("\n{\"epoch\":5}\n").epoch, Some(5));
        assert!(job.tail.rest.len() <= LINE_BYTES_MAX);
    }

    #[test]
    fn a_file_that_is_begun_anew_is_read_anew() {
        let mut job = Job::start();
        job.says("{\"epoch\":1000}\n");
        job.file.set_len(0).expect("cut");
        job.file.seek(SeekFrom::Start(0)).expect("back");
        assert_eq!(job.says("{\"epoch\":2}\n").epoch, Some(2));
    }
}
