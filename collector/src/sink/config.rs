//! The sink's configuration: a TOML file that `collector influx init` writes, checked whole before anything is sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::points::samples::Detail;
use super::series::Bucket;
use crate::influx::{ServerUrl, Token};

/// Longest that a request may take, as configured; a server that is so slow is not there.
const TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// Fastest decimated rate: beyond it raw samples are what is meant.
const DECIMATED_HZ_MAX: f64 = 1_000.0;

/// Where lines go and which are made.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkConfig {
    /// Address of the server, a base path included.
    pub url: ServerUrl,
    /// Organisation.
    pub org: String,
    /// Bucket of the results.
    pub bucket: String,
    /// Bucket of the samples.
    pub samples_bucket: String,
    /// What proves that we may write.
    pub token: TokenSource,
    /// What of the samples is written.
    pub detail: Detail,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// How long a request may take.
    pub timeout: Duration,
}

/// Where the token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, read again whenever the server refuses the token.
    File(PathBuf),
    /// Given at the start.
    Given(Token),
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read {path}: name the file that `collector influx init` wrote")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// It is no TOML of ours.
    #[error("{path} is not a configuration of the sink")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Cause, with the line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("{path}: `{key}` {problem}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: String,
    org: String,
    bucket: String,
    samples_bucket: String,
    token_file: Option<PathBuf>,
    #[serde(default = "yes")]
    raw: bool,
    #[serde(default = "decimated_hz_default")]
    decimated_hz: f64,
    gzip: Option<bool>,
    #[serde(default = "timeout_default", with = "humantime_serde")]
    timeout: Duration,
}

fn yes() -> bool {
    true
}

fn decimated_hz_default() -> f64 {
    10.0
}

fn timeout_default() -> Duration {
    Duration::from_secs(20)
}

// === impl SinkConfig ===

impl SinkConfig {
    /// Reads a configuration. `given` is a token that stands in for the file's.
    ///
    /// # Errors
    /// [`ConfigError`], each with the place.
    pub fn read(path: &Path, given: Option<Token>) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let file: File = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        let refuse = |key, problem: String| ConfigError::Value { path: path.to_owned(), key, problem };
        let url: ServerUrl = file.url.parse().map_err(|error| refuse("url", format!("is '{}': {error}", file.url)))?;
        for (key, name) in [("org", &file.org), ("bucket", &file.bucket), ("samples_bucket", &file.samples_bucket)] {
            if name.trim().is_empty() {
                return Err(refuse(key, "is empty: name it as in InfluxDB".to_owned()));
            }
        }
        if !(0.0..=DECIMATED_HZ_MAX).contains(&file.decimated_hz) {
            let problem = format!("is {}, and must be 0 (none) to {DECIMATED_HZ_MAX}", file.decimated_hz);
            return Err(refuse("decimated_hz", problem));
        }
        if file.timeout.is_zero() || file.timeout > TIMEOUT_MAX {
            return Err(refuse("timeout", format!("must be above 0 and at most {} s", TIMEOUT_MAX.as_secs())));
        }
        let token = match (given, file.token_file) {
            (Some(token), _) => TokenSource::Given(token),
            (None, Some(token_file)) => {
                // Beside the file that names it, wherever the collector was started.
                TokenSource::File(path.parent().unwrap_or(Path::new("")).join(token_file))
            }
            (None, None) => {
                let problem = "is missing: name a file with a token that may write, or set TINYWATT_INFLUX_TOKEN";
                return Err(refuse("token_file", problem.to_owned()));
            }
        };
        Ok(Self {
            org: file.org,
            bucket: file.bucket,
            samples_bucket: file.samples_bucket,
            token,
            detail: Detail { raw: file.raw, decimated_period_ns: period_ns(file.decimated_hz) },
            // On this machine a smaller request saves nothing, and compressing it takes the server's processors.
            gzip: file.gzip.unwrap_or(!url.is_loopback()),
            timeout: file.timeout,
            url,
        })
    }

    /// Name of a bucket.
    pub fn bucket_name(&self, bucket: Bucket) -> &str {
        match bucket {
            Bucket::Results => &self.bucket,
            Bucket::Samples => &self.samples_bucket,
        }
    }

    /// What the store remembers the database by: another one has nothing yet.
    pub fn target(&self) -> String {
        format!("{} {} {} {}", self.url, self.org, self.bucket, self.samples_bucket)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 ms to 10^12 years: a cast saturates")]
fn period_ns(rate_hz: f64) -> Option<u64> {
    (rate_hz > 0.0).then(|| (1e9 / rate_hz).round() as u64)
}

#[cfg(test)]
mod tests {
    use tinywatt_proto::chain::Chain;

    use super::*;

    const FILE: &str = "url = \"http://127.0.0.1:8086/\"\norg = \"o\"\nbucket = \"b\"\nsamples_bucket = \"s\"\n";

    fn read(text: &str, given: Option<&str>) -> Result<SinkConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("influx.toml");
        std::fs::write(&path, text).unwrap();
        SinkConfig::read(&path, given.map(|token| Token::new(token).unwrap()))
            .map_err(|error| Chain(&error).to_string())
    }

    #[test]
    fn what_is_not_said_has_a_default_and_the_token_lies_beside_the_file() {
        let config = read(&format!("{FILE}token_file = \"write.token\"\n"), None).unwrap();
        assert_eq!(config.url.to_string(), "http://127.0.0.1:8086");
        assert_eq!(config.detail, Detail { raw: true, decimated_period_ns: Some(100_000_000) });
        let TokenSource::File(path) = &config.token else { panic!("a file") };
        assert!(path.is_absolute() && path.ends_with("write.token"));
        let config = read(&format!("{FILE}decimated_hz = 0\nraw = false\n"), Some("s3cr3t-word")).unwrap();
        assert_eq!(config.detail, Detail { raw: false, decimated_period_ns: None });
        assert!(!config.gzip, "on this machine");
        let config =
            read(&format!("{}token_file = \"t\"\n", FILE.replace("127.0.0.1", "influx.example")), None).unwrap();
        assert!(config.gzip, "over a network");
        let config = read(&format!("{FILE}token_file = \"t\"\ngzip = true\n"), Some("s3cr3t-word")).unwrap();
        assert!(config.gzip, "as told");
        assert!(!format!("{config:?}").contains("s3cr3t"), "no token in a log");
    }

    #[test]
    fn each_mistake_names_its_key_and_the_way_out() {
        let cases = [
            (FILE.to_owned(), "`token_file` is missing"),
            (format!("{FILE}tokenfile = \"a\"\n"), "tokenfile"),
            (
                FILE.replace("http:", "ftp:"),
                "`url` is 'ftp://127.0.0.1:8086/': expected an address that begins with http://",
            ),
            (FILE.replace("http://127.0.0.1:8086/", "influx"), "expected an address"),
            (FILE.replace("\"o\"", "\" \""), "`org` is empty"),
            (format!("{FILE}decimated_hz = -1\n"), "`decimated_hz` is -1, and must be 0 (none) to 1000"),
            (format!("{FILE}decimated_hz = nan\n"), "`decimated_hz`"),
            (format!("{FILE}timeout = \"0s\"\n"), "`timeout` must be above 0"),
            (format!("{FILE}timeout = \"soon\"\n"), "timeout"),
        ];
        for (text, expected) in cases {
            let message = read(&text, None).expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
    }
}
