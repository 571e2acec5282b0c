//! `collector influx init` on a real server: a first time, a second time, and with everything that can be in its way.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tinywatt_tests::influxd::{Influxd, Operator};
use tinywatt_tests::program;

const VARIABLE: &str = "TINYWATT_INFLUX_OPERATOR_TOKEN";

/// Runs `collector influx init`, with no settings but those given.
fn init(folder: &Path, arguments: &[&str]) -> Result<Output> {
    init_as(folder, arguments, None)
}

fn init_as(folder: &Path, arguments: &[&str], operator: Option<&str>) -> Result<Output> {
    let mut command = Command::new(program("collector"));
    command.args(["influx", "init", "--out"]).arg(folder).args(arguments).env_remove(VARIABLE);
    if let Some(operator) = operator {
        command.env(VARIABLE, operator);
    }
    Ok(command.output()?)
}

/// What a successful run said.
fn words(output: &Output) -> Result<String> {
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {words}", output.status);
    Ok(words)
}

/// It failed with this exit code and said all of these.
fn expect(output: &Output, code: i32, expected: &[&str]) -> Result<()> {
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "exit {:?} instead of {code}: {words}", output.status.code());
    for expected in expected {
        ensure!(words.contains(expected), "'{expected}' is not said:\n{words}");
    }
    Ok(())
}

fn secret(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    let mode = fs::metadata(&path).with_context(|| name.to_owned())?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "{name} has mode {mode:o}");
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// What a server has been given, as it lists it.
fn inventory(influxd: &Influxd) -> Result<[Value; 4]> {
    let list = |path| -> Result<Value> { Ok(serde_json::from_str(&influxd.api("GET", path, None)?.success()?)?) };
    Ok([
        list("/api/v2/orgs")?,
        list("/api/v2/buckets?limit=100")?,
        list("/api/v2/authorizations")?,
        list("/api/v2/tasks?limit=500")?,
    ])
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let entries = list.as_array().into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| Some(entry[key].as_str()?.to_owned())).collect();
    names.sort();
    names
}

#[test]
fn a_fresh_server_is_set_up_and_a_second_time_changes_nothing() -> Result<()> {
    let place = tempfile::tempdir()?;
    let Some(mut influxd) = Influxd::start(&place.path().join("server"))? else { return Ok(()) };
    let folder = place.path().join("files");
    let first = init(&folder, &["--url", &influxd.url()])?;
    let said = words(&first)?;
    assert!(said.contains("set up for the first time"), "{said}");
    let settings = folder.join("influx.toml");
    assert_eq!(String::from_utf8_lossy(&first.stdout).trim(), settings.display().to_string());
    let text = fs::read_to_string(&settings)?;
    for line in [
        format!("url = \"{}\"", influxd.url()),
        "org = \"tinywatt\"".to_owned(),
        "bucket = \"tinywatt\"".to_owned(),
        "samples_bucket = \"tinywatt-samples\"".to_owned(),
        "token_file = \"write.token\"".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }

    let (write, read) = (secret(&folder, "write.token")?, secret(&folder, "read.token")?);
    let (operator, password) = (secret(&folder, "operator.token")?, secret(&folder, "admin.password")?);
    for secret in [&operator, &write, &read, &password] {
        assert!(!said.contains(secret.as_str()) && !text.contains(secret.as_str()), "a secret is shown");
    }

    // Each token may do what it is for, on both buckets, and nothing else.
    influxd.set_operator(Operator { org: "tinywatt".to_owned(), token: operator });
    for bucket in ["tinywatt", "tinywatt-samples"] {
        let flux = format!("from(bucket: \"{bucket}\") |> range(start: 0)");
        let now = influxd.query("import \"array\" array.from(rows: [{now: string(v: int(v: now()))}])")?;
        let line = format!("a b=1 {}", now[0].select(&["now"])[0][0]);
        assert_eq!(influxd.write_as("tinywatt", &write, bucket, &line)?.status, 204);
        assert_eq!(influxd.write_as("tinywatt", &read, bucket, &line)?.status, 403);
        assert!(influxd.query_as("tinywatt", &read, &flux)?.success()?.contains(",b,a\r\n"), "{bucket}");
        assert_eq!(influxd.query_as("tinywatt", &write, &flux)?.status, 404);
    }
    let [orgs, buckets, authorizations, tasks] = inventory(&influxd)?;
    assert_eq!(names(&orgs["orgs"], "name"), ["tinywatt"]);
    let kept: BTreeMap<_, _> = buckets["buckets"]
        .as_array()
        .context("buckets")?
        .iter()
        .filter(|bucket| bucket["type"] == "user")
        .map(|bucket| (bucket["name"].as_str(), bucket["retentionRules"][0]["everySeconds"].as_u64()))
        .collect();
    assert_eq!(kept, [(Some("tinywatt"), Some(0)), (Some("tinywatt-samples"), Some(30 * 86_400))].into());
    let tokens = ["admin's Token", "tinywatt read (tinywatt: tinywatt, tinywatt-samples)"];
    let tokens = [tokens[0], tokens[1], "tinywatt write (tinywatt: tinywatt, tinywatt-samples)"];
    assert_eq!(names(&authorizations["authorizations"], "description"), tokens);
    assert_eq!(names(&tasks["tasks"], "name"), ["tinywatt-downsample"]);

    // The user's own keys are kept, too.
    let files = || -> Result<Vec<String>> {
        let names = ["influx.toml", "operator.token", "write.token", "read.token", "admin.password"];
        names.iter().map(|name| Ok(fs::read_to_string(folder.join(name))?)).collect()
    };
    fs::write(&settings, format!("{text}raw = true\n"))?;
    let (before, files_before) = (inventory(&influxd)?, files()?);
    let second = init(&folder, &[])?;
    assert!(words(&second)?.ends_with("nothing to do, everything is set up\n"), "{}", words(&second)?);
    assert_eq!(inventory(&influxd)?, before);
    assert_eq!(files()?, files_before);
    Ok(())
}

