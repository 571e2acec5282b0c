//! A real InfluxDB 2 server of a test's own: found, started on a free port, asked, killed.
//!
//! Taken is what `TINYWATT_INFLUXD` names, else an `influxd` 2.x on PATH, else what `tests/influxd/build` has left in the
//! user's cache. Without any a test skips and says so, or fails where `TINYWATT_INFLUXD_REQUIRED` is 1, as it is in CI.

mod answer;
mod api;

use std::env;
use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use self::answer::{Column, Table};
pub use self::api::{Answer, SAMPLES_BUCKET};
use crate::{Process, wait_for};

/// It is ready 0.2 s after its start on an idle machine; a restart after a kill reads its write-ahead log first.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A free port may be taken by somebody else before the server has it; five in a row are not.
const PORT_COUNT_MAX: usize = 5;

/// A running server. Killed when dropped.
pub struct Influxd {
    /// The process.
    pub process: Process,
    program: PathBuf,
    folder: PathBuf,
    variables: Vec<(&'static str, &'static str)>,
    port: u16,
    client: ureq::Agent,
    operator: Option<Operator>,
}

/// Who may do everything, once the server has been set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Name of the organisation.
    pub org: String,
    /// The operator token.
    pub token: String,
}

impl Influxd {
    /// Starts a server on a free port of the loopback address; `folder` takes its data. `None`, said aloud, when there is no
    /// server to be had.
    ///
    /// # Errors
    /// When it does not start, or there is none and `TINYWATT_INFLUXD_REQUIRED` is 1.
    pub fn start(folder: &Path) -> Result<Option<Self>> {
        Self::start_with(folder, &[])
    }

    /// The same, with settings by variables of the environment: `INFLUXD_` and a flag's name.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(folder: &Path, variables: &[(&'static str, &'static str)]) -> Result<Option<Self>> {
        let Some(program) = program()? else { return Ok(None) };
        Self::start_program(program, folder, variables).map(Some)
    }

    /// The same, with a program that takes a server's arguments and becomes one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_program(program: PathBuf, folder: &Path, variables: &[(&'static str, &'static str)]) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut last = String::new();
        for _ in 0..PORT_COUNT_MAX {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut process = spawn(&program, folder, variables, port)?;
            if wait_until_ready(&mut process, port)? {
                let client = api::client();
                let (folder, variables) = (folder.to_owned(), variables.to_vec());
                return Ok(Self { process, program, folder, variables, port, client, operator: None });
            }
            last = process.words();
        }
        bail!("{} does not start:\n{last}", program.display())
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// The same server again, on the same port and folder; killed first if it is still there.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.process = spawn(&self.program, &self.folder, &self.variables, self.port)?;
        if !wait_until_ready(&mut self.process, self.port)? {
            bail!("{} does not come back:\n{}", self.program.display(), self.process.words());
        }
        Ok(())
    }
}

/// The server to test against; `None`, said aloud, when there is none to be had.
///
/// # Errors
/// When there is none and `TINYWATT_INFLUXD_REQUIRED` is 1.
pub fn program() -> Result<Option<PathBuf>> {
    if let Some(program) = find()? {
        return Ok(Some(program));
    }
    if env::var_os("TINYWATT_INFLUXD_REQUIRED").is_some_and(|value| value == "1") {
        bail!("no InfluxDB 2 server, and TINYWATT_INFLUXD_REQUIRED is set: tests/influxd/build builds one");
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not `eprintln!`, which the test runner swallows when the test passes.
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!(
            "skipped: {test} needs an InfluxDB 2 server: tests/influxd/build builds one, TINYWATT_INFLUXD names one\n"
        ),
    );
    Ok(None)
}

/// The server, in the order that this module's first lines tell.
fn find() -> Result<Option<PathBuf>> {
    if let Some(named) = env::var_os("TINYWATT_INFLUXD").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(Some(named))
        } else {
            bail!("TINYWATT_INFLUXD names {}, which is not there", named.display())
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("influxd")).find(|program| program.is_file());
    if let Some(program) = on_path.filter(|program| is_version_2(program)) {
        return Ok(Some(program));
    }
    let built = cache(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME"))
        .map(|cache| cache.join(format!("tinywatt/influxd-{}/influxd", pinned_version())));
    Ok(built.filter(|program| program.is_file()))
}

