//! What is asked of a server: each thing is found by its name, made, changed or removed.

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Method;

use super::client::{Client, InfluxError};
use super::url::encode;
use super::{Retention, Token};

/// An organisation.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Org {
    pub(super) id: String,
    name: String,
}

/// A bucket.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Bucket {
    pub(super) id: String,
    name: String,
    #[serde(rename = "retentionRules", default)]
    retention_rules: Vec<RetentionRule>,
}

#[derive(Debug, Clone, Deserialize)]
struct RetentionRule {
    #[serde(rename = "everySeconds", default)]
    every_seconds: u64,
}

impl Bucket {
    pub(super) fn retention(&self) -> Retention {
        Retention::from_seconds(self.retention_rules.first().map_or(0, |rule| rule.every_seconds))
    }
}

/// A token as the server lists it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Authorization {
    pub(super) id: String,
    /// Empty where the server keeps hashes only.
    #[serde(default)]
    pub(super) token: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    permissions: Vec<Permission>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Permission {
    action: String,
    resource: Resource,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Resource {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
}

/// What a token may do with its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Write,
}

impl Right {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl Authorization {
    /// Whether it allows this on each of these buckets, and nothing else.
    pub(super) fn allows_just(&self, right: Right, buckets: [&Bucket; 2]) -> bool {
        let is_wanted = |permission: &Permission| {
            permission.action == right.word()
                && permission.resource.kind == "buckets"
                && buckets.iter().any(|bucket| permission.resource.id.as_ref() == Some(&bucket.id))
        };
        let is_on = |bucket: &&Bucket| {
            self.permissions.iter().any(|permission| permission.resource.id.as_ref() == Some(&bucket.id))
        };
        self.status == "active" && self.permissions.iter().all(is_wanted) && buckets.iter().all(is_on)
    }
}

/// A task.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Task {
    pub(super) id: String,
    name: String,
    pub(super) flux: String,
    #[serde(default)]
    status: String,
}

impl Task {
    pub(super) fn is_active(&self) -> bool {
        self.status == "active"
    }
}

/// First set-up of a server that nobody has set up.
pub(super) struct Setup<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a Token,
    pub(super) token: &'a Token,
    pub(super) org: &'a str,
    pub(super) bucket: &'a str,
    pub(super) retention: Retention,
}

impl Client {
    /// Whether there is an InfluxDB 2 that is ready, and whether it waits for its first set-up.
    pub(super) fn is_fresh(&self) -> Result<bool, InfluxError> {
        #[derive(Deserialize)]
        struct Health {
            name: String,
            status: String,
            #[serde(default)]
            message: String,
            #[serde(default)]
            version: String,
        }
        #[derive(Deserialize)]
        struct Allowed {
            allowed: bool,
        }
        let other = |found| InfluxError::NotInfluxDb2 { url: self.url().clone(), found };
        let answer = self.answer("tell its health", Method::GET, "/health", None)?;
        let health = serde_json::from_str::<Health>(&answer.text).ok().filter(|health| health.name == "influxdb");
        let Some(health) = health else {
            let version = answer.version.as_ref().map(|version| format!("InfluxDB {version} by its own word, "));
            let mut found = format!("{}its /health answers {}", version.unwrap_or_default(), answer.status);
            if (300..400).contains(&answer.status) {
                found.push_str(&format!(": {}", answer.message()));
            }
            return Err(other(found));
        };
        if health.status != "pass" {
            let message = if health.message.is_empty() { health.status } else { health.message };
            return Err(InfluxError::NotReady { url: self.url().clone(), message });
        }
        let answer = self.answer("tell whether it is set up", Method::GET, "/api/v2/setup", None)?;
        match serde_json::from_str::<Allowed>(&answer.text) {
            Ok(setup) if answer.is_success() => Ok(setup.allowed),
            _ => Err(other(format!(
                "InfluxDB {} by its own word, its /api/v2/setup answers {}",
                health.version, answer.status
            ))),
        }
    }

    pub(super) fn set_up(&self, setup: &Setup<'_>) -> Result<(), InfluxError> {
        let body = json!({
            "username": setup.user,
            "password": setup.password.secret(),
            "token": setup.token.secret(),
            "org": setup.org,
            "bucket": setup.bucket,
            "retentionPeriodSeconds": setup.retention.seconds(),
        });
        self.request::<Value>("be set up", Method::POST, "/api/v2/setup", Some(&body)).map(drop)
    }

    pub(super) fn org(&self, name: &str) -> Result<Option<Org>, InfluxError> {
        #[derive(Deserialize)]
        struct Orgs {
            orgs: Vec<Org>,
        }
        let what = format!("find the organisation '{name}'");
        let path = format!("/api/v2/orgs?org={}", encode(name));
        let found: Option<Orgs> = none_if_404(self.request(&what, Method::GET, &path, None))?;
        Ok(found.and_then(|found| found.orgs.into_iter().find(|org| org.name == name)))
    }

    pub(super) fn make_org(&self, name: &str) -> Result<Org, InfluxError> {
        let what = format!("make the organisation '{name}'");
        self.request(&what, Method::POST, "/api/v2/orgs", Some(&json!({ "name": name })))
    }

