//! Rails: what channels measure, and which of them must not be added up.
//!
//! A rail ([`Channel::rail`]) is a path in which each component is a part of the one before. A counter of a processor's
//! package holds what its cores take, so the two have no sum. Rails begin with one of the constants here where the
//! thing's place in the machine is known; a chip on a bus, an emulator and a recording are each a thing of their own.

use crate::v1::Channel;

/// The whole machine, GPUs included: RAPL's `psys`.
pub const MACHINE: &str = "machine";

/// All processors: the TDP model. Below it their packages, and below those cores and uncore.
pub const PROCESSORS: &str = "machine/processors";

/// Memory, by the package that it belongs to: RAPL counts it beside its package, not in it.
pub const MEMORY: &str = "machine/memory";

/// GPUs, by UUID.
pub const GPUS: &str = "machine/gpus";

/// Chips on I2C buses, by bus and address. Nobody knows which wire they are soldered into.
pub const I2C: &str = "i2c";

/// Emulated sensors, by channel: each has a load of its own.
pub const EMULATOR: &str = "emulator";

/// Recordings, by the SHA-256 of their file.
pub const RECORDING: &str = "recording";

/// Whether the joules of one rail are among those of the other. One that is not known is never said to overlap.
pub fn overlap(a: &str, b: &str) -> bool {
    !a.is_empty() && !b.is_empty() && a.split('/').zip(b.split('/')).all(|(a, b)| a == b)
}

/// Two channels that must not be added up, because one holds the other's joules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Overlap {
    /// Both are the same thing.
    #[error("channels '{first}' and '{second}' both measure {rail}: added up, every joule would count twice")]
    Same {
        /// Name of a channel.
        first: String,
        /// Name of the other.
        second: String,
        /// Their rail.
        rail: String,
    },
    /// One is a part of the other.
    #[error(
        "channel '{part}' ({part_rail}) is already in channel '{whole}' ({whole_rail}): added up, its joules would count \
         twice"
    )]
    Part {
        /// Name of the channel that measures the part.
        part: String,
        /// Its rail.
        part_rail: String,
        /// Name of the channel that measures more.
        whole: String,
        /// Its rail.
        whole_rail: String,
    },
}

impl Overlap {
    /// How two channels overlap; `None` when they may be added up, as far as is known.
    pub fn between(first: &Channel, second: &Channel) -> Option<Self> {
        if !overlap(&first.rail, &second.rail) {
            return None;
        }
        if first.rail == second.rail {
            let (first, second, rail) = (first.name.clone(), second.name.clone(), first.rail.clone());
            return Some(Self::Same { first, second, rail });
        }
        let (whole, part) = if first.rail.len() < second.rail.len() { (first, second) } else { (second, first) };
        Some(Self::Part {
            part: part.name.clone(),
            part_rail: part.rail.clone(),
            whole: whole.name.clone(),
            whole_rail: whole.rail.clone(),
        })
    }

    /// Every pair of channels that overlaps.
    pub fn among(channels: &[&Channel]) -> Vec<Self> {
        let with_earlier = |(index, channel): (usize, &&Channel)| {
            channels[..index].iter().filter_map(|earlier| Self::between(earlier, channel)).collect::<Vec<_>>()
        };
        channels.iter().enumerate().flat_map(with_earlier).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As an agent names them.
    const RAILS: [&str; 12] = [
        "machine",
        "machine/processors",
        "machine/processors/package-0",
        "machine/processors/package-0/core",
        "machine/processors/package-0/uncore",
        "machine/processors/package-1",
        "machine/processors/package-10",
        "machine/memory/package-0",
        "machine/gpus/GPU-0",
        "machine/gpus/GPU-01",
        "i2c/i2c-1/0x40",
        "i2c/i2c-1/0x41",
    ];

    fn channel(name: &str, rail: &str) -> Channel {
        Channel { name: name.to_owned(), rail: rail.to_owned(), ..Channel::default() }
    }

    #[test]
    fn exactly_what_lies_in_another_overlaps() {
        let mut found = Vec::new();
        for (index, a) in RAILS.iter().enumerate() {
            assert!(overlap(a, a), "{a}");
            for (other, b) in RAILS.iter().enumerate().skip(index + 1) {
                assert_eq!(overlap(a, b), overlap(b, a));
                if overlap(a, b) {
                    found.push((index, other));
                }
            }
        }
        let machine = (1..=9).map(|other| (0, other));
        let processors = (2..=6).map(|other| (1, other));
        let expected: Vec<_> = machine.chain(processors).chain([(2, 3), (2, 4)]).collect();
        assert_eq!(found, expected);
        assert!(!overlap("", "") && !overlap("", "machine") && !overlap("machine", ""));
    }

    #[test]
    fn both_channels_are_named_the_part_first_whichever_came_first() {
        let (package, core) = (channel("cpu", RAILS[2]), channel("cores", RAILS[3]));
        let text = Overlap::between(&package, &core).expect("a part").to_string();
        assert_eq!(
            text,
            "channel 'cores' (machine/processors/package-0/core) is already in channel 'cpu' \
             (machine/processors/package-0): added up, its joules would count twice"
        );
        assert_eq!(Overlap::between(&core, &package).expect("a part").to_string(), text);
        let again = channel("again", RAILS[2]);
        let text = Overlap::between(&package, &again).expect("the same").to_string();
        assert!(text.starts_with("channels 'cpu' and 'again' both measure machine/processors/package-0: "), "{text}");
        assert_eq!(Overlap::between(&channel("a", ""), &channel("b", "")), None, "older agents say nothing");
    }

    #[test]
    fn every_pair_is_found() {
        let channels: Vec<Channel> = RAILS[..5].iter().map(|rail| channel(rail, rail)).collect();
        let all: Vec<&Channel> = channels.iter().collect();
        // The machine with four, the processors with three, the package with two; the last two are siblings.
        assert_eq!(Overlap::among(&all).len(), 9);
        assert_eq!(Overlap::among(&all[3..]), []);
        assert_eq!(Overlap::among(&[]), []);
    }

    proptest! {
        #[test]
        fn rails_overlap_when_one_is_the_other_or_lies_below_it(
            a in prop::collection::vec("[ab]{1,2}", 1..4),
            b in prop::collection::vec("[ab]{1,2}", 1..4),
        ) {
            let shorter = a.len().min(b.len());
            prop_assert_eq!(overlap(&a.join("/"), &b.join("/")), a[..shorter] == b[..shorter]);
        }
    }
}