/// `InfluxDB v2.7.12 (git: ...)`, or `dev` when somebody built it without saying what it is.
fn is_version_2(program: &Path) -> bool {
    let said = Command::new(program).arg("version").output().map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    ["InfluxDB v2.", "InfluxDB 2.", "InfluxDB dev"].iter().any(|words| said.starts_with(words))
}

/// The version that `tests/influxd/build` builds.
fn pinned_version() -> &'static str {
    include_str!("../influxd/go.mod")
        .lines()
        .find_map(|line| line.trim().strip_prefix("github.com/influxdata/influxdb/v2 v"))
        .expect("go.mod pins the server")
}

/// As the XDG base directory specification says: a relative path there is void.
fn cache(xdg_cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(xdg_cache_home).or_else(|| Some(absolute(home)?.join(".cache")))
}

fn spawn(program: &Path, folder: &Path, variables: &[(&str, &str)], port: u16) -> Result<Process> {
    let mut command = Command::new(program);
    command.envs(variables.iter().copied());
    command.args(["--reporting-disabled", "--ui-disabled", "--http-bind-address"]).arg(format!("127.0.0.1:{port}"));
    for (flag, file) in [("--engine-path", "engine"), ("--bolt-path", "bolt"), ("--sqlite-path", "sqlite")] {
        command.arg(flag).arg(folder.join(file));
    }
    Process::start(&mut command)
}

/// Whether it answers; not when it has ended instead, as it does when somebody else has the port.
fn wait_until_ready(process: &mut Process, port: u16) -> Result<bool> {
    let client = api::client();
    let health = format!("http://127.0.0.1:{port}/health");
    wait_for("an answer of influxd", READY_WITHIN, || {
        if process.exit_code().is_some() {
            return Some(false);
        }
        let answer = client.get(&health).call().ok()?;
        (answer.status() == 200).then_some(true)
    })
    .with_context(|| process.words())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_where_the_xdg_rules_say() {
        let cache = |xdg: Option<&str>, home: Option<&str>| cache(xdg.map(OsString::from), home.map(OsString::from));
        assert_eq!(cache(Some("/x"), Some("/h")), Some("/x".into()));
        assert_eq!(cache(Some("relative"), Some("/h")), Some("/h/.cache".into()));
        assert_eq!(cache(None, None), None);
    }

    #[test]
    fn what_is_acknowledged_is_there_after_a_kill() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let Some(mut influxd) = Influxd::start(folder.path())? else { return Ok(()) };
        let operator = influxd.setup()?;
        assert_eq!(influxd.operator()?, &operator);
        influxd.write("tinywatt", "power,node=a\\ b watts=0.1,note=\"x,\n\\\"y\\\"\" 1700000000000000001")?;
        influxd.restart()?;
        let tables = influxd.query("from(bucket: \"tinywatt\") |> range(start: 0)")?;
        let rows: Vec<Vec<&str>> =
            tables.iter().flat_map(|table| table.select(&["_time", "node", "_field", "_value"])).collect();
        let time = "2023-11-14T22:13:20.000000001Z";
        assert_eq!(rows, [[time, "a b", "note", "x,\n\"y\""], [time, "a b", "watts", "0.1"]]);
        assert_eq!(tables[1].columns[tables[1].index("_value").expect("there")].datatype, "double");

        let error = influxd.query("from(bucket: \"tinywatt\") |> rang(start: 0)").expect_err("no such function");
        assert!(format!("{error:#}").contains("undefined identifier rang"), "{error:#}");
        let error = influxd.query("from(bucket: \"nowhere\") |> range(start: 0)").expect_err("no such bucket");
        assert!(format!("{error:#}").contains("nowhere"), "{error:#}");
        influxd.kill()?;
        assert!(influxd.query("buckets()").is_err(), "nobody is there");
        Ok(())
    }
}
