//! Real processes over loopback, for whole-system tests: a collector, agents, and the command line as a user types it.

pub mod dashboards;
pub mod influxd;
pub mod load;
pub mod proxy;
pub mod seed;
pub mod series;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

/// Path of one of our programs, built beside the running test.
///
/// # Panics
/// When it was not built: `cargo build --workspace` first, as `tests/run` does.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/TEST");
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// The folder of larger real inputs; `None`, said aloud, when it is not there.
pub fn shared_data(test: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if folder.is_dir() {
        return folder.canonicalize().ok();
    }
    // Not `eprintln!`, which the test runner swallows when the test passes.
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("skipped: {test} needs ../shared/data beside the checkout\n"),
    );
    None
}

/// Writes an experiment of two models that the project ships, each on the node `bench`, into `folder` beside them, and gives
/// its path. `attempts_max` tries a trial: a shared machine may hold a sampler up.
///
/// # Errors
/// When a file cannot be written.
pub fn digits_experiment(folder: &Path, replicates: u32, attempts_max: u32) -> Result<String> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/data/digits");
    for model in ["cnn-float32.tflite", "cnn-full-integer.tflite"] {
        std::fs::copy(models.join(model), folder.join(model))?;
    }
    let experiment = format!(
        r#"
        name = "digits"
        seed = 3
        replicates = {replicates}
        nodes = ["bench"]
        attempts_max = {attempts_max}
        [dataset]
        name = "digits"
        [windows]
        idle = "600ms"
        active = "2s"
        warm_up = 20
        cool_down = "200ms"
        [[model]]
        name = "float32"
        file = "cnn-float32.tflite"
        [[model]]
        name = "int8"
        file = "cnn-full-integer.tflite"
        "#
    );
    let file = folder.join("experiment.toml");
    std::fs::write(&file, experiment)?;
    Ok(file.to_string_lossy().into_owned())
}

/// Waits until `state` gives something.
///
/// # Errors
/// When it has given nothing for as long as `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut state: impl FnMut() -> Option<T>) -> Result<T> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let mut left = limit;
    loop {
        if let Some(value) = state() {
            return Ok(value);
        }
        left = left.checked_sub(LOOK_EVERY).ok_or_else(|| anyhow!("{what} did not happen within {limit:?}"))?;
        thread::sleep(LOOK_EVERY);
    }
}

/// A running program whose words are kept. Killed when dropped.
pub struct Process {
    child: Child,
    words: Arc<Mutex<String>>,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{command:?} does not start"))?;
        let words = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().context("piped")?;
        let stderr = child.stderr.take().context("piped")?;
        keep(stdout, Arc::clone(&words));
        keep(stderr, Arc::clone(&words));
        Ok(Self { child, words })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything the program has said.
    pub fn words(&self) -> String {
        self.words.lock().expect("no panic while it is held").clone()
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal by name: "STOP", "CONT".
    ///
    /// # Errors
    /// When there is nobody to send it to.
    pub fn signal(&self, name: &str) -> Result<()> {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status()?;
        if sent.success() { Ok(()) } else { bail!("the signal {name} was not sent: {sent}") }
    }

    /// Exit code, when the program has ended.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.try_wait().ok().flatten().map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
        if thread::panicking() {
            eprintln!("--- words of process {}:\n{}", self.child.id(), self.words());
        }
    }
}

fn keep(stream: impl Read + Send + 'static, words: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut words = words.lock().expect("no panic while it is held");
            words.push_str(&line);
            words.push('\n');
        }
    });
}

/// A collector on a port and a folder of its own.
pub struct Collector {
    /// The process.
    pub process: Process,
    /// Where it listens: `127.0.0.1:PORT`.
    pub address: String,
    folder: PathBuf,
    further: Vec<String>,
}

