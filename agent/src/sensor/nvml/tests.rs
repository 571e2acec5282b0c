//! Against a small library of our own that stands for NVIDIA's. A real GPU is not needed, and has not been tried.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::clock::Virtual;
use crate::sensor::{Poll, Sensor, SensorConfig};

/// Builds the library; `None`, said aloud, where there is no C compiler. Each test gets its own, with its own counter.
fn fake() -> Option<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir().expect("a folder");
    let source = dir.path().join("fake.c");
    std::fs::write(&source, include_str!("fake.c")).expect("written");
    let library = dir.path().join("libnvidia-ml.so.1");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    match built {
        Ok(status) => assert!(status.success(), "the library does not compile"),
        Err(error) => {
            eprintln!("SKIPPED: no C compiler (cc) to build a stand-in for NVML: {error}");
            return None;
        }
    }
    Some((dir, library))
}

fn config(library: &Path, gpu: &str) -> NvmlConfig {
    let text = format!("name = 'gpu'\nlibrary = '{}'\ngpu = {gpu}", library.display());
    toml::from_str(&text).expect("complete")
}

#[test]
fn a_gpu_is_read_by_index_or_uuid_until_it_is_lost() {
    let Some((_dir, library)) = fake() else { return };
    let clock = Virtual::default();
    let mut sensor = open(&config(&library, "'GPU-0'"), clock.clone()).expect("opens");
    let channel = sensor.channel();
    assert_eq!((channel.source.as_str(), channel.kind()), ("nvml", v1::FigureKind::Measured));
    assert_eq!(channel.sample_period_ns, 100_000_000);
    // Two of the ten answers were for opening it.
    let mut readings = Vec::new();
    for _ in 0..9 {
        clock.advance(Duration::from_millis(100));
        match sensor.poll() {
            Poll::Reading { reading, .. } => readings.push(reading.first),
            Poll::Failed { reason, .. } => assert_eq!(reason, v1::LossReason::BusError),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(readings, (1..=8).map(|count| count * 1_000).collect::<Vec<i64>>());
    let Some((_dir, library)) = fake() else { return };
    let by_index = open(&config(&library, "0"), clock).expect("opens").channel();
    assert_eq!((by_index.rail.as_str(), &by_index.rail), ("machine/gpus/GPU-0", &channel.rail));
}

#[test]
fn the_machines_gpus_are_those_that_a_sensors_library_sees() {
    let Some((_dir, library)) = fake() else { return };
    let sensor = |library: &Path| SensorConfig::Nvml(config(library, "0"));
    let other = SensorConfig::emulator("rail".parse().expect("a name"), 1);
    let sensors = [other.clone(), sensor(Path::new("/nowhere/libnvidia-ml.so.1")), sensor(&library)];
    assert_eq!(crate::machine::describe(&sensors).gpus, ["Fake 0", "Fake 1"]);
    assert_eq!(crate::machine::gpus(&sensors[..2]), crate::machine::gpus(&[]), "one that is not there hides none");
}

#[test]
fn a_gpu_that_is_not_there_or_keeps_no_counter_is_refused_with_reason() {
    let Some((_dir, library)) = fake() else { return };
    let refused = |gpu| open(&config(&library, gpu), Virtual::default()).expect_err("refused").to_string();
    for gpu in ["7", "'GPU-7'"] {
        let error = refused(gpu);
        assert!(error.contains("0 (Fake 0, GPU-0), 1 (Fake 1, GPU-1)"), "{error}");
    }
    let error = refused("1");
    assert!(error.contains("GPU 1 (Fake 1) keeps no energy counter") && error.contains("Volta"), "{error}");
}

#[test]
fn without_the_library_the_way_out_is_told() {
    let error =
        open(&config(Path::new("/nowhere/libnvidia-ml.so.1"), "0"), Virtual::default()).expect_err("no such file");
    let error = error.to_string();
    assert!(error.contains("/nowhere/libnvidia-ml.so.1") && error.contains("--gpus all"), "{error}");
}