#[test]
fn a_server_that_is_set_up_is_added_to_by_its_operator_alone() -> Result<()> {
    let place = tempfile::tempdir()?;
    let Some(mut influxd) = Influxd::start(&place.path().join("server"))? else { return Ok(()) };
    let operator = influxd.setup()?;
    influxd.create_bucket("tinywatt-samples", 7 * 86_400)?;
    let before = inventory(&influxd)?;
    let folder = place.path().join("files");
    let url = influxd.url();
    let url = ["--url", &url];

    expect(&init(&folder, &url)?, 1, &["set up already", "--operator-token-file", VARIABLE, "influx auth create"])?;
    let wrong = init_as(&folder, &url, Some("wrong-token"))?;
    expect(&wrong, 1, &["does not know the token", VARIABLE, "influxd recovery auth create-operator"])?;
    assert!(!String::from_utf8_lossy(&wrong.stderr).contains("wrong-token"));
    expect(&init_as(&folder, &url, Some("two words"))?, 1, &[VARIABLE, "no token"])?;
    let file = place.path().join("operator");
    let named = ["--url", url[1], "--operator-token-file", &file.display().to_string()];
    expect(&init(&folder, &named)?, 1, &["failed to read the token", "operator"])?;
    assert!(!folder.exists(), "nothing is left of what failed");
    assert_eq!(inventory(&influxd)?, before);

    fs::write(&file, format!("{}\n", operator.token))?;
    let said = words(&init(&folder, &named)?)?;
    for line in [
        "organisation 'tinywatt' is there",
        "bucket 'tinywatt' is there, keeps for ever",
        "bucket 'tinywatt-samples' is there, keeps for 7 days",
        "task 'tinywatt-downsample' made",
    ] {
        assert!(said.contains(line), "'{line}' is not said:\n{said}");
    }
    assert!(!folder.join("operator.token").exists(), "somebody else's operator token is not copied");

    // What it made may not make more.
    let write = folder.join("write.token").display().to_string();
    expect(&init(&folder, &["--operator-token-file", &write])?, 1, &["write.token may not", "operator token"])?;

    let longer = words(&init_as(&folder, &["--samples-retention", "1day"], Some(&operator.token))?)?;
    assert!(longer.contains("'tinywatt-samples' keeps for 1 days now, and kept for 7 days before"), "{longer}");
    assert!(longer.contains("task 'tinywatt-downsample' brought up to date"), "{longer}");
    for (flag, retention) in
        [("--samples-retention", "1h"), ("--samples-retention", "forever"), ("--retention", "400d")]
    {
        let said = words(&init_as(&folder, &[flag, retention], Some(&operator.token))?)?;
        assert!(said.contains(" now, and kept "), "{said}");
    }
    let again =
        words(&init_as(&folder, &["--samples-retention", "0s", "--retention", "400d"], Some(&operator.token))?)?;
    assert!(again.contains("nothing to do"), "{again}");

    // The folder is of this server and of these names.
    let other = init_as(&folder, &["--org", "lab"], Some(&operator.token))?;
    expect(&other, 1, &["org = \"tinywatt\"", "\"lab\"", "--out"])?;
    let other = place.path().join("other");
    let lab = ["--url", url[1], "--org", "our \"lab\" & 2", "--bucket", "r ${x}\\", "--samples-bucket", "s=&ü"];
    let said = words(&init_as(&other, &lab, Some(&operator.token))?)?;
    assert!(said.contains("organisation 'our \"lab\" & 2' made"), "{said}");
    assert!(words(&init_as(&other, &[], Some(&operator.token))?)?.contains("nothing to do"));
    Ok(())
}

