//! What tests ask a server, over HTTP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::http::Request;

use super::answer::{Table, tables};
use super::{Influxd, Operator};

/// Long enough for a query over millions of points on a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// A test that reads more than this back at once has gone wrong.
const ANSWER_BYTES_MAX: u64 = 2 << 30;

/// The bucket of samples in [`Influxd::sink_configuration`].
pub const SAMPLES_BUCKET: &str = "tinywatt-samples";

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// Status of the answer.
    pub status: u16,
    /// Its body.
    pub text: String,
}

impl Answer {
    /// The body of an answer that is a success.
    ///
    /// # Errors
    /// When it is none.
    pub fn success(self) -> Result<String> {
        if (200..300).contains(&self.status) { Ok(self.text) } else { bail!("answer {}: {}", self.status, self.text) }
    }
}

pub(super) fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_global(Some(ANSWER_WITHIN));
    config.build().into()
}

impl Influxd {
    /// First set-up: user `admin`, organisation `tinywatt`, bucket `tinywatt`, kept for ever.
    ///
    /// # Errors
    /// When it has been done before.
    pub fn setup(&mut self) -> Result<Operator> {
        let operator = Operator { org: "tinywatt".to_owned(), token: "operator-token-of-a-test".to_owned() };
        let body = json!({
            "username": "admin",
            "password": "password-of-a-test",
            "org": operator.org,
            "bucket": "tinywatt",
            "token": operator.token,
            "retentionPeriodSeconds": 0,
        });
        self.request("POST", "/api/v2/setup", None, Some(&body))?.success().context("first set-up")?;
        self.operator = Some(operator.clone());
        Ok(operator)
    }

    /// Asks as this operator from now on: the server was set up by somebody else.
    pub fn set_operator(&mut self, operator: Operator) {
        self.operator = Some(operator);
    }

    /// Who asks.
    ///
    /// # Errors
    /// Before the server was set up.
    pub fn operator(&self) -> Result<&Operator> {
        self.operator.as_ref().context("the server was not set up: call setup() or set_operator() first")
    }

    /// One request as the operator; paths begin with `/api/v2/`.
    ///
    /// # Errors
    /// When there is no answer. One that tells of an error is an answer.
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.request(method, path, Some(&self.operator()?.token), body)
    }

    /// Makes a bucket; `retention_seconds` 0 keeps for ever.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_bucket(&self, name: &str, retention_seconds: u64) -> Result<()> {
        let org = &self.operator()?.org;
        let found = self.api("GET", &format!("/api/v2/orgs?org={}", encode(org)), None)?.success()?;
        let found: Value = serde_json::from_str(&found)?;
        let body = json!({
            "orgID": found["orgs"][0]["id"],
            "name": name,
            "retentionRules": [{ "type": "expire", "everySeconds": retention_seconds }],
        });
        self.api("POST", "/api/v2/buckets", Some(&body))?.success().with_context(|| format!("bucket {name}"))?;
        Ok(())
    }

    /// Makes the second bucket and writes what `collector serve --influx` needs into `folder`, with more lines of TOML. The
    /// server is reached at `url`: its own, or that of a proxy before it.
    ///
    /// # Errors
    /// Before the server was set up, and when a file cannot be written.
    pub fn sink_configuration(&self, folder: &Path, url: &str, further: &str) -> Result<PathBuf> {
        self.create_bucket(SAMPLES_BUCKET, 0)?;
        let Operator { org, token } = self.operator()?;
        std::fs::write(folder.join("write.token"), token)?;
        let text = format!(
            "url = \"{url}\"\norg = \"{org}\"\nbucket = \"tinywatt\"\nsamples_bucket = \"{SAMPLES_BUCKET}\"\n\
             token_file = \"write.token\"\n{further}"
        );
        let path = folder.join("influx.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Writes line protocol with instants in nanoseconds, as the operator.
    ///
    /// # Errors
    /// When a line is refused.
    pub fn write(&self, bucket: &str, lines: &str) -> Result<()> {
        let Operator { org, token } = self.operator()?;
        self.write_as(org, token, bucket, lines)?.success()?;
        Ok(())
    }

    /// Writes line protocol with any token.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn write_as(&self, org: &str, token: &str, bucket: &str, lines: &str) -> Result<Answer> {
        let (org, bucket) = (encode(org), encode(bucket));
        let url = format!("{}/api/v2/write?org={org}&bucket={bucket}&precision=ns", self.url());
        let request = Request::post(url).header("Authorization", format!("Token {token}")).body(lines.to_owned())?;
        answer(self.client.run(request)?)
    }

    /// The tables of a Flux query, as the operator.
    ///
    /// # Errors
    /// When the query is refused or breaks off.
    pub fn query(&self, flux: &str) -> Result<Vec<Table>> {
        let Operator { org, token } = self.operator()?;
        tables(&self.query_as(org, token, flux)?.success()?)
    }

    /// A Flux query with any token, as annotated CSV.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn query_as(&self, org: &str, token: &str, flux: &str) -> Result<Answer> {
        let body = json!({ "query": flux, "dialect": { "annotations": ["datatype", "group", "default"] } });
        self.request("POST", &format!("/api/v2/query?org={}", encode(org)), Some(token), Some(&body))
    }

    fn request(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(self.url() + path).header("Accept", "*/*");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Token {token}"));
        }
        let said = match body {
            Some(body) => self.client.run(request.header("Content-Type", "application/json").body(body.to_string())?),
            None => self.client.run(request.body(())?),
        };
        answer(said.with_context(|| format!("{method} {path}"))?)
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer> {
    let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
    Ok(Answer { status: response.status().as_u16(), text })
}

/// A value as a part of a query, whatever is in it.
fn encode(value: &str) -> String {
    value.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
