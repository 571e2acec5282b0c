//! The published energy traces, where they lie beside the project: each gives the published figure to its last digit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tinywatt_agent::clock::Virtual;
use tinywatt_agent::sampler::{Event, Sampler, SamplerConfig};
use tinywatt_agent::sensor::Sensor;
use tinywatt_agent::sensor::replay::{ReplaySensor, Trace};
use tinywatt_energy::{Series, integrate};
use tinywatt_proto::sample::Reading;
use tinywatt_proto::time::MonoNs;

/// µJ per inference of every window, and their median, as published beside the trace.
fn published(path: &Path) -> (Vec<String>, String) {
    let text = std::fs::read_to_string(path.with_extension("txt")).expect("the published result lies beside the trace");
    let after = |line: &str, mark: &str| {
        let rest = &line[line.find(mark)? + mark.len()..];
        Some(rest.trim_start_matches([' ', ':']).split(' ').next()?.to_owned())
    };
    let windows = text.lines().filter_map(|line| after(line, "Energy/Inf")).collect();
    let median = text.lines().find_map(|line| after(line, "Median energy cost is")).expect("a median");
    (windows, median)
}

/// Plays a trace through sensor and sampler, as fast as it goes.
fn play(trace: Trace) -> Vec<Reading> {
    let clock = Virtual::default();
    let sensor = ReplaySensor::new(trace.clone(), "rail".to_owned(), clock.clone());
    // Nobody empties the ring while the clock runs away, so it holds the whole recording.
    let ring_events = trace.readings(MonoNs(0)).count() + 16;
    let config = SamplerConfig { ring_events, real_time: false };
    let mut sampler = Sampler::start(Box::new(sensor), clock, config).expect("starts");
    let mut consumer = sampler.readings();
    let (mut readings, mut has_ended) = (Vec::new(), false);
    while !has_ended {
        consumer.drain(&mut |event| match event {
            Event::Reading(reading) => readings.push(reading),
            Event::Lost { reason, count } => panic!("{count} lost: {reason:?}"),
            Event::Ended => has_ended = true,
        });
        std::thread::yield_now();
    }
    readings
}

#[test]
fn every_published_trace_gives_its_published_figures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/energy-traces");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        // Not `eprintln!`, which the test runner swallows when the test passes.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: no traces at {}\n", folder.display()),
        );
        return;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    assert!(!paths.is_empty());
    for path in paths {
        let trace = Trace::read(&path).expect("a published trace is readable");
        let channel = ReplaySensor::new(trace.clone(), "rail".to_owned(), Virtual::default()).channel();
        let readings = play(trace.clone());
        assert_eq!(readings, trace.readings(MonoNs(0)).collect::<Vec<_>>());
        let series = Series::from_readings(&channel, &readings).expect("has a scale");
        let mut figures: Vec<f64> = trace
            .windows(MonoNs(0))
            .into_iter()
            .map(|(window, inferences)| {
                let energy = integrate(&series, window, Duration::from_millis(1)).expect("covered");
                #[expect(clippy::cast_precision_loss, reason = "a few thousand inferences")]
                let inferences = inferences as f64;
                energy.joules.get() * 1e6 / inferences
            })
            .collect();
        let (windows, median) = published(&path);
        assert_eq!(
            figures.iter().map(|figure| format!("{figure:.3}")).collect::<Vec<_>>(),
            windows,
            "{}",
            path.display()
        );
        figures.sort_by(f64::total_cmp);
        assert_eq!(format!("{:.4}", figures[figures.len() / 2]), median, "{}", path.display());
        println!("{}: {median} µJ per inference", path.display());
    }
}
