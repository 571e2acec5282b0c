//! The order in which things are set up: whatever was done stays done when a later step fails, and is found the next time.

use std::fmt;
use std::path::PathBuf;

use super::admin::{Bucket, Org, Right, Setup};
use super::client::Client;
use super::downsample;
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

/// Name of the first user, made where a server waits for its first set-up.
const USER: &str = "admin";

const OPERATOR_FILE: &str = "operator.token";
const PASSWORD_FILE: &str = "admin.password";
const WRITE_FILE: &str = "write.token";
const READ_FILE: &str = "read.token";

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

struct Work<'a> {
    plan: &'a Plan,
    settings: &'a Settings,
    client: &'a Client,
    tell: &'a mut dyn FnMut(&str),
    change_count: usize,
}

impl Work<'_> {
    fn change(&mut self, words: &str) {
        self.change_count += 1;
        (self.tell)(words);
    }

    fn keep(&mut self, words: &str) {
        (self.tell)(words);
    }

    /// First set-up. Secrets are in their files before the server knows them: an interruption loses none.
    fn set_up(&mut self, operator: Option<Operator>) -> Result<Operator, InitError> {
        let folder = &self.plan.folder;
        let operator = match operator {
            Some(operator) => operator,
            None => {
                let token = Token::generate();
                folder.write_secret(OPERATOR_FILE, &token)?;
                Operator { token, origin: Origin::File(folder.path(OPERATOR_FILE)) }
            }
        };
        let password = match folder.secret(PASSWORD_FILE)? {
            Some(password) => password,
            None => {
                let password = Token::generate();
                folder.write_secret(PASSWORD_FILE, &password)?;
                password
            }
        };
        let setup = Setup {
            user: USER,
            password: &password,
            token: &operator.token,
            org: &self.settings.org,
            bucket: &self.settings.bucket,
            retention: self.plan.retention.unwrap_or(Retention::FOREVER),
        };
        self.client.set_up(&setup)?;
        let password_path = folder.path(PASSWORD_FILE);
        self.change(&format!(
            "InfluxDB at {} set up for the first time: organisation '{}', bucket '{}' that keeps {}, user '{USER}' with the \
             password in {}, operator token in {}",
            self.settings.url,
            setup.org,
            setup.bucket,
            setup.retention,
            password_path.display(),
            operator.origin,
        ));
        Ok(operator)
    }

    /// All that an operator does. What the first set-up has made is not told of again.
    fn fill(&mut self, is_fresh: bool) -> Result<(), InitError> {
        let Settings { org, bucket, samples_bucket, .. } = self.settings;
        let (retention, samples_retention) = (self.plan.retention, self.plan.samples_retention);
        let org = self.org(org, is_fresh)?;
        let results = self.bucket(&org, bucket, retention, Retention::FOREVER, is_fresh)?;
        let samples = self.bucket(&org, samples_bucket, samples_retention, Retention::DAYS_30, false)?;
        self.token(&org, Right::Write, WRITE_FILE, [&results, &samples])?;
        self.token(&org, Right::Read, READ_FILE, [&results, &samples])?;
        self.task(&org, samples.retention())
    }

    fn org(&mut self, name: &str, is_told: bool) -> Result<Org, InitError> {
        if let Some(org) = self.client.org(name)? {
            if !is_told {
                self.keep(&format!("organisation '{name}' is there"));
            }
            return Ok(org);
        }
        let org = self.client.make_org(name)?;
        self.change(&format!("organisation '{name}' made"));
        Ok(org)
    }

    fn bucket(
        &mut self,
        org: &Org,
        name: &str,
        wanted: Option<Retention>,
        default: Retention,
        is_told: bool,
    ) -> Result<Bucket, InitError> {
        let Some(bucket) = self.client.bucket(org, name)? else {
            let bucket = self.client.make_bucket(org, name, wanted.unwrap_or(default))?;
            self.change(&format!("bucket '{name}' made, keeps {}", bucket.retention()));
            return Ok(bucket);
        };
        let kept = bucket.retention();
        if let Some(wanted) = wanted.filter(|wanted| *wanted != kept) {
            let bucket = self.client.change_retention(&bucket, wanted)?;
            self.change(&format!("bucket '{name}' keeps {wanted} now, and kept {kept} before"));
            return Ok(bucket);
        }
        if !is_told {
            self.keep(&format!("bucket '{name}' is there, keeps {kept}"));
        }
        Ok(bucket)
    }

    fn token(&mut self, org: &Org, right: Right, file: &str, buckets: [&Bucket; 2]) -> Result<(), InitError> {
        let folder = &self.plan.folder;
        let (word, place) = (right.word(), folder.path(file));
        let place = place.display();
        if let Some(token) = folder.secret(file)?
            && self.may(&token, right, org, buckets)?
        {
            self.keep(&format!("token in {place} may {word}"));
            if folder.is_open(file) {
                (self.tell)(&format!("warning: others than its owner may read {place}; `chmod 600 {place}` ends that"));
            }
            return Ok(());
        }
        let Settings { org: org_name, bucket, samples_bucket, .. } = self.settings;
        let description = format!("tinywatt {word} ({org_name}: {bucket}, {samples_bucket})");
        let known = self.client.authorizations(org, &description)?;
        let listed = known.iter().filter(|known| known.allows_just(right, buckets));
        for token in listed.filter_map(|listed| Token::new(&listed.token).ok()) {
            if self.may(&token, right, org, buckets)? {
                folder.write_secret(file, &token)?;
                self.change(&format!("token that may {word} found on the server, now in {place}"));
                return Ok(());
            }
        }
        let made = self.client.make_authorization(org, &description, right, buckets)?;
        folder.write_secret(file, &Token::new(&made.token)?)?;
        self.change(&format!("token that may {word} made, in {place}"));
        for old in &known {
            self.client.remove_authorization(old)?;
            self.change(&format!(
                "the token '{description}' of before, of which the server keeps no secret to hand out, removed: whoever \
                 used it needs the new one"
            ));
        }
        Ok(())
    }

    /// Whether a token is good for both buckets.
    fn may(&self, token: &Token, right: Right, org: &Org, buckets: [&Bucket; 2]) -> Result<bool, InfluxError> {
        let client = self.client.with_token(token.clone());
        for bucket in buckets {
            if !client.may(right, org, bucket)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn task(&mut self, org: &Org, samples_retention: Retention) -> Result<(), InitError> {
        let Settings { bucket, samples_bucket, .. } = self.settings;
        let name = downsample::name(bucket);
        let flux = downsample::flux(bucket, samples_bucket, samples_retention);
        let task = match self.client.task(org, &name)? {
            None => {
                self.client.make_task(org, &name, &flux)?;
                self.change(&format!("task '{name}' made"));
                return Ok(());
            }
            Some(task) if task.flux == flux => {
                self.keep(&format!("task '{name}' is there"));
                task
            }
            Some(task) => {
                let task = self.client.change_task(&task, &flux)?;
                self.change(&format!("task '{name}' brought up to date"));
                task
            }
        };
        if !task.is_active() {
            (self.tell)(&format!("warning: the task '{name}' is switched off, and stays so"));
        }
        Ok(())
    }
}