#[test]
fn what_was_lost_is_made_anew() -> Result<()> {
    let place = tempfile::tempdir()?;
    let Some(mut influxd) = Influxd::start(&place.path().join("server"))? else { return Ok(()) };
    let folder = place.path().join("files");
    words(&init(&folder, &["--url", &influxd.url()])?)?;
    let operator = secret(&folder, "operator.token")?;
    influxd.set_operator(Operator { org: "tinywatt".to_owned(), token: operator.clone() });
    let read = secret(&folder, "read.token")?;

    // A file: this server keeps hashes, so the secret is gone, and the token with it.
    fs::remove_file(folder.join("read.token"))?;
    let said = words(&init(&folder, &[])?)?;
    assert!(said.contains("token that may read made") && said.contains("of before"), "{said}");
    assert!(said.contains("write.token may write"), "{said}");
    assert_eq!(influxd.query_as("tinywatt", &read, "buckets()")?.status, 401, "the old one is removed");
    let [_, _, authorizations, _] = inventory(&influxd)?;
    assert_eq!(authorizations["authorizations"].as_array().map(Vec::len), Some(3));

    // A task that somebody changed.
    let [_, _, _, tasks] = inventory(&influxd)?;
    let path = format!("/api/v2/tasks/{}", tasks["tasks"][0]["id"].as_str().context("a task")?);
    let flux = "option task = {name: \"tinywatt-downsample\", every: 1h}\nbuckets()";
    let body = serde_json::json!({ "flux": flux, "status": "inactive" });
    influxd.api("PATCH", &path, Some(&body))?.success()?;
    let said = words(&init(&folder, &[])?)?;
    assert!(said.contains("brought up to date") && said.contains("is switched off, and stays so"), "{said}");
    assert_eq!(inventory(&influxd)?[3]["tasks"][0]["flux"], tasks["tasks"][0]["flux"]);

    // A bucket: its tokens are of no use for the new one.
    let [_, buckets, _, _] = inventory(&influxd)?;
    let buckets = buckets["buckets"].as_array().context("buckets")?;
    let samples = buckets.iter().find(|bucket| bucket["name"] == "tinywatt-samples").context("samples")?;
    let path = format!("/api/v2/buckets/{}", samples["id"].as_str().context("an id")?);
    influxd.api("DELETE", &path, None)?.success()?;
    let said = words(&init(&folder, &[])?)?;
    assert!(said.contains("bucket 'tinywatt-samples' made"), "{said}");
    assert!(said.contains("token that may write made") && said.contains("token that may read made"), "{said}");
    assert!(words(&init(&folder, &[])?)?.contains("nothing to do"));
    let [_, _, authorizations, _] = inventory(&influxd)?;
    assert_eq!(authorizations["authorizations"].as_array().map(Vec::len), Some(3));

    // The whole server: another one is set up with the operator token that there is.
    let Some(mut other) = Influxd::start(&place.path().join("other"))? else { return Ok(()) };
    let settings = fs::read_to_string(folder.join("influx.toml"))?.replace(&influxd.url(), &other.url());
    fs::write(folder.join("influx.toml"), settings)?;
    let said = words(&init(&folder, &[])?)?;
    assert!(said.contains("set up for the first time") && said.contains("token that may write made"), "{said}");
    assert_eq!(secret(&folder, "operator.token")?, operator);
    other.set_operator(Operator { org: "tinywatt".to_owned(), token: operator });
    assert_eq!(names(&inventory(&other)?[3]["tasks"], "name"), ["tinywatt-downsample"]);
    Ok(())
}

