//! `agent exec -- CMD`: runs a command and says what it took. Words go to stderr; the command keeps stdin and stdout.

use std::ffi::OsString;
use std::io::{IsTerminal, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, bail};
use tinywatt_energy::EnergyError;
use tinywatt_proto::rail::Overlap;
use tinywatt_proto::sample::Flags;
use tinywatt_proto::time::{MonoNs, Window};
use tinywatt_proto::v1;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::channels::{self, Channel, kind_name};
use super::meter::{Meter, Metered};
use crate::clock::{Clock, Monotonic};
use crate::process::{self, Grouping};
use crate::sensor::SensorConfig;
use crate::sensor::load::LoadState;

/// Runs a command and prints the joules it took. Exits with the command's own exit code (128 + signal when a signal
/// ended it).
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ExecArgs {
    /// Meter with this sensor alone, instead of all; `emulated` needs neither hardware nor configuration, and its figures
    /// are simulated.
    #[arg(long, value_name = "NAME")]
    pub sensor: Option<String>,
    /// The command and its arguments, after `--`. A name without a slash is looked up beside this program first, as it is
    /// for the jobs of experiments, then in PATH.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Time between two looks at the rings; a ring holds 3 s.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);
/// A sensor that works gives its first reading within milliseconds; with averaging over 128 conversions after 0.15 s.
const FIRST_READING_TIMEOUT: Duration = Duration::from_secs(5);
/// Likewise for the reading that lies beyond the end of the command.
const LAST_READING_TIMEOUT: Duration = Duration::from_secs(5);

/// Exit codes of a shell for a command that cannot be run.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the command and passes its exit code on, 128 + signal if a signal ended it. `agent` is this program.
///
/// # Errors
/// When a sensor cannot be opened or gives nothing. An energy that cannot be told is said, and is no error: the
/// command's own result counts.
pub fn run(args: &ExecArgs, sensors: &[SensorConfig], agent: Option<&Path>) -> anyhow::Result<ExitCode> {
    let chosen = choose(args.sensor.as_deref(), sensors)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime that waits for the command")?;
    runtime.block_on(meter_command(args, agent, channels::open(&chosen)?))
}

fn choose(name: Option<&str>, sensors: &[SensorConfig]) -> anyhow::Result<Vec<SensorConfig>> {
    let Some(name) = name else { return Ok(sensors.to_vec()) };
    let chosen: Vec<_> = sensors.iter().filter(|sensor| sensor.name().as_str() == name).cloned().collect();
    if chosen.is_empty() {
        let names: Vec<&str> = sensors.iter().map(|sensor| sensor.name().as_str()).collect();
        bail!("no sensor is named '{name}'; configured are: {}", names.join(", "));
    }
    Ok(chosen)
}

async fn meter_command(args: &ExecArgs, agent: Option<&Path>, mut channels: Vec<Channel>) -> anyhow::Result<ExitCode> {
    let mut meters: Vec<Meter> = channels.iter().map(|channel| Meter::new(channel.description.clone())).collect();
    let start_by = Monotonic.now().after(FIRST_READING_TIMEOUT);
    drain_until(&mut channels, &mut meters, start_by, Meter::has_readings).await;
    if let Some(silent) = meters.iter().position(|meter| !meter.has_readings()) {
        let Channel { description, sampler, .. } = &channels[silent];
        let failures = sampler.counters().failure_count.load(std::sync::atomic::Ordering::Relaxed);
        bail!(
            "sensor '{}' gave no reading within {FIRST_READING_TIMEOUT:?} ({failures} looks failed); `agent check` tells more",
            description.name
        );
    }

    // Signals are caught before there is a child that they could miss.
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to catch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to catch SIGTERM")?;
    // Under `nohup` neither this process nor the command is to notice; catching would undo that for both.
    let is_ignored = ignores(rustix::process::Signal::HUP);
    let hang_up = (!is_ignored).then(|| signal(SignalKind::hangup())).transpose();
    let mut hang_up = hang_up.context("failed to catch SIGHUP")?;
    let (program, arguments) = args.command.split_first().context("no command was given")?;
    let start = Monotonic.now();
    for (channel, meter) in channels.iter().zip(&mut meters) {
        meter.start(start);
        set_load(channel, LoadState::Active, start);
    }
    let mut command = Command::new(process::find(program, agent));
    command.args(arguments);
    // In the group of this process, so that a terminal reaches both as if the command had been typed alone.
    let mut started = match process::start(command, Grouping::Shared, Monotonic).await {
        Ok(started) => started,
        Err(error) => {
            say(&format!("failed to run {}: {error}", program.display()));
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if is_missing { NOT_FOUND } else { NOT_EXECUTABLE }));
        }
    };
    let ended = loop {
        tokio::select! {
            ended = started.ended() => break ended.context("failed to wait for the command")?,
            // At a terminal Ctrl-C reaches the command too, which must not get it twice.
            _ = interrupt.recv() => if !std::io::stdin().is_terminal() {
                started.signal(rustix::process::Signal::INT);
            },
            _ = terminate.recv() => started.signal(rustix::process::Signal::TERM),
            // Of a terminal that was closed, or of a session that was left: the command is not to outlive its meter.
            Some(()) = received(&mut hang_up) => started.signal(rustix::process::Signal::HUP),
            () = tokio::time::sleep(DRAIN_INTERVAL) => drain(&mut channels, &mut meters),
        }
    };
    let end = ended.at;
    channels.iter().for_each(|channel| set_load(channel, LoadState::Idle, end));
    let end_by = end.after(LAST_READING_TIMEOUT);
    drain_until(&mut channels, &mut meters, end_by, |meter| meter.reaches(end)).await;

    for (channel, meter) in channels.iter().zip(meters) {
        let truth = channel.load.as_ref().and_then(|load| load.true_energy(Window::new(start, end).ok()?));
        let mut line = summary(&channel.description, meter.finish(end));
        if let Some(truth) = truth {
            line += &format!("; the emulated load really took {truth:.5}");
        }
        say(&line);
    }
    // Each figure is right by itself, and nothing is added up here; whoever reads them may.
    let descriptions: Vec<&v1::Channel> = channels.iter().map(|channel| &channel.description).collect();
    Overlap::among(&descriptions).iter().for_each(|overlap| say(&format!("do not add these figures: {overlap}")));
    Ok(ExitCode::from(exit_code(ended.status)))
}

