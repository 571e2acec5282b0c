//! Requests to one server, and what goes wrong with them, with the way out.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Method, Request, header};

use super::{ServerUrl, Token};

/// A connection to a machine that is there takes milliseconds.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// One request with its answer. Setting up asks for nothing that takes a server longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The largest answer is the list of all tokens of an organisation: 5 kB for one that may do everything, so 800 of them.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Of a message that a server sends, as much is shown: proxies send pages.
const MESSAGE_CHARS_MAX: usize = 300;

/// A server cannot be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum InfluxError {
    /// There is no answer.
    #[error(
        "no answer from {url}: is InfluxDB running there, and can this machine reach it? --url names another address"
    )]
    Unreachable {
        /// Address of the server.
        url: ServerUrl,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Something else answers.
    #[error(
        "what answers at {url} is not InfluxDB 2 ({found}): tinywatt needs a 2.x server; --url names another address"
    )]
    NotInfluxDb2 {
        /// Address of the server.
        url: ServerUrl,
        /// What it seems to be.
        found: String,
    },
    /// It is starting, or in trouble.
    #[error(
        "InfluxDB at {url} is not ready ({message}): try again in a moment, and look into its log when that does not help"
    )]
    NotReady {
        /// Address of the server.
        url: ServerUrl,
        /// What it says.
        message: String,
    },
    /// It does not know the token.
    #[error("InfluxDB at {url} does not know the token")]
    UnknownToken {
        /// Address of the server.
        url: ServerUrl,
    },
    /// It knows the token, which may not do that.
    #[error("the token may not {what} ({message})")]
    Forbidden {
        /// What was asked.
        what: String,
        /// What the server says.
        message: String,
    },
    /// It said no.
    #[error("InfluxDB refused to {what} ({status}): {message}")]
    Refused {
        /// What was asked.
        what: String,
        /// Status of the answer.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// Its answer cannot be understood.
    #[error("what InfluxDB answered when asked to {what} cannot be read")]
    Answer {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Asks one server, as somebody or as nobody.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
    url: ServerUrl,
    token: Option<Token>,
}

/// An answer, whatever it says.
pub(super) struct Answer {
    pub(super) status: u16,
    /// What `X-Influxdb-Version` says, which InfluxDB of all versions sends.
    pub(super) version: Option<String>,
    pub(super) text: String,
}

/// What asks a server over HTTP: an answer that tells of an error is an answer, and none takes longer than `answer_within`.
pub(crate) fn agent(url: &ServerUrl, answer_within: Duration) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("tinywatt/", env!("CARGO_PKG_VERSION")))
        // A token goes to no other address than the one that was given.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_WITHIN.min(answer_within)))
        .timeout_global(Some(answer_within));
    if url.is_loopback() {
        config = config.proxy(None);
    }
    config.build().into()
}

impl Client {
    pub(super) fn new(url: ServerUrl) -> Self {
        Self { agent: agent(&url, ANSWER_WITHIN), url, token: None }
    }

    /// The same server, asked as somebody.
    pub(super) fn with_token(&self, token: Token) -> Self {
        Self { token: Some(token), ..self.clone() }
    }

    pub(super) fn url(&self) -> &ServerUrl {
        &self.url
    }

    /// One request; `what` completes "asked to". The answer may tell of an error.
    pub(super) fn answer(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, InfluxError> {
        let mut request = Request::builder().method(method).uri(self.url.join(path));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.authorization());
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let unreadable = |source| InfluxError::Answer { what: what.to_owned(), source };
        let request = request.body(body.map(Value::to_string).unwrap_or_default());
        let request = request.map_err(|error| unreadable(Box::new(error)))?;
        let unreachable = |source| InfluxError::Unreachable { url: self.url.clone(), source: Box::new(source) };
        let response = self.agent.run(request).map_err(unreachable)?;
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let (version, location) = (header("X-Influxdb-Version"), header("Location"));
        let status = response.status();
        let mut body = response.into_body();
        let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let mut text = String::from_utf8_lossy(&bytes.map_err(|error| unreadable(Box::new(error)))?).into_owned();
        if status.is_redirection() {
            text = format!("it leads to {}, which is not followed", location.unwrap_or_else(|| "nowhere".to_owned()));
        }
        Ok(Answer { status: status.as_u16(), version, text })
    }

    /// One request that is to succeed.
    pub(super) fn request<T: DeserializeOwned>(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, InfluxError> {
        let answer = self.answer(what, method, path, body)?;
        if !answer.is_success() {
            return Err(self.refusal(what, &answer));
        }
        // What only says "done" says it with nothing.
        let text = if answer.text.trim().is_empty() { "null" } else { &answer.text };
        serde_json::from_str(text)
            .map_err(|error| InfluxError::Answer { what: what.to_owned(), source: Box::new(error) })
    }

    /// An answer that is no success, as an error.
    pub(super) fn refusal(&self, what: &str, answer: &Answer) -> InfluxError {
        let (what, message) = (what.to_owned(), answer.message());
        match answer.status {
            // InfluxDB answers 401, too, when it knows a token that may not do something.
            401 if message == "unauthorized access" || answer.text.trim().is_empty() => {
                InfluxError::UnknownToken { url: self.url.clone() }
            }
            401 | 403 => InfluxError::Forbidden { what, message },
            status => InfluxError::Refused { what, status, message },
        }
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What it says of an error, for people.
    pub(super) fn message(&self) -> String {
        let json: Option<Value> = serde_json::from_str(&self.text).ok();
        let said = json.as_ref().and_then(|json| json["message"].as_str()).unwrap_or(&self.text);
        let words: Vec<&str> = said.split_whitespace().collect();
        let mut message: String = words.join(" ").chars().take(MESSAGE_CHARS_MAX).collect();
        if message.is_empty() {
            message.push_str("it does not say why");
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer { status, version: None, text: text.to_owned() }
    }

    #[test]
    fn an_error_is_told_in_one_line_whoever_sends_it() {
        assert_eq!(answer(422, r#"{"code":"conflict","message":"it is  there"}"#).message(), "it is there");
        assert_eq!(answer(502, "<html>\n<h1>Bad Gateway</h1>").message(), "<html> <h1>Bad Gateway</h1>");
        assert_eq!(answer(500, "").message(), "it does not say why");
        assert_eq!(answer(500, &"x".repeat(1_000)).message().len(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn an_unknown_token_and_one_that_may_not_are_told_apart() {
        let client = Client::new("http://127.0.0.1:1".parse().unwrap());
        let refusal = |status, text| client.refusal("make a bucket", &answer(status, text));
        let error = refusal(401, r#"{"code":"unauthorized","message":"unauthorized access"}"#);
        assert!(matches!(error, InfluxError::UnknownToken { .. }), "{error}");
        let error = refusal(401, r#"{"code":"unauthorized","message":"write:orgs is unauthorized"}"#);
        assert_eq!(error.to_string(), "the token may not make a bucket (write:orgs is unauthorized)");
        let error = refusal(500, "disk full");
        assert_eq!(error.to_string(), "InfluxDB refused to make a bucket (500): disk full");
    }
}
