//! The server that takes lines, over HTTP.
//!
//! By `ureq`, which the collector has for data sets, rather than by the crate `influxdb2` (0.5.2): that one keeps an
//! answer's status and text and drops its headers, so a `Retry-After` cannot be honoured; it drops the base path of an
//! address, panics on a wrong one, has no timeout of its own, and brings a second, older HTTP and TLS stack.

use std::io::Write;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tinywatt_proto::chain::Chain;
use ureq::Agent;
use ureq::http::StatusCode;

use super::config::{SinkConfig, TokenSource};
use super::line::Lines;
use super::series::Bucket;
use super::verdict::{Answer, retry_after};
use crate::clock;
use crate::influx::{Token, TokenError, agent};

/// Most that is read of an answer: a message with the line that it is about.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Bytes kept of a server's words.
const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// Takes lines.
pub trait Server: Send + Sync + 'static {
    /// Sends lines to a bucket and waits for the answer.
    ///
    /// # Errors
    /// [`Unreachable`] when there is none: whether the lines arrived is not known.
    fn write(&self, bucket: Bucket, lines: &Lines) -> Result<Answer, Unreachable>;
}

/// The server gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{url} does not answer: is InfluxDB running there?")]
pub struct Unreachable {
    url: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Unreachable {
    /// At this address, for this reason.
    pub fn new(url: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { url: url.to_owned(), source: source.into() }
    }
}

/// InfluxDB 2.
#[derive(Debug)]
pub struct Influx {
    config: SinkConfig,
    agent: Agent,
    token: RwLock<Token>,
}

// === impl Influx ===

impl Influx {
    /// Prepares to write; nothing is sent.
    ///
    /// # Errors
    /// When the token cannot be had.
    pub fn new(config: &SinkConfig) -> Result<Self, TokenError> {
        let agent = agent(&config.url, config.timeout);
        let token = RwLock::new(token(&config.token)?);
        Ok(Self { config: config.clone(), agent, token })
    }

    /// Reads the token again: it may have been corrected meanwhile.
    fn renew(&self) {
        match token(&self.config.token) {
            Ok(new) => *self.token.write().unwrap_or_else(PoisonError::into_inner) = new,
            Err(error) => tracing::warn!(error = %Chain(&error), "the token stays as it was"),
        }
    }

    fn send(&self, bucket: Bucket, lines: &Lines) -> Result<Answer, ureq::Error> {
        let header = self.token.read().unwrap_or_else(PoisonError::into_inner).authorization();
        let request = self
            .agent
            .post(self.config.url.join("/api/v2/write"))
            .query("org", &self.config.org)
            .query("bucket", self.config.bucket_name(bucket))
            .query("precision", "ns")
            .header("Authorization", header)
            .content_type("text/plain; charset=utf-8");
        let mut response = if self.config.gzip {
            request.header("Content-Encoding", "gzip").send(&compress(lines.text())?)?
        } else {
            request.send(lines.text())?
        };
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|text| retry_after(text, clock::unix_ns()));
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        // What is taken is taken, whatever becomes of the words about it.
        let message = body.unwrap_or_default();
        Ok(Answer { status: status.as_u16(), retry_after, message: words(&message, status) })
    }
}

impl Server for Influx {
    fn write(&self, bucket: Bucket, lines: &Lines) -> Result<Answer, Unreachable> {
        let answer =
            self.send(bucket, lines).map_err(|source| Unreachable::new(&self.config.url.to_string(), source))?;
        if matches!(answer.status, 401 | 403) {
            self.renew();
        }
        Ok(answer)
    }
}

/// The message of InfluxDB's JSON, or whatever else it is.
fn words(body: &str, status: StatusCode) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        message: String,
    }
    let mut message = match serde_json::from_str::<Body>(body) {
        Ok(body) => body.message,
        Err(_) if body.trim().is_empty() => status.canonical_reason().unwrap_or_default().to_owned(),
        Err(_) => body.trim().to_owned(),
    };
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    message
}

/// At the fastest level: lines of one series repeat each other, and the next levels cost twice the time for a tenth.
fn compress(text: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

fn token(source: &TokenSource) -> Result<Token, TokenError> {
    match source {
        TokenSource::Given(token) => Ok(token.clone()),
        TokenSource::File(path) => Token::read(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_server_are_found_and_cut() {
        assert_eq!(words(r#"{"code":"invalid","message":"no"}"#, StatusCode::BAD_REQUEST), "no");
        assert_eq!(words("<html>", StatusCode::BAD_GATEWAY), "<html>");
        assert_eq!(words(" ", StatusCode::BAD_GATEWAY), "Bad Gateway");
        assert_eq!(words(&"ü".repeat(2_000), StatusCode::BAD_GATEWAY).len(), MESSAGE_BYTES_MAX);
    }
}