#[test]
fn a_secret_that_the_server_still_tells_is_used_again() -> Result<()> {
    let place = tempfile::tempdir()?;
    // As all servers before 2.8 keep them.
    let variables = [("INFLUXD_USE_HASHED_TOKENS", "false")];
    let Some(influxd) = Influxd::start_with(&place.path().join("server"), &variables)? else { return Ok(()) };
    let folder = place.path().join("files");
    words(&init(&folder, &["--url", &influxd.url()])?)?;
    let (write, read) = (secret(&folder, "write.token")?, secret(&folder, "read.token")?);
    fs::remove_file(folder.join("write.token"))?;
    fs::remove_file(folder.join("read.token"))?;
    let said = words(&init(&folder, &[])?)?;
    assert!(said.contains("token that may write found on the server"), "{said}");
    assert_eq!((secret(&folder, "write.token")?, secret(&folder, "read.token")?), (write, read));
    Ok(())
}

/// A server that gives one answer to everything, and tells what it was asked for.
fn answering(head: &str, body: &str) -> Result<(String, mpsc::Receiver<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = (&stream).write_all(answer.as_bytes());
            if tell.send(request).is_err() {
                return;
            }
        }
    });
    Ok((address, told))
}

#[test]
fn what_is_not_influxdb_2_is_told_with_what_it_seems_to_be() -> Result<()> {
    let place = tempfile::tempdir()?;
    let folder = place.path();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let nobody = format!("http://{}", listener.local_addr()?);
    drop(listener);
    expect(&init(folder, &["--url", &nobody])?, 1, &["no answer from http://127.0.0.1:", "--url", "refused"])?;

    let of_1_8 = r#"{"message":"ready","name":"influxdb","status":"pass","version":"1.8.10"}"#;
    let in_trouble = r#"{"name":"influxdb","status":"fail","message":"the disk is full"}"#;
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "HTTP/1.1 404 Not Found\r\nX-Influxdb-Version: 1.6.7~rc0",
            "404 page not found",
            &["not InfluxDB 2", "InfluxDB 1.6.7~rc0 by its own word", "2.x", "--url"],
        ),
        (
            "HTTP/1.1 200 OK\r\nX-Influxdb-Version: 1.8.10",
            of_1_8,
            &["not InfluxDB 2", "InfluxDB 1.8.10 by its own word"],
        ),
        ("HTTP/1.1 200 OK", "OK", &["not InfluxDB 2", "its /health answers 200"]),
        ("HTTP/1.1 503 Service Unavailable", in_trouble, &["is not ready (the disk is full)", "try again"]),
        (
            "HTTP/1.1 301 Moved Permanently\r\nLocation: https://127.0.0.1/x",
            "",
            &["not InfluxDB 2", "its /health answers 301: it leads to https://127.0.0.1/x"],
        ),
        ("SSH-2.0-OpenSSH_9.2", "", &["no answer from"]),
    ];
    for (head, body, expected) in cases {
        let (address, _told) = answering(head, body)?;
        expect(&init(folder, &["--url", &format!("http://{address}")])?, 1, expected)?;
    }
    assert_eq!(fs::read_dir(folder)?.count(), 0, "nothing is left of what failed");

    // The path before InfluxDB's own.
    let (address, told) = answering("HTTP/1.1 404 Not Found", "")?;
    init(folder, &["--url", &format!("http://{address}/influx/")])?;
    assert_eq!(told.recv()?, "GET /influx/health HTTP/1.1");

    for (flag, value, expected) in [
        ("--url", "ftp://127.0.0.1", "http://"),
        ("--url", "127.0.0.1:8086", "http://"),
        ("--samples-retention", "5m", "an hour at least"),
        ("--bucket", "_internal", "underscore"),
    ] {
        expect(&init(folder, &[flag, value])?, 2, &[expected])?;
    }
    Ok(())
}