/// Whether this process was started with a signal ignored, as by `nohup`.
fn ignores(signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored >> (signal.as_raw() - 1) & 1 == 1
}

/// Waits for a signal, for ever when it is not caught.
async fn received(caught: &mut Option<Signal>) -> Option<()> {
    match caught {
        Some(caught) => caught.recv().await,
        None => std::future::pending().await,
    }
}

/// A terminal that was closed takes no more words, which must not cost the command's exit code.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "agent exec: {line}");
}

fn set_load(channel: &Channel, state: LoadState, at: MonoNs) {
    if let Some(load) = &channel.load {
        load.set(state, at);
    }
}

fn drain(channels: &mut [Channel], meters: &mut [Meter]) {
    for (channel, meter) in channels.iter_mut().zip(meters) {
        channel.readings.drain(&mut |event| meter.take(event));
    }
}

/// Drains until every meter is satisfied, or until `deadline`.
async fn drain_until(
    channels: &mut [Channel],
    meters: &mut [Meter],
    deadline: MonoNs,
    is_satisfied: impl Fn(&Meter) -> bool,
) {
    loop {
        drain(channels, meters);
        if meters.iter().all(&is_satisfied) || Monotonic.now() >= deadline {
            return;
        }
        tokio::time::sleep(DRAIN_INTERVAL / 20).await;
    }
}

/// As a shell reports it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn summary(channel: &v1::Channel, metered: Result<Metered, EnergyError>) -> String {
    let kind = kind_name(channel);
    let name = format!("{} ({}, {kind})", channel.name, channel.source);
    let Metered { energy, lost_count, flags } = match metered {
        Ok(metered) => metered,
        Err(error) => return format!("{name}: no figure: {error}"),
    };
    let uncertainty = match energy.expanded_uncertainty() {
        Some(uncertainty) => format!("± {uncertainty:.2}"),
        None => "± unknown".to_owned(),
    };
    let mut line = format!(
        "{name}: {:.5} {uncertainty} in {:.3} s, mean {:.4}, {} samples, {lost_count} lost",
        energy.joules,
        energy.window.duration().as_secs_f64(),
        energy.power_mean(),
        energy.sample_count,
    );
    if flags.contains(Flags::CLIPPED) {
        line += "; CLIPPED: the current left the sensor's range, choose a larger `range`";
    }
    line + warning(channel.kind())
}

