//! `collector trainer` as agents and people call it; nothing is fetched.

use std::process::{Command, Output};

use tempfile::TempDir;

fn trainer(cache: Option<&TempDir>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_collector"));
    command.arg("trainer").args(arguments).env_remove("HOME").env_remove("XDG_CACHE_HOME");
    if let Some(cache) = cache {
        command.env("XDG_CACHE_HOME", cache.path());
    }
    command.output().expect("the program starts")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn trainers_are_listed_and_are_not_installed_by_that() {
    let cache = TempDir::new().expect("temporary folder");
    let output = trainer(Some(&cache), &["list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.contains("keras") && text.contains("torch") && text.contains("not installed"), "{text}");
    assert_eq!(std::fs::read_dir(cache.path()).expect("there").count(), 0);
}

#[test]
fn a_trainer_that_is_not_installed_says_how_it_is() {
    let cache = TempDir::new().expect("temporary folder");
    let output = trainer(Some(&cache), &["run", "keras", "/job.json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let expected = "error: trainer 'keras' is not installed here; `collector trainer install keras` does it\n";
    assert_eq!(told(&output), expected);
}

#[test]
fn wrong_names_are_usage_errors_and_a_home_is_needed() {
    let cache = TempDir::new().expect("temporary folder");
    let output = trainer(Some(&cache), &["install", "mxnet"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(told(&output).contains("[possible values: keras, torch]"), "{output:?}");
    let output = trainer(None, &["list"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told(&output).contains("set HOME, or XDG_CACHE_HOME to a folder's full path"), "{output:?}");
}

#[test]
fn an_interpreter_that_is_none_is_named() {
    let cache = TempDir::new().expect("temporary folder");
    let output = trainer(Some(&cache), &["install", "keras", "--python", "/gone/bin/python"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told(&output).contains("/gone/bin/python does not start as a Python"), "{output:?}");
}

/// What an agent starts must become the trainer: its signals and its exit status.
#[test]
fn a_started_trainer_takes_the_place_of_the_program() {
    let cache = TempDir::new().expect("temporary folder");
    let python = cache.path().join("python");
    // Answers the questions of the installation; then, as a trainer, tells its own process and ends with its own status.
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -c ]; then echo 3.11.9; echo {}; else echo \"$$ $*\"; exit 7; fi\n",
        python.display()
    );
    std::fs::write(&python, script).expect("writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&python, mode).expect("permitted");
    let installed = trainer(Some(&cache), &["install", "torch", "--python", &python.display().to_string()]);
    assert_eq!(installed.status.code(), Some(0), "{installed:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_collector"));
    command.args(["trainer", "run", "torch", "/job.json"]).env("XDG_CACHE_HOME", cache.path());
    let child = command.stdout(std::process::Stdio::piped()).spawn().expect("the program starts");
    let id = child.id();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(7));
    let expected = format!("{id} -m tinywatt_trainers torch /job.json\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}