    pub(super) fn bucket(&self, org: &Org, name: &str) -> Result<Option<Bucket>, InfluxError> {
        #[derive(Deserialize)]
        struct Buckets {
            buckets: Vec<Bucket>,
        }
        let what = format!("find the bucket '{name}'");
        let path = format!("/api/v2/buckets?orgID={}&name={}", encode(&org.id), encode(name));
        let found: Option<Buckets> = none_if_404(self.request(&what, Method::GET, &path, None))?;
        Ok(found.and_then(|found| found.buckets.into_iter().find(|bucket| bucket.name == name)))
    }

    pub(super) fn make_bucket(&self, org: &Org, name: &str, retention: Retention) -> Result<Bucket, InfluxError> {
        let rules = json!([{ "type": "expire", "everySeconds": retention.seconds() }]);
        let body = json!({ "orgID": org.id, "name": name, "retentionRules": rules });
        self.request(&format!("make the bucket '{name}'"), Method::POST, "/api/v2/buckets", Some(&body))
    }

    pub(super) fn change_retention(&self, bucket: &Bucket, retention: Retention) -> Result<Bucket, InfluxError> {
        let rules = json!([{
            "type": "expire",
            "everySeconds": retention.seconds(),
            "shardGroupDurationSeconds": retention.shard_seconds(),
        }]);
        let what = format!("change the retention of the bucket '{}'", bucket.name);
        let path = format!("/api/v2/buckets/{}", encode(&bucket.id));
        self.request(&what, Method::PATCH, &path, Some(&json!({ "retentionRules": rules })))
    }

    /// Whether this client's token is good for that, now.
    pub(super) fn may(&self, right: Right, org: &Org, bucket: &Bucket) -> Result<bool, InfluxError> {
        let (org, id) = (encode(&org.id), encode(&bucket.id));
        let answer = match right {
            Right::Read => self.answer("show a bucket", Method::GET, &format!("/api/v2/buckets/{id}"), None)?,
            // Nothing is written: there are no lines.
            Right::Write => {
                let path = format!("/api/v2/write?org={org}&bucket={id}");
                self.answer("take no lines", Method::POST, &path, None)?
            }
        };
        match answer.status {
            200..300 => Ok(true),
            401 | 403 | 404 => Ok(false),
            _ => Err(self.refusal("try a token", &answer)),
        }
    }

    pub(super) fn authorizations(&self, org: &Org, description: &str) -> Result<Vec<Authorization>, InfluxError> {
        #[derive(Deserialize)]
        struct Authorizations {
            authorizations: Vec<Authorization>,
        }
        let path = format!("/api/v2/authorizations?orgID={}", encode(&org.id));
        let found: Authorizations = self.request("list its tokens", Method::GET, &path, None)?;
        let is_asked = |authorization: &Authorization| authorization.description == description;
        Ok(found.authorizations.into_iter().filter(is_asked).collect())
    }

    pub(super) fn make_authorization(
        &self,
        org: &Org,
        description: &str,
        right: Right,
        buckets: [&Bucket; 2],
    ) -> Result<Authorization, InfluxError> {
        let permissions = buckets.map(|bucket| {
            let resource = json!({ "type": "buckets", "id": bucket.id, "orgID": org.id });
            json!({ "action": right.word(), "resource": resource })
        });
        let body = json!({ "orgID": org.id, "description": description, "permissions": permissions });
        let what = format!("make a token that may {}", right.word());
        self.request(&what, Method::POST, "/api/v2/authorizations", Some(&body))
    }

    pub(super) fn remove_authorization(&self, authorization: &Authorization) -> Result<(), InfluxError> {
        let path = format!("/api/v2/authorizations/{}", encode(&authorization.id));
        let what = format!("remove the token '{}'", authorization.description);
        self.request::<Value>(&what, Method::DELETE, &path, None).map(drop)
    }

    pub(super) fn task(&self, org: &Org, name: &str) -> Result<Option<Task>, InfluxError> {
        #[derive(Deserialize)]
        struct Tasks {
            tasks: Vec<Task>,
        }
        let path = format!("/api/v2/tasks?orgID={}&name={}", encode(&org.id), encode(name));
        let found: Tasks = self.request(&format!("find the task '{name}'"), Method::GET, &path, None)?;
        Ok(found.tasks.into_iter().find(|task| task.name == name))
    }

    pub(super) fn make_task(&self, org: &Org, name: &str, flux: &str) -> Result<Task, InfluxError> {
        let body = json!({ "orgID": org.id, "flux": flux });
        self.request(&format!("make the task '{name}'"), Method::POST, "/api/v2/tasks", Some(&body))
    }

    pub(super) fn change_task(&self, task: &Task, flux: &str) -> Result<Task, InfluxError> {
        let path = format!("/api/v2/tasks/{}", encode(&task.id));
        let what = format!("change the task '{}'", task.name);
        self.request(&what, Method::PATCH, &path, Some(&json!({ "flux": flux })))
    }
}

/// Who looks for a name that is not there gets an empty list or 404, by kind and version.
fn none_if_404<T>(found: Result<T, InfluxError>) -> Result<Option<T>, InfluxError> {
    match found {
        Err(InfluxError::Refused { status: 404, .. }) => Ok(None),
        found => found.map(Some),
    }
}
