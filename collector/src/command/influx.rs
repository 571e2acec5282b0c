//! `collector influx`: setting an InfluxDB server up.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::output;
use crate::influx::{self, Folder, Operator, Origin, Plan, Retention, ServerUrl, Token};

/// Arguments of `collector influx`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make organisation, buckets, tokens and the downsampling task, and print the path of influx.toml
    ///
    /// Everything is looked up first, so that a second time changes nothing. A server that nobody has set up is set up, with
    /// a user 'admin'. Tokens go into files of the folder and are never printed: write.token for the collector, read.token
    /// for Grafana, and of a new server operator.token and admin.password.
    Init(Init),
}

#[derive(Debug, clap::Args)]
struct Init {
    /// Address of the server, with the path that a proxy puts before InfluxDB's own [default: that of the folder's
    /// influx.toml, or http://127.0.0.1:8086]
    #[arg(long, value_name = "URL")]
    url: Option<ServerUrl>,

    /// Organisation [default: that of the folder's influx.toml, or tinywatt]
    #[arg(long, value_name = "NAME", value_parser = name)]
    org: Option<String>,

    /// Bucket of results: all that is small [default: that of the folder's influx.toml, or tinywatt]
    #[arg(long, value_name = "NAME", value_parser = bucket_name)]
    bucket: Option<String>,

    /// Bucket of samples [default: that of the folder's influx.toml, or tinywatt-samples]
    #[arg(long, value_name = "NAME", value_parser = bucket_name)]
    samples_bucket: Option<String>,

    /// How long results are kept: 365days, or forever. A bucket that is there changes only if this is given [default of a
    /// new one: forever]
    #[arg(long, value_name = "DURATION")]
    retention: Option<Retention>,

    /// How long samples are kept. A bucket that is there changes only if this is given [default of a new one: 30days]
    #[arg(long, value_name = "DURATION")]
    samples_retention: Option<Retention>,

    /// File with an operator token, for a server that is set up already [default: what TINYWATT_INFLUX_OPERATOR_TOKEN holds,
    /// or operator.token in the folder]
    #[arg(long, value_name = "FILE")]
    operator_token_file: Option<PathBuf>,

    /// Folder that takes the files [default: tinywatt/influx in $XDG_CONFIG_HOME, or ~/.config/tinywatt/influx]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,

    // Read here, because only the parsing of arguments looks at the environment.
    #[arg(long, env = OPERATOR_VARIABLE, hide = true, hide_env_values = true)]
    operator_token: Option<Hidden>,

    #[arg(long, env = "XDG_CONFIG_HOME", hide = true)]
    xdg_config_home: Option<OsString>,

    #[arg(long, env = "HOME", hide = true)]
    home: Option<OsString>,
}

const OPERATOR_VARIABLE: &str = "TINYWATT_INFLUX_OPERATOR_TOKEN";

/// What may be a token. It is looked at later: a parser's complaint would show it.
#[derive(Clone)]
struct Hidden(OsString);

impl From<OsString> for Hidden {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Hidden")
    }
}

/// Runs `collector influx`. The path of `influx.toml` goes to standard output, words to standard error.
///
/// # Errors
/// When something cannot be set up; the message tells the way out.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Action::Init(arguments) = arguments.action;
    // Blocks on the network for as long as a server takes.
    tokio::task::spawn_blocking(move || init(arguments)).await.context("setting up stopped short")??;
    Ok(ExitCode::SUCCESS)
}

fn init(arguments: Init) -> anyhow::Result<()> {
    let Init { operator_token_file, operator_token, out, xdg_config_home, home, .. } = arguments;
    let folder = folder(out, xdg_config_home, home)
        .context("there is no home folder to put the files in: name a folder with --out")?;
    let folder = Folder::new(folder);
    let operator = match (operator_token_file, operator_token.filter(|token| !token.0.is_empty())) {
        (Some(path), _) => Some(Operator { token: Token::read(&path)?, origin: Origin::File(path) }),
        (None, Some(token)) => {
            let token = Token::new(token.0.to_str().unwrap_or_default()).context(OPERATOR_VARIABLE)?;
            Some(Operator { token, origin: Origin::Variable(OPERATOR_VARIABLE) })
        }
        (None, None) => None,
    };
    let plan = Plan {
        url: arguments.url,
        org: arguments.org,
        bucket: arguments.bucket,
        samples_bucket: arguments.samples_bucket,
        retention: arguments.retention,
        samples_retention: arguments.samples_retention,
        operator,
        folder: folder.clone(),
    };
    if influx::init(&plan, &mut |words| eprintln!("{words}"))? == 0 {
        eprintln!("nothing to do, everything is set up");
    }
    output::print(&format!("{}\n", folder.settings_path().display()))
}

/// Where the files go: as told, or as the XDG base directory specification says (a relative path there is void).
fn folder(out: Option<PathBuf>, xdg_config_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let xdg = xdg_config_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.map(PathBuf::from).filter(|path| path.is_absolute());
    out.or_else(|| xdg.or_else(|| Some(home?.join(".config"))).map(|folder| folder.join("tinywatt/influx")))
}

/// What InfluxDB takes for a name.
fn name(text: &str) -> Result<String, &'static str> {
    let is_name = !text.trim().is_empty() && !text.contains(|character: char| character.is_control());
    if is_name { Ok(text.to_owned()) } else { Err("expected a name: visible characters") }
}

/// What InfluxDB takes for a name of a bucket.
fn bucket_name(text: &str) -> Result<String, &'static str> {
    if text.starts_with('_') || text.contains('"') {
        return Err("names of buckets begin with no underscore and have no quotation marks");
    }
    name(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_as_told_or_by_the_xdg_rules() {
        let folder = |out: Option<&str>, xdg: Option<&str>, home: Option<&str>| {
            folder(out.map(PathBuf::from), xdg.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(folder(Some("here"), Some("/x"), Some("/h")), Some("here".into()));
        assert_eq!(folder(None, Some("/x"), Some("/h")), Some("/x/tinywatt/influx".into()));
        assert_eq!(folder(None, Some("relative"), Some("/h")), Some("/h/.config/tinywatt/influx".into()));
        assert_eq!(folder(None, None, None), None);
    }

    #[test]
    fn names_are_what_influxdb_takes() {
        assert_eq!(bucket_name("a b-ü"), Ok("a b-ü".to_owned()));
        assert_eq!(name("\"lab\""), Ok("\"lab\"".to_owned()));
        for text in ["", " ", "_a", "a\"b", "a\nb"] {
            assert!(bucket_name(text).is_err(), "{text:?}");
        }
    }
}
