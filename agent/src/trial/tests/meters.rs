//! Which channels may measure one trial together.

use super::*;
use crate::clock::Virtual;
use crate::sensor::config::RaplConfig;
use crate::sensor::{Sensor, rapl};
use crate::trial::metering::Meters;

/// The channels of a laptop with two packages, opened on files like the kernel's, a GPU, and a chip on a bus.
fn channels() -> Vec<Measured> {
    let root = tempfile::tempdir().expect("a folder");
    rapl::tests::lay_out(root.path(), 65_532_610_987);
    for (id, name) in [("0:2", "uncore"), ("2", "psys")] {
        let zone = root.path().join(format!("intel-rapl:{id}"));
        std::fs::create_dir_all(&zone).expect("a folder");
        for (file, text) in [("name", name), ("energy_uj", "1"), ("max_energy_range_uj", "65532610987")] {
            std::fs::write(zone.join(file), text).expect("written");
        }
    }
    let zones = [
        ("package", "package-0"),
        ("again", "package-0"),
        ("core", "core"),
        ("uncore", "uncore"),
        ("dram", "package-0/dram"),
        ("other", "package-1"),
        ("psys", "psys"),
    ];
    let counter = |(name, zone): (&str, &str)| {
        let text = format!("name = '{name}'\nzone = '{zone}'\nroot = '{}'", root.path().display());
        let config: RaplConfig = toml::from_str(&text).expect("complete");
        rapl::open(&config, Virtual::default()).expect("opens").channel()
    };
    let known =
        |name: &str, rail: &str| v1::Channel { name: name.to_owned(), rail: rail.to_owned(), ..counter(zones[0]) };
    let others = [known("gpu", "machine/gpus/GPU-0"), known("wire", "i2c/i2c-1/0x40")];
    let measured = |(index, channel): (u32, v1::Channel)| {
        let (measured, sampling) = sampled(index, "");
        sampling.abort();
        Measured { channel: v1::Channel { channel: index, ..channel }, ..measured }
    };
    (0..).zip(zones.map(counter).into_iter().chain(others)).map(measured).collect()
}

fn find(channels: &[Measured], names: &[&str]) -> Result<(u32, Vec<u32>), String> {
    let further_channels = names[1..].iter().map(|name| (*name).to_owned()).collect();
    let assignment = v1::Assignment { channel: names[0].to_owned(), further_channels, ..assignment(0) };
    let found = Meters::find(channels, &assignment);
    found.map(|meters| (meters.channel(), meters.further_channels())).map_err(|error| {
        assert_eq!(error.reason(), FailureReason::Sensor);
        error.to_string()
    })
}

#[tokio::test]
async fn channels_that_hold_each_others_joules_are_refused_in_any_order() {
    let channels = channels();
    for names in [
        ["core", "package"],
        ["uncore", "package"],
        ["core", "psys"],
        ["package", "psys"],
        ["dram", "psys"],
        ["other", "psys"],
        ["gpu", "psys"],
    ] {
        let [part, whole] = names;
        let error = find(&channels, &names).expect_err("refused");
        let way_out = "its joules would count twice; name one of the two in the experiment";
        assert!(error.starts_with(&format!("channel '{part}' (machine")) && error.ends_with(way_out), "{error}");
        assert!(error.contains(&format!("is already in channel '{whole}' (machine")), "{error}");
        assert_eq!(find(&channels, &[whole, part]), Err(error));
    }
    let error = find(&channels, &["package", "again"]).expect_err("refused");
    assert!(error.starts_with("channels 'package' and 'again' both measure machine/processors/package-0"), "{error}");
    let error = find(&channels, &["gpu", "core", "other", "package"]).expect_err("refused");
    assert!(error.contains("'core'") && error.contains("'package'"), "two of four: {error}");
}

#[tokio::test]
async fn channels_beside_each_other_measure_together() {
    let channels = channels();
    assert_eq!(find(&channels, &["package", "dram", "other", "gpu", "wire"]), Ok((0, vec![4, 5, 7, 8])));
    assert_eq!(find(&channels, &["core", "uncore", "dram"]), Ok((2, vec![3, 4])));
    assert_eq!(find(&channels, &["psys", "wire"]), Ok((6, vec![8])), "nobody knows what the chip is soldered into");
}
