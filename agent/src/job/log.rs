//! What a job's commands wrote to standard output and standard error: the beginning and the end, however much it is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes kept of the beginning: versions, settings and the first warnings.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Most bytes kept of the end. With the beginning and the line between them a log stays below 4 MiB.
const TAIL_BYTES_MAX: usize = (3 << 20) - 128;

/// Lines at the end that a message shows, and their bytes: a Python traceback's last frames.
const LAST_LINE_COUNT: usize = 15;
const LAST_BYTES_MAX: usize = 2 << 10;

/// A bounded log. Clones are handles on the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out_bytes: u64,
    /// Written by the command at hand, the others being what prepared it.
    command_bytes: usize,
}

impl Log {
    /// What follows is of another command.
    pub(super) fn begin(&self) {
        self.lock().command_bytes = 0;
    }

    /// Appends.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut kept = self.lock();
        kept.command_bytes = kept.command_bytes.saturating_add(bytes.len());
        let (head, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES_MAX - kept.head.len()));
        kept.head.extend_from_slice(head);
        kept.tail.extend(rest);
        let excess = kept.tail.len().saturating_sub(TAIL_BYTES_MAX);
        kept.tail.drain(..excess);
        kept.left_out_bytes += excess as u64;
    }

    /// All that is kept, with a line where something is left out.
    pub(crate) fn content(&self) -> Vec<u8> {
        let kept = self.lock();
        let mut content = kept.head.clone();
        if kept.left_out_bytes > 0 {
            content.extend(format!("\n[{} bytes are left out here]\n", kept.left_out_bytes).into_bytes());
        }
        content.extend(&kept.tail);
        content
    }

    /// The last lines of the last command, for a message. Empty when it wrote nothing.
    pub(crate) fn last_lines(&self) -> String {
        let text = self.end(LAST_BYTES_MAX);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINE_COUNT)..].join("\n")
    }

    /// Its last line that says something, for a progress bar.
    pub(crate) fn last_line(&self) -> String {
        let text = self.end(LAST_BYTES_MAX);
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
    }

    /// The end as text that no terminal takes for a command.
    fn end(&self, bytes_max: usize) -> String {
        let kept = self.lock();
        let bytes_max = bytes_max.min(kept.command_bytes);
        let tail_bytes = kept.tail.len().min(bytes_max);
        let head_bytes = (bytes_max - tail_bytes).min(kept.head.len());
        let mut end = kept.head[kept.head.len() - head_bytes..].to_vec();
        end.extend(kept.tail.range(kept.tail.len() - tail_bytes..));
        drop(kept);
        // A progress bar goes back to the line's beginning: each of its states is a line here.
        let text = String::from_utf8_lossy(&end).replace('\r', "\n");
        printable(&text, usize::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At most so many characters of a text, without those that steer a terminal.
pub(super) fn printable(text: &str, count_max: usize) -> String {
    text.chars().filter(|letter| *letter == '\n' || !letter.is_control()).take(count_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_kept_whole_and_nothing_is_nothing() {
        let log = Log::default();
        assert_eq!((log.content(), log.last_lines(), log.last_line()), (Vec::new(), String::new(), String::new()));
        log.push(b"one\ntwo");
        log.push(b" and\n\nthree\n");
        assert_eq!(log.content(), b"one\ntwo and\n\nthree\n");
        assert_eq!((log.last_lines().as_str(), log.last_line().as_str()), ("one\ntwo and\nthree", "three"));
    }

    #[test]
    fn what_prepared_a_command_does_not_speak_for_it() {
        let log = Log::default();
        log.begin();
        log.push(b"installed\n");
        assert_eq!(log.last_line(), "installed");
        log.begin();
        assert_eq!((log.last_lines(), log.last_line()), (String::new(), String::new()));
        log.push(b"failed\n");
        assert_eq!(log.last_lines(), "failed");
        assert_eq!(log.content(), b"installed\nfailed\n");
    }

    #[test]
    fn of_much_the_head_and_the_tail_are_kept() {
        let log = Log::default();
        for index in 0..1_000_000 {
            log.push(format!("line {index:09}\n").as_bytes());
        }
        let content = log.content();
        assert!(content.len() < 4 << 20, "{}", content.len());
        let text = String::from_utf8(content).expect("text");
        assert!(text.starts_with("line 000000000\n") && text.ends_with("line 000999999\n"));
        let left_out = 1_000_000 * 15 - HEAD_BYTES_MAX - TAIL_BYTES_MAX;
        assert!(text.contains(&format!("\n[{left_out} bytes are left out here]\n")));
        assert_eq!(log.last_lines().lines().count(), LAST_LINE_COUNT);
    }

    #[test]
    fn what_steers_a_terminal_is_not_shown() {
        let log = Log::default();
        log.push(b"\x1b[31mred\x07\r10 %\r20 %\xff");
        assert_eq!(log.last_lines(), "[31mred\n10 %\n20 %\u{fffd}");
        assert_eq!(log.last_line(), "20 %\u{fffd}");
    }
}
