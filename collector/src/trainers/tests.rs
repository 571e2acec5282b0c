//! A small package, real environments, no network: its requirements are none, or a package that no index has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;

const MAIN: &[u8] = b"import json, sys\n\
    print(json.dumps([sys.argv[1:], 'site' if sys.flags.no_user_site == 0 else 'alone']))\n\
    sys.exit(3)\n";

const SMALL: Package = Package {
    files: &[
        // Looked for in no index, because the file asks for none.
        File { path: "requirements-broken.txt", content: b"--no-index\ntinywatt-has-no-such-package==1\n" },
        File { path: "requirements-dev.txt", content: b"of no trainer\n" },
        File { path: "requirements-small.txt", content: b"# nothing\n" },
        File { path: "src/tinywatt_trainers/__init__.py", content: b"" },
        File { path: "src/tinywatt_trainers/__main__.py", content: MAIN },
        File { path: "src/tinywatt_trainers/broken/__init__.py", content: b"" },
        File { path: "src/tinywatt_trainers/small/__init__.py", content: b"" },
    ],
};

fn trainer(name: &str, root: &Path) -> Trainer {
    Trainer::find(SMALL, name, root).expect("it is in the package")
}

fn installed(trainer: &Trainer) -> (Result<Installed, InstallError>, Vec<String>) {
    let mut told = Vec::new();
    let result = install(trainer, None, &mut |line| told.push(line.to_owned()));
    (result, told)
}

#[test]
fn the_cache_is_where_the_xdg_rules_say() {
    let folder = |xdg: Option<&str>, home: Option<&str>| folder(xdg.map(OsString::from), home.map(OsString::from));
    assert_eq!(folder(Some("/c"), Some("/h")), Some("/c/tinywatt/trainers".into()));
    assert_eq!(folder(Some("relative"), Some("/h")), Some("/h/.cache/tinywatt/trainers".into()));
    assert_eq!(folder(None, None), None);
}

#[test]
fn an_unknown_trainer_is_refused_with_those_that_are_known() {
    let error = Trainer::find(SMALL, "mxnet", Path::new("/r")).expect_err("unknown").to_string();
    assert_eq!(error, "there is no trainer 'mxnet'; known: broken, small");
}

#[test]
fn a_trainer_is_installed_once_and_runs() {
    let root = TempDir::new().expect("temporary folder");
    let small = trainer("small", root.path());
    assert!(small.command(Path::new("/job.json")).is_none(), "not installed yet");
    let (result, told) = installed(&small);
    assert_eq!(result.expect("nothing to fetch"), Installed::Now);
    assert!(told[0].starts_with("making an environment for 'small' with Python 3."), "{told:?}");
    let (result, told) = installed(&small);
    assert_eq!((result.expect("there"), told), (Installed::Already, vec![]));
    let output = small.command(Path::new("/job.json")).expect("installed").output().expect("it starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[[\"small\", \"/job.json\"], \"alone\"]\n");
    assert_eq!(output.status.code(), Some(3));

    // What an interrupt leaves is no trainer, and is made again.
    fs::remove_file(small.folder().join(COMPLETE)).expect("it was complete");
    fs::write(small.folder().join("environment/half"), "").expect("writable");
    assert!(small.command(Path::new("/job.json")).is_none());
    assert_eq!(installed(&small).0.expect("made again"), Installed::Now);
    assert!(!small.folder().join("environment/half").exists());

    // An update of the machine's Python may take the interpreter away.
    fs::remove_file(small.folder().join("environment/bin/python")).expect("it is a link");
    assert!(small.python().is_none());
}

#[test]
fn two_installations_at_once_are_one() {
    let root = TempDir::new().expect("temporary folder");
    let small = trainer("small", root.path());
    let (say, said) = mpsc::channel();
    let results: Vec<_> = std::thread::scope(|scope| {
        let install = || {
            let say = say.clone();
            let mut tell = move |line: &str| say.send(line.to_owned()).expect("listened to");
            install(&trainer("small", root.path()), None, &mut tell).expect("nothing to fetch")
        };
        let threads = [scope.spawn(install), scope.spawn(install)];
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    drop(say);
    let made = said.into_iter().filter(|line| line.starts_with("making an environment")).count();
    assert_eq!(made, 1);
    assert!(results.contains(&Installed::Already) && results.contains(&Installed::Now), "{results:?}");
    assert!(small.python().is_some());
}

#[test]
fn a_failing_pip_is_told_with_its_last_lines_and_leaves_no_trainer() {
    let root = TempDir::new().expect("temporary folder");
    let broken = trainer("broken", root.path());
    let (result, told) = installed(&broken);
    let text = result.expect_err("no such package").to_string();
    assert!(text.starts_with("`pip install` ended with exit status: 1; no network, "), "{text}");
    assert!(text.contains("tinywatt-has-no-such-package"), "{text}");
    assert!(told.iter().any(|line| line.contains("tinywatt-has-no-such-package")), "progress is told: {told:?}");
    assert!(broken.python().is_none());
}

#[test]
fn an_environment_of_the_users_is_taken_as_it_is() {
    let root = TempDir::new().expect("temporary folder");
    let small = trainer("small", root.path());
    let own = root.path().join("own-python");
    // Says of itself where it is, as interpreters do.
    let script = format!("#!/bin/sh\necho 3.12.1\necho {}\n", own.display());
    fs::write(&own, script).expect("writable");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).expect("permitted");
    install(&small, Some(&own), &mut |_| ()).expect("it answers as a Python does");
    assert_eq!(small.python(), Some(own.clone()));
    assert_eq!(installed(&small).0.expect("there"), Installed::Already);
    fs::write(&own, "#!/bin/sh\necho 3.9.1\necho /usr/bin/python3.9\n").expect("writable");
    let text = install(&small, Some(&own), &mut |_| ()).expect_err("too old").to_string();
    assert!(text.contains("Python 3.11 to 3.13 is needed") && text.contains("own-python 3.9.1"), "{text}");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let root = TempDir::new().expect("temporary folder");
    fs::write(root.path().join("cache"), "a file in the way").expect("writable");
    let small = trainer("small", &root.path().join("cache/trainers"));
    let text = installed(&small).0.expect_err("in the way").to_string();
    assert!(text.contains("cache/trainers") && text.contains("has the disk room"), "{text}");
}
