//! The server that takes lines, over HTTP.
//!
//! By `ureq`, which the collector has for data sets, rather than by the crate `influxdb2` (0.5.2): that one keeps an
//! answer's status and text and drops its headers, so a `Retry-After` cannot be honoured; it drops the base path of an
//! address, panics on a wrong one, has no timeout of its own, and brings a second, older HTTP and TLS stack.

use std::io::Write;
use std::sync::RwLock;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use ureq::Agent;
use ureq::http::StatusCode;

use super::config::{SinkConfig, TokenSource};
use super::line::Lines;
use super::series::Bucket;
use super::verdict::{Answer, retry_after};
use crate::clock;

/// Longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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

/// A token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its file cannot be read.
    #[error("failed to read the token in {path}: `collector influx init` writes it; let this user read it")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{place} holds no token: one line of letters, digits and signs is expected")]
    NoToken {
        /// File or variable.
        place: String,
    },
}

/// InfluxDB 2.
#[derive(Debug)]
pub struct Influx {
    config: SinkConfig,
    agent: Agent,
    authorization: RwLock<Authorization>,
}

/// The header that proves that we may write.
struct Authorization(String);

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authorization(…)")
    }
}

// === impl Influx ===

impl Influx {
    /// Prepares to write; nothing is sent.
    ///
    /// # Errors
    /// When the token cannot be had.
    pub fn new(config: &SinkConfig) -> Result<Self, TokenError> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT.min(config.timeout)))
            .timeout_global(Some(config.timeout))
            .user_agent(concat!("tinywatt-collector/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let authorization = RwLock::new(authorization(&config.token)?);
        Ok(Self { config: config.clone(), agent, authorization })
    }

    /// Reads the token again: it may have been corrected meanwhile.
    fn renew(&self) {
        match authorization(&self.config.token) {
            Ok(new) => *self.authorization.write().unwrap_or_else(std::sync::PoisonError::into_inner) = new,
            Err(error) => tracing::warn!(error = %tinywatt_proto::chain::Chain(&error), "the token stays as it was"),
        }
    }

    fn send(&self, bucket: Bucket, lines: &Lines) -> Result<Answer, ureq::Error> {
        let header = self.authorization.read().unwrap_or_else(std::sync::PoisonError::into_inner).0.clone();
        let request = self
            .agent
            .post(format!("{}/api/v2/write", self.config.url))
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
        let answer = self.send(bucket, lines).map_err(|source| Unreachable::new(&self.config.url, source))?;
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

fn authorization(source: &TokenSource) -> Result<Authorization, TokenError> {
    let (token, place) = match source {
        TokenSource::Given(token) => (token.clone(), "TINYWATT_INFLUX_TOKEN".to_owned()),
        TokenSource::File(path) => {
            let read = std::fs::read_to_string(path);
            (read.map_err(|source| TokenError::Read { path: path.clone(), source })?, path.display().to_string())
        }
    };
    let token = token.trim();
    // What cannot be in a header would be refused far from here, with the token in the message.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::NoToken { place });
    }
    Ok(Authorization(format!("Token {token}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_and_never_shown() {
        let token = |text: &str| authorization(&TokenSource::Given(text.to_owned()));
        let good = token("abc==\n").unwrap();
        assert_eq!(good.0, "Token abc==");
        assert!(!format!("{good:?}").contains("abc"));
        for bad in ["", " \n", "two words", "a\u{7f}", "größe"] {
            let message = token(bad).expect_err(bad).to_string();
            assert!(message.contains("holds no token") && !message.contains("two"), "{message}");
        }
    }

    #[test]
    fn the_words_of_the_server_are_found_and_cut() {
        assert_eq!(words(r#"{"code":"invalid","message":"no"}"#, StatusCode::BAD_REQUEST), "no");
        assert_eq!(words("<html>", StatusCode::BAD_GATEWAY), "<html>");
        assert_eq!(words(" ", StatusCode::BAD_GATEWAY), "Bad Gateway");
        assert_eq!(words(&"ü".repeat(2_000), StatusCode::BAD_GATEWAY).len(), MESSAGE_BYTES_MAX);
    }
}
