//! `deploy/up`, with a stand-in for Docker before a real InfluxDB: what it makes, and that a second time changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use tinywatt_tests::influxd::Influxd;
use tinywatt_tests::program;

/// Notes how it was called, and does what is asked by doing nothing: the server is there.
const DOCKER: &str = "#!/bin/sh\necho \"$*\" >>\"$(dirname \"$0\")/calls\"\n";

/// A copy of the folder, because `up` writes into it.
fn copy(place: &Path) -> Result<PathBuf> {
    let folder = place.join("deploy");
    fs::create_dir(&folder)?;
    for name in ["up", "compose.yaml"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name), folder.join(name))?;
    }
    Ok(folder)
}

fn up(folder: &Path, path: &str) -> Result<Output> {
    let mut command = Command::new(folder.join("up"));
    command.env("PATH", path).env("COLLECTOR", program("collector")).env_remove("TINYWATT_INFLUX_OPERATOR_TOKEN");
    Ok(command.output()?)
}

/// All files below a folder with their content and mode.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, (String, u32)>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.append(&mut self::files(&path)?);
        } else {
            let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
            files.insert(path.clone(), (fs::read_to_string(&path)?, mode));
        }
    }
    Ok(files)
}

#[test]
fn up_makes_secrets_once_and_sets_influxdb_up() -> Result<()> {
    let place = tempfile::tempdir()?;
    let Some(influxd) = Influxd::start(&place.path().join("server"))? else { return Ok(()) };
    let folder = copy(place.path())?;
    let docker = place.path().join("docker");
    fs::write(&docker, DOCKER)?;
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").context("PATH")?);
    let port = influxd.url().rsplit_once(':').context("a port")?.1.to_owned();
    fs::write(folder.join(".env"), format!("TINYWATT_INFLUX_PORT={port}\n"))?;

    let first = up(&folder, &path)?;
    let said = String::from_utf8_lossy(&first.stdout).into_owned() + &String::from_utf8_lossy(&first.stderr);
    assert!(first.status.success(), "{said}");
    let secrets = files(&folder.join("secrets"))?;
    let names = ["grafana-admin.password", "influx/admin.password", "influx/influx.toml", "influx/operator.token"];
    for name in names.into_iter().chain(["influx/read.token", "influx/write.token"]) {
        let (text, mode) = &secrets[&folder.join("secrets").join(name)];
        assert_eq!(*mode, 0o600, "{name}");
        assert!(text.trim().len() >= 32 && !said.contains(text.trim()), "{name}");
    }
    let settings = &secrets[&folder.join("secrets/influx/influx.toml")].0;
    assert!(settings.contains(&format!("url = \"{}\"", influxd.url())), "{settings}");
    let env = fs::read_to_string(folder.join(".env"))?;
    assert!(env.starts_with("TINYWATT_INFLUX_PORT=") && env.contains("\nTINYWATT_UID="), "{env}");
    let calls = || fs::read_to_string(place.path().join("calls"));
    let expected = "compose version\ncompose up --detach --wait influxdb\n";
    // What Grafana was given before is not what it is to have now.
    assert_eq!(calls()?, format!("{expected}compose up --detach --wait --force-recreate grafana\n"));

    fs::remove_file(place.path().join("calls"))?;
    let second = up(&folder, &path)?;
    assert!(String::from_utf8_lossy(&second.stderr).contains("nothing to do"), "{second:?}");
    assert_eq!(files(&folder.join("secrets"))?, secrets);
    assert_eq!(fs::read_to_string(folder.join(".env"))?, env);
    assert_eq!(calls()?, format!("{expected}compose up --detach --wait grafana\n"));
    Ok(())
}

#[test]
fn up_tells_what_is_missing() -> Result<()> {
    let place = tempfile::tempdir()?;
    let folder = copy(place.path())?;
    let tools = place.path().join("tools");
    fs::create_dir(&tools)?;
    for tool in ["bash", "dirname"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(tool), tools.join(tool))?;
    }
    let path = tools.display().to_string();
    let without = up(&folder, &path)?;
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("docker is missing; deploy/README.md"), "{without:?}");
    fs::write(tools.join("docker"), "#!/usr/bin/bash\nexit 1\n")?;
    fs::set_permissions(tools.join("docker"), fs::Permissions::from_mode(0o755))?;
    let without = up(&folder, &path)?;
    assert_eq!(without.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without.stderr).contains("no compose plugin"), "{without:?}");
    assert_eq!(files(&folder)?.len(), 2, "nothing was made");
    Ok(())
}