/// What a figure is that is not the command's.
fn warning(kind: v1::FigureKind) -> &'static str {
    match kind {
        v1::FigureKind::Simulated => "; SIMULATED: no real device was metered",
        v1::FigureKind::Estimated => "; ESTIMATED: by a model of the load, nothing was metered",
        v1::FigureKind::MeasuredElsewhere => {
            "; MEASURED ELSEWHERE: a recording was replayed; the command was not metered"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensors() -> Vec<SensorConfig> {
        vec![SensorConfig::emulator("rail".parse().expect("a name"), 1)]
    }

    fn exec(command: &[&str]) -> anyhow::Result<ExitCode> {
        let args = ExecArgs { sensor: None, command: command.iter().map(OsString::from).collect() };
        run(&args, &sensors(), None)
    }

    #[test]
    fn the_exit_code_is_the_commands_and_signals_are_passed_on() {
        assert_eq!(exec(&["sh", "-c", "exit 7"]).expect("metered"), ExitCode::from(7));
        assert_eq!(exec(&["sh", "-c", "kill -TERM $$"]).expect("metered"), ExitCode::from(128 + 15));
        // The command has its parent, which is this process, terminated; it gets the signal passed on.
        let script = "trap 'exit 9' TERM; kill -TERM $PPID; while :; do sleep 0.02; done";
        assert_eq!(exec(&["sh", "-c", script]).expect("metered"), ExitCode::from(9));
        let script = "kill -HUP $PPID; while :; do sleep 0.02; done";
        assert_eq!(exec(&["sh", "-c", script]).expect("metered"), ExitCode::from(128 + 1));
        assert_eq!(exec(&["/there/is/no/such/command"]).expect("said"), ExitCode::from(NOT_FOUND));
        assert_eq!(exec(&["/"]).expect("said"), ExitCode::from(NOT_EXECUTABLE));
    }

    #[test]
    fn a_simulated_figure_says_so() {
        let channel = channels::open(&sensors()).expect("opens").remove(0).description;
        let mut meter = Meter::new(channel.clone());
        for millisecond in 0..1_100 {
            let at = MonoNs(millisecond * 1_000_000);
            let reading = tinywatt_proto::sample::Reading { at, first: 4_000, second: 1_250, flags: Flags::NONE };
            meter.take(crate::sampler::Event::Reading(reading));
            if millisecond == 10 {
                meter.start(MonoNs(10_000_000));
            }
        }
        let line = summary(&channel, meter.finish(MonoNs(1_010_000_000)));
        for part in
            ["rail (ina219-emulator, simulated)", "2.0000 J ± ", "in 1.000 s", "mean 2.000 W", "0 lost", "SIMULATED"]
        {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn a_replayed_figure_says_that_the_command_was_not_metered() {
        let mut channel = channels::open(&sensors()).expect("opens").remove(0).description;
        channel.set_kind(v1::FigureKind::MeasuredElsewhere);
        let mut meter = Meter::new(channel.clone());
        meter.start(MonoNs(0));
        for millisecond in 0..20 {
            let at = MonoNs(millisecond * 1_000_000);
            let reading = tinywatt_proto::sample::Reading { at, first: 4_000, second: 1_250, flags: Flags::NONE };
            meter.take(crate::sampler::Event::Reading(reading));
        }
        let line = summary(&channel, meter.finish(MonoNs(10_000_000)));
        assert!(line.ends_with("MEASURED ELSEWHERE: a recording was replayed; the command was not metered"), "{line}");
    }

    #[test]
    fn an_unknown_sensor_is_answered_with_the_known_ones() {
        let error = choose(Some("gpu"), &sensors()).expect_err("not configured");
        assert_eq!(error.to_string(), "no sensor is named 'gpu'; configured are: rail");
    }
}
