//! `agent read`: what the sensors see now.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::units::{Amperes, Volts, Watts};
use tinywatt_proto::v1;

use super::channels::{self, Channel, kind_name};
use crate::clock::{Clock, Monotonic};
use crate::sampler::Event;
use crate::sensor::SensorConfig;

/// Shows the sensors live: means over the last second.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ReadArgs {
    /// Stop after this many seconds.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Show one second and stop.
    #[arg(long, conflicts_with = "count")]
    pub once: bool,
}

/// Time between two tables, over which values are averaged.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at the rings; a ring holds 3 s.
const DRAIN_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the command.
///
/// # Errors
/// When a sensor cannot be opened, or nothing can be written.
pub fn run(args: &ReadArgs, sensors: &[SensorConfig]) -> anyhow::Result<ExitCode> {
    let mut channels = channels::open(sensors)?;
    let count = if args.once { Some(1) } else { args.count };
    let mut output = std::io::stdout().lock();
    let is_live = output.is_terminal();
    let mut start = Monotonic.now();
    let mut shown = 0;
    while count.is_none_or(|count| shown < count) {
        let end = start.after(INTERVAL);
        let mut gauges = vec![Gauge::default(); channels.len()];
        while Monotonic.now() < end {
            Monotonic.sleep_until(end.min(Monotonic.now().after(DRAIN_INTERVAL)));
            for (channel, gauge) in channels.iter_mut().zip(&mut gauges) {
                gauge.fill(channel);
            }
        }
        let text = table(channels.iter().map(|channel| &channel.description).zip(&gauges));
        if is_live && shown > 0 {
            // Up over the table before, and clear to the end of the screen.
            write!(output, "\x1b[{}A\x1b[J", text.lines().count())?;
        }
        output.write_all(text.as_bytes())?;
        output.flush()?;
        shown += 1;
        if gauges.iter().all(|gauge| gauge.has_ended) {
            break;
        }
        // Readings of the time that printing took belong to the next second.
        start = end;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a channel gave in one interval.
#[derive(Debug, Clone, Copy, Default)]
struct Gauge {
    reading_count: u32,
    lost_count: u64,
    electric: Option<(Volts, Amperes)>,
    power: Watts,
    flags: Flags,
    has_ended: bool,
}

impl Gauge {
    fn fill(&mut self, channel: &mut Channel) {
        let Channel { readings, description, previous, .. } = channel;
        readings.drain(&mut |event| self.take(description, previous, event));
    }

    fn take(&mut self, channel: &v1::Channel, previous: &mut Option<Reading>, event: Event) {
        match event {
            Event::Reading(reading) => {
                self.add(channel, previous.as_ref(), &reading);
                *previous = Some(reading);
            }
            Event::Lost { count, .. } => self.lost_count += count,
            Event::Ended => self.has_ended = true,
        }
    }

    /// Adds to the sums; they are divided when shown.
    fn add(&mut self, channel: &v1::Channel, previous: Option<&Reading>, reading: &Reading) {
        let Some(shown) = channels::show(channel, previous, reading) else { return };
        self.reading_count += 1;
        self.power += shown.power;
        self.flags |= reading.flags;
        if let Some((volts, amperes)) = shown.electric {
            let (volts_sum, amperes_sum) = self.electric.unwrap_or_default();
            self.electric = Some((volts_sum + volts, amperes_sum + amperes));
        }
    }

    fn cells(&self, channel: &v1::Channel) -> Vec<String> {
        let count = f64::from(self.reading_count);
        let mean = |text: Option<String>| text.filter(|_| self.reading_count > 0).unwrap_or_else(|| "-".to_owned());
        vec![
            channel.name.clone(),
            channel.source.clone(),
            kind_name(channel).to_owned(),
            mean(self.electric.map(|(volts, _)| format!("{:.4}", volts / count))),
            mean(self.electric.map(|(_, amperes)| format!("{:.4}", amperes / count))),
            mean(Some(format!("{:.4}", self.power / count))),
            format!("{} /s", self.reading_count),
            self.lost_count.to_string(),
            flag_names(self.flags),
        ]
    }
}

const HEADER: [&str; 9] = ["channel", "source", "kind", "voltage", "current", "power", "rate", "lost", "flags"];

fn table<'a>(rows: impl Iterator<Item = (&'a v1::Channel, &'a Gauge)>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(HEADER);
    for (channel, gauge) in rows {
        table.add_row(gauge.cells(channel));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn flag_names(flags: Flags) -> String {
    let names = [(Flags::CLIPPED, "clipped"), (Flags::TORN, "torn"), (Flags::LATE, "late")];
    let set: Vec<&str> = names.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name).collect();
    if set.is_empty() { "-".to_owned() } else { set.join(" ") }
}

#[cfg(test)]
mod tests {
    use tinywatt_proto::time::MonoNs;

    use super::*;
    use crate::sensor::build;

    fn emulated() -> v1::Channel {
        let config = SensorConfig::emulator("rail".parse().expect("a name"), 1);
        build(&config, Monotonic).expect("builds").sensor.channel()
    }

    #[test]
    fn a_table_shows_means_losses_flags_and_that_it_is_simulated() {
        let channel = emulated();
        let mut gauge = Gauge::default();
        for (first, flags) in [(4_000, Flags::NONE), (6_000, Flags::LATE)] {
            let reading = Reading { at: MonoNs(1), first, second: 1_250, flags };
            gauge.take(&channel, &mut None, Event::Reading(reading));
        }
        gauge.take(&channel, &mut None, Event::Lost { reason: v1::LossReason::MissedDeadline, count: 3 });
        let text = table([(&channel, &gauge)].into_iter());
        for part in ["rail", "ina219-emulator", "simulated", "5.000 V", "500.0 mA", "2.500 W", "2 /s", " 3 ", "late"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_counter_shows_the_power_between_two_readings() {
        let counter = v1::CounterScale { picojoules_per_code: 1_000_000, gain_ppm: None, update_period_ns: 1_000_000 };
        let channel = v1::Channel {
            name: "cpu".to_owned(),
            source: "rapl".to_owned(),
            kind: v1::FigureKind::Measured.into(),
            scale: Some(v1::channel::Scale::Counter(counter)),
            ..v1::Channel::default()
        };
        let (mut gauge, mut previous) = (Gauge::default(), None);
        // 10 W, 30 W; then the counter begins anew, and goes on with 20 W.
        for (milliseconds, first) in [(0, 500_000), (20, 700_000), (40, 1_300_000), (60, 0), (80, 400_000)] {
            let reading = Reading { at: MonoNs(milliseconds * 1_000_000), first, second: 0, flags: Flags::NONE };
            gauge.take(&channel, &mut previous, Event::Reading(reading));
        }
        assert_eq!(gauge.cells(&channel)[2..7], ["measured", "-", "-", "20.00 W", "3 /s"]);
    }

    #[test]
    fn a_silent_second_shows_no_number() {
        let channel = emulated();
        let cells = Gauge::default().cells(&channel);
        assert_eq!(cells[3..], ["-", "-", "-", "0 /s", "0", "-"]);
    }

    #[test]
    fn without_sensors_the_way_out_is_told() {
        let error = run(&ReadArgs { count: None, once: true }, &[]).expect_err("nothing to show");
        assert!(error.to_string().contains("[[sensor]]"), "{error}");
    }
}