impl Collector {
    /// Starts a collector on a free port.
    ///
    /// # Errors
    /// When it does not listen within a while.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &[])
    }

    /// Starts a collector on a free port, with further arguments.
    ///
    /// # Errors
    /// When it does not listen within a while.
    pub fn start_with(folder: &Path, further: &[&str]) -> Result<Self> {
        let further: Vec<String> = further.iter().map(|argument| (*argument).to_owned()).collect();
        Self::start_at(folder, "127.0.0.1:0", &further)
    }

    fn start_at(folder: &Path, address: &str, further: &[String]) -> Result<Self> {
        let mut command = Command::new(program("collector"));
        command.args(["serve", "--listen", address, "--data"]).arg(folder).args(further);
        let process = Process::start(&mut command)?;
        let address = wait_for("listening", Duration::from_secs(20), || {
            let words = process.words();
            let line = words.lines().find_map(|line| line.strip_prefix("listening on "))?;
            Some(line.trim().to_owned())
        })
        .with_context(|| process.words())?;
        Ok(Self { process, address, folder: folder.to_owned(), further: further.to_vec() })
    }

    /// `kill -9`, then the same collector again: same folder, same address.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        *self = Self::start_at(&self.folder.clone(), &self.address.clone(), &self.further.clone())?;
        Ok(())
    }

    /// Runs `collector ARGUMENTS --collector http://ADDRESS` to its end.
    ///
    /// # Errors
    /// When it does not start.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        let url = format!("http://{}", self.address);
        Ok(Command::new(program("collector")).args(arguments).args(["--collector", &url]).output()?)
    }

    /// Starts `collector ARGUMENTS --collector http://ADDRESS` beside the test.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_command(&self, arguments: &[&str]) -> Result<Process> {
        let url = format!("http://{}", self.address);
        Process::start(Command::new(program("collector")).args(arguments).args(["--collector", &url]))
    }

    /// Text of a successful command.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?;
        let words = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("collector {arguments:?}: {}\n{words}\n{}", output.status, String::from_utf8_lossy(&output.stdout));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The JSON report of the newest run.
    ///
    /// # Errors
    /// When there is none.
    pub fn report(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.text(&["report", "latest", "--format", "json"])?)?)
    }

    /// Waits until a node is connected.
    ///
    /// # Errors
    /// When it is not within a while.
    pub fn wait_for_node(&self, node: &str) -> Result<()> {
        wait_for("the node connects", Duration::from_secs(20), || {
            let nodes = self.text(&["nodes"]).ok()?;
            nodes.lines().any(|line| line.contains(node) && !line.contains("away")).then_some(())
        })
    }
}

/// An agent with an emulated sensor.
pub struct Agent {
    /// The process.
    pub process: Process,
    config: PathBuf,
}

impl Agent {
    /// Starts an agent; `folder` takes its configuration and its state.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(folder: &Path, node: &str, collector: &str, seed: u64) -> Result<Self> {
        Self::start_configured(folder, node, collector, seed, "")
    }

    /// Starts an agent that also executes jobs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_for_jobs(folder: &Path, node: &str, collector: &str, seed: u64) -> Result<Self> {
        Self::start_configured(folder, node, collector, seed, "\n[jobs]\nenabled = true\n")
    }

    /// Starts an agent with more in its configuration than a name and an emulated sensor.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_configured(folder: &Path, node: &str, collector: &str, seed: u64, further: &str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let config = folder.join("agent.toml");
        let state = folder.join("state");
        let text = format!(
            "node = \"{node}\"\ncollector = \"http://{collector}\"\nstate_dir = \"{}\"\n\n\
             [[sensor]]\nname = \"rail\"\nsource = \"ina219-emulator\"\nseed = {seed}\n{further}",
            state.display()
        );
        std::fs::write(&config, text)?;
        Self::start_with(config)
    }

    fn start_with(config: PathBuf) -> Result<Self> {
        let process = Process::start(Command::new(program("agent")).args(["run", "--config"]).arg(&config))?;
        Ok(Self { process, config })
    }

    /// `kill -9`, then the same agent again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        *self = Self::start_with(self.config.clone())?;
        Ok(())
    }
}
