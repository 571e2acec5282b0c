//! Idle windows beside a load of ten times their power, as a counter sees them.

use tinywatt_energy::{COVERAGE_FACTOR, Series, integrate};
use tinywatt_proto::time::MonoNs;

use super::job::{NOTHING_MADE, Scene};
use super::*;

const IDLE_WATTS: u64 = 8;
const LOAD_WATTS: u64 = 80;

/// Slower than NVML's, so that its guard is longer than that of every channel.
const PERIOD_NS: u64 = 150_000_000;
const PERIOD: Duration = Duration::from_nanos(PERIOD_NS);

fn channel() -> v1::Channel {
    let counter = v1::CounterScale { picojoules_per_code: 1_000, gain_ppm: None, update_period_ns: PERIOD_NS };
    let scale = Some(v1::channel::Scale::Counter(counter));
    v1::Channel { channel: 4, name: "rail".to_owned(), sample_period_ns: PERIOD_NS, scale, ..v1::Channel::default() }
}

/// Beside a fast shunt sensor, which alone would need no guard to speak of.
fn channels() -> [Sampled; 2] {
    let (slow, sampling) = sampled(4, "rail");
    [(Measured { channel: channel(), ..slow }, sampling), sampled(7, "usb")]
}

/// Start and end of each phase, in order.
fn phases(records: &[v1::Record]) -> Vec<(Phase, Window)> {
    let markers: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.fact {
            Some(Fact::Marker(marker)) => Some(marker),
            _ => None,
        })
        .collect();
    let window = |pair: &[&v1::Marker]| Window::new(MonoNs(pair[0].mono_ns), MonoNs(pair[1].mono_ns)).expect("ascends");
    markers.chunks(2).map(|pair| (pair[0].phase(), window(pair))).collect()
}

/// Checks that the edges of all idle windows are those of a device that idles for ever: twice a limit of idle power, in
/// quadrature. `loads` are the phases in which ten times as much is used.
fn check(records: &[v1::Record], loads: &[Phase]) {
    let phases = phases(records);
    let loads: Vec<_> = phases.iter().filter(|(phase, _)| loads.contains(phase)).map(|(_, window)| *window).collect();
    let used = |at: u64| {
        let loaded: u64 = loads.iter().map(|load| at.min(load.end().0) - at.min(load.start().0)).sum();
        loaded * LOAD_WATTS + (at - loaded) * IDLE_WATTS
    };
    let first = phases.iter().map(|(_, window)| window.start().0).min().expect("phases") - 4 * PERIOD_NS;
    let readings: Vec<_> = (0..200)
        .map(|index| {
            let at = first + index * PERIOD_NS;
            // What it holds is an update old.
            let code = i64::try_from(used(at - PERIOD_NS)).expect("small");
            Reading { at: MonoNs(at), first: code, second: 0, flags: Flags::NONE }
        })
        .collect();
    let series = Series::from_readings(&channel(), &readings).expect("a scale");
    let idle: Vec<_> = phases.iter().filter(|(phase, _)| *phase == Phase::Idle).collect();
    assert_eq!(idle.len(), 2);
    for (_, window) in idle {
        let energy = integrate(&series, *window, Duration::from_secs(1)).expect("covered");
        let edges = (energy.edge_uncertainty().expect("a counter") * COVERAGE_FACTOR).get();
        let of_idle = COVERAGE_FACTOR * (2f64 / 3.0).sqrt() * 8.0 * (PERIOD * 3 / 2).as_secs_f64();
        assert!((edges - of_idle).abs() < 1e-6, "{edges} J at the edges of {window:?}, not {of_idle} J");
    }
}

#[tokio::test]
async fn no_idle_window_of_an_inference_sees_the_load_beside_it() {
    let mut bench = Bench::start_with(channels(), Script::Works, "http://127.0.0.1:9", false);
    let further_channels = vec!["usb".to_owned()];
    let mut hot = v1::Assignment { further_channels, ..assignment(0) };
    if let Some(Workload::Inference(workload)) = &mut hot.workload {
        workload.cool_down_ns = 0;
    }
    bench.execute(hot);
    check(&bench.finished(&key(0)).await, &[Phase::Prepare, Phase::Evaluate, Phase::WarmUp, Phase::Active]);
    bench.end().await;
}

#[tokio::test]
async fn no_idle_window_of_a_job_sees_the_load_beside_it() {
    let mut scene = Scene::start_with(channels()).await;
    let records = scene.run(0, &format!("sleep 0.1; finish '{NOTHING_MADE}'")).await;
    check(&records, &[Phase::Prepare, Phase::Active]);
    scene.bench.end().await;
}
