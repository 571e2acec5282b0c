//! What is wanted of a server, what is in its way, and who sets it up.

mod work;

use std::fmt;
use std::path::PathBuf;

use self::work::Work;
use super::client::Client;
use super::files::{FileError, Folder, Settings};
use super::{InfluxError, Retention, ServerUrl, Token, TokenError};

/// The results bucket, when nobody says otherwise.
pub(super) const BUCKET_DEFAULT: &str = "tinywatt";

/// The organisation, when nobody says otherwise.
const ORG_DEFAULT: &str = "tinywatt";

/// The bucket of samples, when nobody says otherwise.
const SAMPLES_BUCKET_DEFAULT: &str = "tinywatt-samples";

/// Where InfluxDB listens on its own machine, when nobody says otherwise.
const URL_DEFAULT: &str = "http://127.0.0.1:8086";

const OPERATOR_FILE: &str = "operator.token";
const WRITE_FILE: &str = "write.token";

/// What is wanted. Names that are not given are those of the folder's `influx.toml`, or else the defaults.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Address of the server.
    pub url: Option<ServerUrl>,
    /// Name of the organisation.
    pub org: Option<String>,
    /// Name of the results bucket.
    pub bucket: Option<String>,
    /// Name of the samples bucket.
    pub samples_bucket: Option<String>,
    /// Retention of the results bucket; one that is not given changes no bucket.
    pub retention: Option<Retention>,
    /// Retention of the samples bucket; one that is not given changes no bucket.
    pub samples_retention: Option<Retention>,
    /// Who sets up; found in the folder when not given.
    pub operator: Option<Operator>,
    /// Where files go.
    pub folder: Folder,
}

/// A token that may do everything, and where it is from.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The token.
    pub token: Token,
    /// For messages.
    pub origin: Origin,
}

/// Where a token is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A variable of the environment.
    Variable(&'static str),
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => formatter.write_str(name),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// It cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The folder is of something else.
    #[error(
        "{path} has {key} = \"{found}\" and you ask for \"{wanted}\": name another folder with --out, or change the file if \
         it is to be of the other", path = path.display()
    )]
    Settings {
        /// `influx.toml`.
        path: PathBuf,
        /// Its key.
        key: &'static str,
        /// What it says.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// One bucket cannot be both.
    #[error("results and samples need buckets of their own, and both are '{0}': samples expire, results do not")]
    OneBucket(String),
    /// Nobody may set up.
    #[error(
        "InfluxDB at {url} is set up already, so an operator token is needed: put it into a file and name that by \
         --operator-token-file, or into TINYWATT_INFLUX_OPERATOR_TOKEN; {ADVICE}"
    )]
    NoOperator {
        /// Address of the server.
        url: ServerUrl,
    },
    /// The token is none, or of another server.
    #[error("InfluxDB at {url} does not know the token of {origin}: {ADVICE}")]
    UnknownOperator {
        /// Address of the server.
        url: ServerUrl,
        /// Where the token is from.
        origin: Origin,
    },
    /// The token is somebody else's.
    #[error("the token of {origin} may not {what} ({message}): it has to be an operator token; {ADVICE}")]
    NotOperator {
        /// Where the token is from.
        origin: Origin,
        /// What it may not.
        what: String,
        /// What the server says.
        message: String,
    },
    /// The server said no to something else.
    #[error(transparent)]
    Influx(#[from] InfluxError),
    /// The folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Where an operator token comes from.
const ADVICE: &str = "`influx auth create --operator` makes one for who has one, and on the server's machine, while the server \
     is stopped, `influxd recovery auth create-operator --username USER --org ORG` makes one";

/// Sets up what is not set up, and tells of each thing, made or found. Gives the number of things that were made or changed.
///
/// # Errors
/// At the first thing that cannot be done; the message tells the way out.
pub fn init(plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<usize, InitError> {
    let found = plan.folder.settings()?;
    let settings = settle(plan, found.as_ref())?;
    let client = Client::new(settings.url.clone());
    let is_fresh = client.is_fresh()?;
    let operator = match (&plan.operator, plan.folder.secret(OPERATOR_FILE)?) {
        (Some(operator), _) => Some(operator.clone()),
        (None, saved) => saved.map(|token| Operator { token, origin: Origin::File(plan.folder.path(OPERATOR_FILE)) }),
    };
    let mut work = Work { plan, settings: &settings, client: &client, tell, change_count: 0 };
    let operator = match operator {
        operator if is_fresh => work.set_up(operator)?,
        Some(operator) => operator,
        None => return Err(InitError::NoOperator { url: settings.url.clone() }),
    };
    let client = client.with_token(operator.token.clone());
    work.client = &client;
    work.fill(is_fresh).map_err(|error| by_whom(error, &operator.origin))?;
    if found.is_some() {
        work.keep(&format!("{} is there and stays as it is", plan.folder.settings_path().display()));
    } else {
        plan.folder.write_settings(&settings, WRITE_FILE)?;
        work.change(&format!("{} written", plan.folder.settings_path().display()));
    }
    Ok(work.change_count)
}

/// What was asked for, by name, and nothing that the folder contradicts.
fn settle(plan: &Plan, found: Option<&Settings>) -> Result<Settings, InitError> {
    let path = plan.folder.settings_path();
    let one = |key, wanted: Option<String>, found: Option<String>, default: &str| match (wanted, found) {
        (Some(wanted), Some(found)) if wanted != found => {
            Err(InitError::Settings { path: path.clone(), key, found, wanted })
        }
        (wanted, found) => Ok(wanted.or(found).unwrap_or_else(|| default.to_owned())),
    };
    let url = plan.url.as_ref().map(ToString::to_string);
    let url = one("url", url, found.map(|found| found.url.to_string()), URL_DEFAULT)?;
    let settings = Settings {
        url: url.parse().expect("it was an address before"),
        org: one("org", plan.org.clone(), found.map(|found| found.org.clone()), ORG_DEFAULT)?,
        bucket: one("bucket", plan.bucket.clone(), found.map(|found| found.bucket.clone()), BUCKET_DEFAULT)?,
        samples_bucket: one(
            "samples_bucket",
            plan.samples_bucket.clone(),
            found.map(|found| found.samples_bucket.clone()),
            SAMPLES_BUCKET_DEFAULT,
        )?,
    };
    if settings.bucket == settings.samples_bucket {
        return Err(InitError::OneBucket(settings.bucket));
    }
    Ok(settings)
}

/// An error of the operator's token, with the place of the token.
fn by_whom(error: InitError, origin: &Origin) -> InitError {
    let origin = origin.clone();
    match error {
        InitError::Influx(InfluxError::UnknownToken { url }) => InitError::UnknownOperator { url, origin },
        InitError::Influx(InfluxError::Forbidden { what, message }) => InitError::NotOperator { origin, what, message },
        other => other,
    }
}
