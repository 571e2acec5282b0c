//! `collector dataset` as a user meets it: exit codes, messages and output. Nothing beyond this machine is asked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use tempfile::TempDir;

fn dataset(cache: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_collector"));
    command.arg("dataset").args(arguments).env("XDG_CACHE_HOME", cache.path());
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn data_sets_are_listed_on_standard_output() {
    let cache = TempDir::new().expect("temporary folder");
    let output = dataset(&cache, &["list"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    for word in ["digits", "cifar10", "svhn", "kws", "file", "built in", "to fetch, 247 MB", "non-commercial use only"]
    {
        assert!(text(&output.stdout).contains(word), "{word} is not in {}", text(&output.stdout));
    }
}

#[test]
fn the_digits_are_checked_without_a_file() {
    let cache = TempDir::new().expect("temporary folder");
    let output = dataset(&cache, &["check", "digits"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).matches("sha256 ").count(), 3, "{}", text(&output.stdout));
}

#[test]
fn what_is_not_there_is_told_with_the_way_out() {
    let cache = TempDir::new().expect("temporary folder");
    for (arguments, code, expected) in [
        (&["check", "svhn"][..], 1, "fetch it with `collector dataset fetch svhn`, or name its folder with --path"),
        (&["check", "kws"], 1, "'kws' is not fetched: name its folder or file with --path"),
        (&["check", "cifar10", "--path", "/gone"], 1, "error: /gone/data_batch_1.bin cannot be read"),
        (&["fetch", "file"], 1, "error: the data set 'file' is not fetched: name its folder or file with a path"),
        (&["fetch", "mnist"], 2, "[possible values: digits, cifar10, svhn, kws, file]"),
        (&[], 2, "Usage: collector dataset <COMMAND>"),
    ] {
        let output = dataset(&cache, arguments);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), ""), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_fetch_that_is_refused_leaves_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mirror = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a client");
        let request: Vec<String> = BufReader::new(connection.try_clone().expect("a socket"))
            .lines()
            .map(|line| line.expect("UTF-8"))
            .take_while(|line| !line.is_empty())
            .collect();
        connection
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .expect("open");
        request[0].clone()
    });
    let cache = TempDir::new().expect("temporary folder");
    let output = dataset(&cache, &["fetch", "svhn", "--mirror", &mirror]);
    assert_eq!(server.join().expect("no panic"), "GET /train_32x32.mat HTTP/1.1");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(text(&output.stderr).contains("train_32x32.mat answers with status 404"), "{}", text(&output.stderr));
    let folder = cache.path().join("tinywatt/datasets/svhn");
    assert!(!folder.join("train_32x32.mat").exists() && !folder.join("train_32x32.mat.part").exists());
}
