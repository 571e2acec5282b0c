//! The order in which things are set up: whatever was done stays done when a later step fails, and is found the next time.

use super::{InitError, OPERATOR_FILE, Operator, Origin, Plan, WRITE_FILE};
use crate::influx::admin::{Bucket, Org, Right, Setup};
use crate::influx::client::Client;
use crate::influx::{InfluxError, Retention, Settings, Token, downsample};

/// Name of the first user, made where a server waits for its first set-up.
const USER: &str = "admin";

const PASSWORD_FILE: &str = "admin.password";
const READ_FILE: &str = "read.token";

/// Does what a plan asks for, one thing after the other.
pub(super) struct Work<'a> {
    pub(super) plan: &'a Plan,
    pub(super) settings: &'a Settings,
    pub(super) client: &'a Client,
    pub(super) tell: &'a mut dyn FnMut(&str),
    /// Things that were made or changed.
    pub(super) change_count: usize,
}

impl Work<'_> {
    pub(super) fn change(&mut self, words: &str) {
        self.change_count += 1;
        (self.tell)(words);
    }

    pub(super) fn keep(&mut self, words: &str) {
        (self.tell)(words);
    }

    /// First set-up. Secrets are in their files before the server knows them: an interruption loses none.
    pub(super) fn set_up(&mut self, operator: Option<Operator>) -> Result<Operator, InitError> {
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
    pub(super) fn fill(&mut self, is_fresh: bool) -> Result<(), InitError> {
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
