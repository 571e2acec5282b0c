//! A small package, real environments, no network: its requirements are none, or a package that no index has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;

/// Works as long as the file stands that is named like its job with ".hold".
const MAIN: &[u8] = b"import json, pathlib, sys, time\n\
    while pathlib.Path(sys.argv[2] + '.hold').exists(): time.sleep(0.01)\n\
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
    let result = install(trainer, Wish::default(), &mut |line| told.push(line.to_owned()));
    (result, told)
}

/// Installed with the machine's own Python, which takes no time.
fn soon_installed(root: &Path) -> Trainer {
    let (small, python) = (trainer("small", root), python::find().expect("a Python"));
    install(&small, Wish { python: Some(&python.path), is_anew: false }, &mut |_| ()).expect("nothing to make");
    small
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
    let early = small.command(Path::new("/job.json")).expect_err("not installed yet").to_string();
    assert_eq!(early, "trainer 'small' is not installed here; `collector trainer install small` does it");
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
    assert!(matches!(small.command(Path::new("/job.json")), Err(StartError::NotInstalled { .. })));
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
            install(&trainer("small", root.path()), Wish::default(), &mut tell).expect("nothing to fetch")
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
fn an_environment_is_not_changed_under_a_job_that_runs_from_it() {
    let root = TempDir::new().expect("temporary folder");
    let (small, job) = (soon_installed(root.path()), root.path().join("job.json"));
    let (hold, marker) = (root.path().join("job.json.hold"), small.folder().join("first"));
    fs::write(&hold, "").expect("writable");
    fs::write(&marker, "").expect("writable");
    // The lock is the job's: what started it may be gone.
    let mut command = small.command(&job).expect("installed");
    let mut running = command.stdout(Stdio::null()).spawn().expect("it starts");
    drop(command);

    let mut told = Vec::new();
    let anew = Wish { python: None, is_anew: true };
    let mut try_for = |limit| install::install_within(&small, anew, limit, &mut |line| told.push(line.to_owned()));
    let error = try_for(Duration::from_millis(200)).expect_err("in use");
    assert!(matches!(error, InstallError::Lock(LockError::Busy { .. })), "{error:?}");
    assert!(error.to_string().contains("a job runs from the trainer"), "{error}");
    assert!(marker.exists() && running.try_wait().expect("a child").is_none(), "nothing was touched");
    let (result, said) = installed(&small);
    assert_eq!((result.expect("there"), said), (Installed::Already, vec![]), "who changes nothing does not wait");
    small.command(&job).expect("a second job runs beside the first");

    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| try_for(Duration::from_secs(60)));
        fs::remove_file(&hold).expect("there");
        assert_eq!(running.wait().expect("it ends").code(), Some(3));
        assert_eq!(waiting.join().expect("no panic").expect("made anew"), Installed::Now);
    });
    assert!(!marker.exists());
    assert_eq!(told[0], "'small' is in use by a job or an installation; waiting for it, at most 0 s");
}

/// A job would be measured while it waits: it fails instead, and is repeated.
#[test]
fn a_job_does_not_wait_long_for_an_installation() {
    let root = TempDir::new().expect("temporary folder");
    let small = soon_installed(root.path());
    let _installing = lock::alone(&small.lock_path(), Duration::ZERO, &mut || ()).expect("free");
    let error = small.command(Path::new("/job.json")).expect_err("held").to_string();
    assert!(error.contains(".lock was held for 5 s"), "{error}");
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
    install(&small, Wish { python: Some(&own), is_anew: false }, &mut |_| ()).expect("it answers as a Python does");
    assert_eq!(small.python(), Some(own.clone()));
    assert_eq!(installed(&small).0.expect("there"), Installed::Already);
    fs::write(&own, "#!/bin/sh\necho 3.9.1\necho /usr/bin/python3.9\n").expect("writable");
    let text =
        install(&small, Wish { python: Some(&own), is_anew: false }, &mut |_| ()).expect_err("too old").to_string();
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
