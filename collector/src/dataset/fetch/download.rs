//! One file over HTTP: goes on after a cut, gives up on silence, and is only handed on when it is the one that was published.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::{FetchError, Patience, Progress};

/// A published file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) url: &'a str,
    /// Name of the file here.
    pub(super) name: &'a str,
    pub(super) bytes: u64,
    /// In hexadecimal.
    pub(super) sha256: &'a str,
}

/// Pieces in which the file is read and hashed: 256 KiB, about 700 of them in the largest file, each one look at progress.
const PIECE_BYTES: usize = 256 << 10;

/// What to do after an attempt that failed.
enum Failed {
    /// The same may go well next time.
    Perhaps(FetchError),
    /// The same will fail again.
    Surely(FetchError),
}

/// Fetches into `NAME.part` of the folder and returns its path once its content is right.
pub(super) fn download(
    source: &Source<'_>,
    folder: &Path,
    patience: &Patience,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, FetchError> {
    let part = folder.join(format!("{}.part", source.name));
    let client = client(patience);
    let mut was_begun_before = bytes_there(&part) > 0;
    loop {
        complete(&client, source, &part, patience, progress)?;
        let found = sha256(&part)?;
        if found == source.sha256 {
            return Ok(part);
        }
        fs::remove_file(&part).map_err(|error| write_error(&part, source, error))?;
        // Somebody else's beginning may be at fault; what came whole and wrong will come wrong again.
        if !was_begun_before {
            let (url, expected) = (source.url.to_owned(), source.sha256.to_owned());
            return Err(FetchError::Checksum { url, expected, found });
        }
        was_begun_before = false;
    }
}

fn client(patience: &Patience) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("tinywatt/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.silence_max))
        .timeout_per_read(Some(patience.silence_max));
    config.build().into()
}

/// Attempts until the file has all its bytes.
fn complete(
    client: &Agent,
    source: &Source<'_>,
    part: &Path,
    patience: &Patience,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), FetchError> {
    let mut fruitless_count = 0;
    let mut wait = patience.wait_min;
    for attempt in 1.. {
        let before = bytes_there(part);
        if before == source.bytes {
            return Ok(());
        }
        let error = match attempt_once(client, source, part, before, progress) {
            Ok(()) => continue,
            Err(Failed::Surely(error)) => return Err(error),
            Err(Failed::Perhaps(error)) => error,
        };
        if bytes_there(part) > before {
            fruitless_count = 0;
            wait = patience.wait_min;
        }
        fruitless_count += 1;
        if fruitless_count >= patience.fruitless_count_max || attempt >= patience.attempt_count_max {
            return Err(error);
        }
        thread::sleep(wait);
        wait = (wait * 2).min(patience.wait_max);
    }
    unreachable!("attempts are bounded above")
}

fn attempt_once(
    client: &Agent,
    source: &Source<'_>,
    part: &Path,
    before: u64,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Failed> {
    let mut request = client.get(source.url);
    // More than there should be is of another file; it is written over.
    let is_going_on = (1..source.bytes).contains(&before);
    if is_going_on {
        request = request.header(header::RANGE, format!("bytes={before}-"));
    }
    let response = request.call().map_err(|error| request_error(source, error))?;
    let size = |found| FetchError::Size { url: source.url.to_owned(), expected: source.bytes, found };
    let begin = match response.status() {
        StatusCode::PARTIAL_CONTENT if is_going_on => match range(&response) {
            Some((_, Some(total))) if total != source.bytes => {
                let _ = fs::remove_file(part);
                return Err(Failed::Surely(size(total)));
            }
            Some((begin, _)) if begin == before => before,
            _ => return Err(from_the_beginning(source, part, "it goes on at another place than asked for")),
        },
        // Servers may ignore that only the rest was asked for.
        StatusCode::OK => match content_bytes(&response) {
            Some(found) if found != source.bytes => return Err(Failed::Surely(size(found))),
            _ => 0,
        },
        StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(from_the_beginning(source, part, "it has no such place to go on at"));
        }
        status => {
            let error = FetchError::Status { url: source.url.to_owned(), status: status.as_u16() };
            let may_pass = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err(if may_pass { Failed::Perhaps(error) } else { Failed::Surely(error) });
        }
    };
    receive(response, source, part, begin, progress)
}

/// Writes an answer's body behind the bytes that are there.
fn receive(
    response: Response<Body>,
    source: &Source<'_>,
    part: &Path,
    begin: u64,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), Failed> {
    let write = |error| Failed::Surely(write_error(part, source, error));
    let mut file = File::options().create(true).append(true).open(part).map_err(write)?;
    file.set_len(begin).map_err(write)?;
    let mut body = response.into_body().into_reader();
    let mut done_bytes = begin;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        progress(Progress { file: source.name, done_bytes, total_bytes: source.bytes });
        let count = match body.read(&mut piece) {
            Ok(0) if done_bytes == source.bytes => return file.sync_all().map_err(write),
            Ok(0) => return Err(broken(source, done_bytes, io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(source, done_bytes, error)),
        };
        if done_bytes + count as u64 > source.bytes {
            let _ = fs::remove_file(part);
            let found = done_bytes + count as u64;
            let url = source.url.to_owned();
            return Err(Failed::Surely(FetchError::Size { url, expected: source.bytes, found }));
        }
        file.write_all(&piece[..count]).map_err(write)?;
        done_bytes += count as u64;
    }
}

fn broken(source: &Source<'_>, done_bytes: u64, error: io::Error) -> Failed {
    let (url, total_bytes) = (source.url.to_owned(), source.bytes);
    Failed::Perhaps(FetchError::Broken { url, done_bytes, total_bytes, source: error })
}

/// What is there does not go together with what the server has.
fn from_the_beginning(source: &Source<'_>, part: &Path, why: &'static str) -> Failed {
    match fs::remove_file(part) {
        Ok(()) => broken(source, 0, io::Error::other(why)),
        Err(error) => Failed::Surely(write_error(part, source, error)),
    }
}

fn request_error(source: &Source<'_>, error: ureq::Error) -> Failed {
    let may_pass = matches!(
        error,
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed | ureq::Error::HostNotFound
    );
    let error = FetchError::Request { url: source.url.to_owned(), source: Box::new(error) };
    if may_pass { Failed::Perhaps(error) } else { Failed::Surely(error) }
}

fn write_error(path: &Path, source: &Source<'_>, error: io::Error) -> FetchError {
    FetchError::Write { path: path.to_owned(), bytes: source.bytes, source: error }
}

/// First byte and, if it is told, the size of the whole file: `bytes 100-199/200`.
fn range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.trim().parse().ok()?, total.trim().parse().ok()))
}

fn content_bytes(response: &Response<Body>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn bytes_there(part: &Path) -> u64 {
    fs::metadata(part).map_or(0, |metadata| metadata.len())
}

fn sha256(path: &Path) -> Result<String, FetchError> {
    let read = |source| FetchError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).map_err(read)? {
            0 => return Ok(tinywatt_proto::ids::Sha256(hash.finalize().into()).to_string()),
            count => hash.update(&piece[..count]),
        }
    }
}
