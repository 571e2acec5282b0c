//! `collector serve`: keeps, decides, tells, until it is interrupted.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::influx::Token;
use crate::schedule;
use crate::schedule::driver::assess_from;
use crate::server::{Config, Server};
use crate::sink::SinkConfig;

/// Arguments of `collector serve`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7400", value_parser = listen_address)]
    listen: SocketAddr,

    /// Folder that keeps everything [default: tinywatt in $XDG_DATA_HOME, or ~/.local/share/tinywatt]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,

    /// Write everything to the InfluxDB 2 of this file, which `collector influx init` writes
    #[arg(long, value_name = "FILE")]
    influx: Option<PathBuf>,

    /// Token that may write, instead of the file's `token_file`
    #[arg(long, env = "TINYWATT_INFLUX_TOKEN", hide = true, hide_env_values = true)]
    influx_token: Option<String>,

    // Read here, because only the parsing of arguments looks at the environment.
    #[arg(long, env = "XDG_DATA_HOME", hide = true)]
    xdg_data_home: Option<OsString>,

    #[arg(long, env = "HOME", hide = true)]
    home: Option<OsString>,
}

/// Serves until SIGINT or SIGTERM, then stops cleanly.
///
/// # Errors
/// When the collector cannot start or go on; each error says what to do.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { listen, data, influx, influx_token, xdg_data_home, home } = arguments;
    let data = data_folder(data, xdg_data_home, home)
        .context("there is no home folder to keep the data in: name a folder with --data")?;
    if !listen.ip().is_loopback() {
        eprintln!(
            "warning: listening on {listen}, beyond this machine: there is no authentication yet, whoever reaches the \
             port can start runs; use a loopback address and a tunnel where that matters"
        );
    }
    // Before the address is told: who reads it may send a signal at once.
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for SIGTERM")?;
    let given = influx_token.filter(|token| !token.is_empty()).map(|token| Token::new(&token)).transpose();
    let given = given.context("TINYWATT_INFLUX_TOKEN cannot be used")?;
    let sink = influx.map(|file| SinkConfig::read(&file, given)).transpose()?;
    let config = Config { listen, data, schedule: schedule::Config::default(), sink };
    let server = Server::start(&config, assess_from).await?;
    // A reader that has left does not need the address.
    let _ = writeln!(std::io::stdout(), "listening on {}", server.address());
    tracing::info!(address = %server.address(), data = %config.data.display(), "collector ready");
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("collector stopping");
    };
    server.serve(shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

/// Names are not looked up: one may have several addresses, and a listener beyond this machine is to be meant.
fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an IP address and a port, like 127.0.0.1:7400")
}

/// Where the data is kept: as told, or as the XDG base directory specification says (a relative path there is void).
fn data_folder(data: Option<PathBuf>, xdg_data_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let xdg = xdg_data_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.map(PathBuf::from).filter(|path| path.is_absolute());
    data.or_else(|| xdg.or_else(|| Some(home?.join(".local/share"))).map(|folder| folder.join("tinywatt")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_is_as_told_or_by_the_xdg_rules() {
        let folder = |data: Option<&str>, xdg: Option<&str>, home: Option<&str>| {
            data_folder(data.map(PathBuf::from), xdg.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(folder(Some("here"), Some("/x"), Some("/h")), Some("here".into()));
        assert_eq!(folder(None, Some("/x"), Some("/h")), Some("/x/tinywatt".into()));
        assert_eq!(folder(None, Some("relative"), Some("/h")), Some("/h/.local/share/tinywatt".into()));
        assert_eq!(folder(None, Some(""), Some("/h")), Some("/h/.local/share/tinywatt".into()));
        assert_eq!(folder(None, None, None), None);
    }
}
