//! The trial list of a run: blocks of everything, in seeded random order.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tinywatt_proto::ids::Sha256;
use tinywatt_proto::time::nanoseconds;
use tinywatt_proto::v1;

use super::workload;

/// Lays out the trials of a run. The same arguments give the same list, on every machine and with every version.
///
/// One block per replicate; a block holds every treatment once for every node. Trials are numbered block by block,
/// in a block node by node, and for a node in random order; nodes execute side by side. The order on one node depends
/// on the seed, the block and the node's name alone: adding a node or a replicate leaves all others as they were.
pub fn plan(design: &v1::Design, treatments: &[v1::Treatment]) -> Vec<v1::PlannedTrial> {
    let mut trials = Vec::new();
    for block in 0..design.replicate_count {
        for node in &design.nodes {
            let mut order: Vec<&v1::Treatment> = treatments.iter().collect();
            shuffle(&mut order, &mut generator(design.seed, block, node));
            for treatment in order {
                trials.push(v1::PlannedTrial {
                    trial: u32::try_from(trials.len()).expect("the submission's check bounds the number of trials"),
                    block,
                    node: node.clone(),
                    treatment: treatment.name.clone(),
                    replicate: block,
                    duration_ns: nanoseconds(workload::estimate(treatment.workload.as_ref())),
                    needs: Vec::new(),
                });
            }
        }
    }
    trials
}

/// Time the run takes when no trial is repeated and every node is free: that of its busiest node.
pub fn run_duration(trials: &[v1::PlannedTrial]) -> Duration {
    let mut by_node: BTreeMap<&str, u64> = BTreeMap::new();
    for trial in trials {
        let node_ns = by_node.entry(&trial.node).or_default();
        *node_ns = node_ns.saturating_add(trial.duration_ns);
    }
    Duration::from_nanos(by_node.into_values().max().unwrap_or(0))
}

/// ChaCha with 8 rounds, keyed with SHA-256("tinywatt order 1" ‖ seed ‖ block ‖ node), integers little-endian.
fn generator(seed: u64, block: u32, node: &str) -> ChaCha8Rng {
    let mut key = b"tinywatt order 1".to_vec();
    key.extend_from_slice(&seed.to_le_bytes());
    key.extend_from_slice(&block.to_le_bytes());
    key.extend_from_slice(node.as_bytes());
    ChaCha8Rng::from_seed(Sha256::of(&key).0)
}

/// Fisher and Yates, from the last place down: place `i` changes with a random place of `0..=i`.
///
/// Written out here, because a library may change its own between versions, and with it every published order.
fn shuffle<T>(items: &mut [T], random: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last + 1, random));
    }
}

/// A number below `bound`, each equally likely: 32-bit draws, those at or above the largest multiple of `bound` again.
fn below(bound: usize, random: &mut impl Rng) -> usize {
    let bound = u32::try_from(bound).expect("a list of treatments is shorter than 2^32");
    let accepted = u32::MAX - u32::MAX % bound;
    loop {
        let draw = random.next_u32();
        if draw < accepted {
            return usize::try_from(draw % bound).expect("32 bits fit");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tinywatt_proto::v1::treatment::Workload;

    use super::*;

    fn treatments(names: &[&str]) -> Vec<v1::Treatment> {
        let workload = v1::InferenceWorkload {
            idle_ns: 2_000_000_000,
            active_ns: 10_000_000_000,
            cool_down_ns: 1_000_000_000,
            inputs: Some(v1::ArtifactRef { size_bytes: 1_000_000, ..Default::default() }),
            ..Default::default()
        };
        let treatment = |name: &&str| v1::Treatment {
            name: (*name).to_owned(),
            workload: Some(Workload::Inference(workload.clone())),
            ..Default::default()
        };
        names.iter().map(treatment).collect()
    }

    fn design(nodes: &[&str], replicate_count: u32, seed: u64) -> v1::Design {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        v1::Design { nodes, replicate_count, seed, ..Default::default() }
    }

    fn order(trials: &[v1::PlannedTrial]) -> String {
        let line = |trial: &v1::PlannedTrial| format!("{}{}{}", trial.node, trial.block, trial.treatment);
        trials.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    /// A published seed must give the same order for ever. If this fails, the order changed for every old experiment.
    #[test]
    fn the_order_of_a_seed_never_changes() {
        let trials = plan(&design(&["p", "q"], 2, 7), &treatments(&["a", "b", "c", "d"]));
        assert_eq!(order(&trials), "p0c p0a p0b p0d q0c q0b q0d q0a p1d p1b p1a p1c q1a q1b q1c q1d");
    }

    #[test]
    fn another_node_or_replicate_leaves_the_order_of_the_others() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let small = plan(&design(&["p"], 2, 7), &treatments(&names));
        let large = plan(&design(&["o", "p"], 3, 7), &treatments(&names));
        let of_p: Vec<_> = large.into_iter().filter(|trial| trial.node == "p" && trial.block < 2).collect();
        assert_eq!(order(&small), order(&of_p));
    }

    #[test]
    fn the_busiest_node_sets_the_duration() {
        let trials = plan(&design(&["p", "q"], 3, 1), &treatments(&["a", "b"]));
        // Two idle windows of 2 s, 10 s active, 1 s cool-down, 5 s to prepare, 1 s to evaluate 1 MB: 21 s.
        assert_eq!(trials[0].duration_ns, 21_000_000_000);
        assert_eq!(run_duration(&trials), Duration::from_secs(6 * 21));
        assert_eq!(run_duration(&[]), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn every_block_holds_everything_once(seed: u64, treatment_count in 1usize..9, replicate_count in 1u32..5) {
            let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
            let trials = plan(&design(&["p", "q", "r"], replicate_count, seed), &treatments(&names[..treatment_count]));
            let keys: BTreeSet<_> =
                trials.iter().map(|trial| (trial.block, trial.node.clone(), trial.treatment.clone())).collect();
            prop_assert_eq!(keys.len(), trials.len());
            prop_assert_eq!(trials.len() as u64, 3 * treatment_count as u64 * u64::from(replicate_count));
            prop_assert!(trials.iter().zip(0u32..).all(|(trial, index)| trial.trial == index));
            prop_assert!(trials.windows(2).all(|pair| pair[0].block <= pair[1].block));
        }
    }

    #[test]
    fn every_order_is_about_equally_likely() {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 0..6_000 {
            let trials = plan(&design(&["p"], 1, seed), &treatments(&["a", "b", "c"]));
            *counts.entry(order(&trials)).or_default() += 1;
        }
        // 1,000 expected for each of 6 orders, standard deviation 29.
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (870..1_130).contains(count)), "{counts:?}");
    }
}
