//! A proxy on the way to a real server, that does what proxies and networks do to requests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What becomes of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// They pass.
    None,
    /// They are answered with a status, and with `Retry-After` if there are seconds.
    Answer {
        /// The status.
        status: u16,
        /// The seconds.
        retry_after_seconds: Option<u64>,
    },
    /// They are taken and never answered.
    Hang,
    /// Half of their body reaches the server, then both sides are cut off.
    CutRequest,
    /// They reach the server whole, and half of its answer comes back.
    CutAnswer,
    /// They pass with one line made unreadable: the one of this time. Bodies must not be compressed.
    Corrupt {
        /// Time stamp of the line.
        at_unix_ns: u64,
    },
    /// They are refused when their body is longer than this.
    TooLarge {
        /// Longest body, as it is on the way.
        body_bytes_max: usize,
    },
}

/// A running proxy. It stops taking connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    fault: Mutex<Fault>,
    faulty_count: AtomicU64,
    passed_count: AtomicU64,
}

impl Proxy {
    /// Starts on a free port before `server`, an address like `127.0.0.1:8086`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            fault: Mutex::new(Fault::None),
            faulty_count: AtomicU64::new(0),
            passed_count: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(shared) = weak.upgrade() else { return };
                thread::spawn(move || {
                    // However a connection ends, the client sees it.
                    let _ = serve(client, &shared);
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What becomes of requests from now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Requests that met a fault.
    pub fn faulty_count(&self) -> u64 {
        self.shared.faulty_count.load(Ordering::Relaxed)
    }

    /// Requests that passed.
    pub fn passed_count(&self) -> u64 {
        self.shared.passed_count.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Wakes the thread that accepts, which then sees that nobody is there any more.
        self.shared = Arc::new(Shared {
            server: String::new(),
            fault: Mutex::new(Fault::Hang),
            faulty_count: AtomicU64::new(0),
            passed_count: AtomicU64::new(0),
        });
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// Serves the requests of one connection.
fn serve(mut client: TcpStream, shared: &Shared) -> Result<()> {
    client.set_nodelay(true)?;
    loop {
        let Some((head, mut body)) = message(&mut client)? else { return Ok(()) };
        let fault = *shared.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let is_faulty = match fault {
            Fault::None => false,
            Fault::Corrupt { at_unix_ns } => corrupt(&mut body, at_unix_ns),
            Fault::TooLarge { body_bytes_max } => body.len() > body_bytes_max,
            _ => true,
        };
        if is_faulty { &shared.faulty_count } else { &shared.passed_count }.fetch_add(1, Ordering::Relaxed);
        match fault {
            Fault::Answer { status, retry_after_seconds } => {
                let asked = retry_after_seconds.map_or(String::new(), |seconds| format!("Retry-After: {seconds}\r\n"));
                write!(client, "HTTP/1.1 {status} Fault\r\n{asked}Content-Length: 5\r\n\r\nfault")?;
            }
            Fault::TooLarge { .. } if is_faulty => {
                write!(client, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")?;
            }
            Fault::Hang => {
                // Until the client gives up.
                let _ = client.read(&mut [0]);
                return Ok(());
            }
            Fault::CutRequest => {
                let mut server = TcpStream::connect(&shared.server)?;
                server.write_all(&head)?;
                server.write_all(&body[..body.len() / 2])?;
                server.shutdown(Shutdown::Both)?;
                return Ok(());
            }
            Fault::CutAnswer => {
                let answer = pass(&head, &body, shared)?;
                client.write_all(&answer[..answer.len() / 2])?;
                return Ok(());
            }
            Fault::None | Fault::TooLarge { .. } | Fault::Corrupt { .. } => {
                client.write_all(&pass(&head, &body, shared)?)?
            }
        }
    }
}

/// Sends a request to the server and gives its whole answer.
fn pass(head: &[u8], body: &[u8], shared: &Shared) -> Result<Vec<u8>> {
    let mut server = TcpStream::connect(&shared.server)?;
    server.set_nodelay(true)?;
    server.write_all(head)?;
    server.write_all(body)?;
    let (mut answer, rest) = message(&mut server)?.context("no answer")?;
    answer.extend(rest);
    Ok(answer)
}

/// Makes the first number of the line of a time unreadable; whether there is one.
fn corrupt(body: &mut [u8], at_unix_ns: u64) -> bool {
    let find = |body: &[u8], text: &[u8]| body.windows(text.len()).position(|bytes| bytes == text);
    let Some(end) = find(body, format!(" {at_unix_ns}\n").as_bytes()) else { return false };
    let begin = body[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |before| before + 1);
    let Some(number) = find(&body[begin..end], b"volts=") else { return false };
    body[begin + number + "volts=".len()] = b'x';
    true
}

/// Reads one HTTP message whose length is told, or that has no body: its head and its body. `None` when the connection has
/// ended before one.
fn message(stream: &mut TcpStream) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut read = Vec::new();
    let mut chunk = [0; 16 << 10];
    let head_end = loop {
        if let Some(at) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if read.len() > HEAD_BYTES_MAX {
            bail!("a head without an end");
        }
        match stream.read(&mut chunk)? {
            0 if read.is_empty() => return Ok(None),
            0 => bail!("a head that breaks off"),
            count => read.extend_from_slice(&chunk[..count]),
        }
    };
    let head = String::from_utf8_lossy(&read[..head_end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
    let mut body = read.split_off(head_end);
    while body.len() < length {
        match stream.read(&mut chunk)? {
            0 => bail!("a body that breaks off"),
            count => body.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(Some((read, body)))
}
