//! The trial list of a run: blocks of everything, in seeded random order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tinywatt_proto::time::nanoseconds;
use tinywatt_proto::v1;

use super::workload;
use crate::shuffle::shuffle;

/// Lays out the trials of a run. The same arguments give the same list, on every machine and with every version.
///
/// One block per replicate; a block holds every treatment once for every node that executes it. Trials are numbered
/// block by block, in a block node by node, and for a node in random order; nodes execute side by side. The order on
/// one node depends on the seed, the block, the node's name and its treatments alone: adding a node or a replicate
/// leaves all others as they were.
///
/// A trial that needs what another makes may well stand before it in the list: the state machine holds it back.
pub fn plan(design: &v1::Design, treatments: &[v1::Treatment]) -> Vec<v1::PlannedTrial> {
    let nodes = nodes(design, treatments);
    let mut trials: Vec<v1::PlannedTrial> = Vec::new();
    for block in 0..design.replicate_count {
        let first = trials.len();
        for node in &nodes {
            let executes = |treatment: &&v1::Treatment| nodes_of(design, treatment).iter().any(|own| own == node);
            let mut order: Vec<&v1::Treatment> = treatments.iter().filter(executes).collect();
            shuffle(&mut order, &key(design.seed, block, node));
            for treatment in order {
                trials.push(v1::PlannedTrial {
                    trial: u32::try_from(trials.len()).expect("the submission's check bounds the number of trials"),
                    block,
                    node: (*node).to_owned(),
                    treatment: treatment.name.clone(),
                    replicate: block,
                    duration_ns: nanoseconds(workload::estimate(treatment.workload.as_ref())),
                    needs: Vec::new(),
                });
            }
        }
        connect(&mut trials[first..], treatments);
    }
    trials
}

/// The nodes that execute a treatment: its own, or those of the design.
fn nodes_of<'a>(design: &'a v1::Design, treatment: &'a v1::Treatment) -> &'a [String] {
    if treatment.nodes.is_empty() { &design.nodes } else { &treatment.nodes }
}

/// The nodes of a run: those of the design, then others that treatments name, in the order of their first appearance.
fn nodes<'a>(design: &'a v1::Design, treatments: &'a [v1::Treatment]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let all = design.nodes.iter().chain(treatments.iter().flat_map(|treatment| &treatment.nodes));
    all.map(String::as_str).filter(|node| seen.insert(*node)).collect()
}

/// Notes what each trial of a block needs: the trials of the treatments that make what it executes or reads.
fn connect(block: &mut [v1::PlannedTrial], treatments: &[v1::Treatment]) {
    let needs: BTreeMap<&str, Vec<&str>> = treatments
        .iter()
        .map(|treatment| (treatment.name.as_str(), workload::needs(treatment.workload.as_ref())))
        .filter(|(_, needs)| !needs.is_empty())
        .map(|(name, needs)| (name, needs.into_iter().map(|produced| produced.treatment.as_str()).collect()))
        .collect();
    if needs.is_empty() {
        return;
    }
    let mut makers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for trial in block.iter() {
        makers.entry(trial.treatment.clone()).or_default().push(trial.trial);
    }
    for trial in block {
        let Some(needed) = needs.get(trial.treatment.as_str()) else { continue };
        let own: BTreeSet<u32> = needed.iter().filter_map(|name| makers.get(*name)).flatten().copied().collect();
        trial.needs = own.into_iter().collect();
    }
}

/// Longest time that the run takes when no trial is repeated, every node is free and no trial takes longer than
/// planned: each node executes one trial after another in the order of the state machine, and waits for what its
/// trials need. For jobs the plan knows nothing but their time limit.
pub fn run_duration(trials: &[v1::PlannedTrial]) -> Duration {
    let index = |trial: u32| usize::try_from(trial).expect("32 bits fit");
    let mut missing: Vec<usize> = trials.iter().map(|trial| trial.needs.len()).collect();
    let mut waiting: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut ready: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for trial in trials {
        trial.needs.iter().for_each(|needed| waiting.entry(*needed).or_default().push(trial.trial));
        let ready = ready.entry(&trial.node).or_default();
        if trial.needs.is_empty() {
            ready.insert(trial.trial);
        }
    }
    // Ends of what executes, the earliest first; one entry a node at most.
    let mut executing: BTreeSet<(u64, u32)> = BTreeSet::new();
    let mut busy: BTreeSet<&str> = BTreeSet::new();
    let mut now_ns = 0;
    loop {
        for (node, ready) in ready.iter_mut().filter(|(node, _)| !busy.contains(*node)).collect::<Vec<_>>() {
            if let Some(trial) = ready.pop_first() {
                executing.insert((trials[index(trial)].duration_ns.saturating_add(now_ns), trial));
                busy.insert(node);
            }
        }
        // Whatever is left needs itself, which the submission's check refuses.
        let Some((end_ns, ended)) = executing.pop_first() else { return Duration::from_nanos(now_ns) };
        now_ns = end_ns;
        busy.remove(trials[index(ended)].node.as_str());
        for waiting in waiting.remove(&ended).unwrap_or_default() {
            missing[index(waiting)] -= 1;
            if missing[index(waiting)] == 0 {
                ready.entry(&trials[index(waiting)].node).or_default().insert(waiting);
            }
        }
    }
}

/// What an order is drawn from: "tinywatt order 1" ‖ seed ‖ block ‖ node, integers little-endian.
fn key(seed: u64, block: u32, node: &str) -> Vec<u8> {
    let mut key = b"tinywatt order 1".to_vec();
    key.extend_from_slice(&seed.to_le_bytes());
    key.extend_from_slice(&block.to_le_bytes());
    key.extend_from_slice(node.as_bytes());
    key
}

#[cfg(test)]
mod tests {
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

    fn job(name: &str, node: &str, parent: Option<&str>, limit_s: u64) -> v1::Treatment {
        let produced = |parent: &str| v1::JobInput {
            name: "parent".to_owned(),
            source: Some(v1::job_input::Source::Produced(v1::Produced {
                treatment: parent.to_owned(),
                role: "checkpoint".to_owned(),
            })),
        };
        let job = v1::JobWorkload {
            inputs: parent.map(produced).into_iter().collect(),
            time_limit_ns: limit_s * 1_000_000_000,
            ..Default::default()
        };
        v1::Treatment {
            name: name.to_owned(),
            nodes: vec![node.to_owned()],
            workload: Some(Workload::Job(job)),
            ..Default::default()
        }
    }

    fn inference_of(name: &str, maker: &str) -> v1::Treatment {
        let mut treatment = treatments(&[name]).remove(0);
        let Some(Workload::Inference(inference)) = &mut treatment.workload else { unreachable!() };
        inference.model_from = Some(v1::Produced { treatment: maker.to_owned(), role: "model".to_owned() });
        treatment
    }

    /// Train and optimise on a host, infer on two devices.
    fn study() -> Vec<v1::Treatment> {
        vec![
            inference_of("infer-float32", "train"),
            job("optimise", "host", Some("train"), 100),
            inference_of("infer-int8", "optimise"),
            job("train", "host", None, 1_000),
        ]
    }

    #[test]
    fn a_trial_needs_what_makes_its_model_in_the_same_replicate() {
        let trials = plan(&design(&["p", "q"], 3, 5), &study());
        assert_eq!(trials.len(), 3 * (2 * 2 + 2));
        for trial in &trials {
            let needed: Vec<_> = trial.needs.iter().map(|needed| &trials[usize::try_from(*needed).unwrap()]).collect();
            let names: Vec<&str> = needed.iter().map(|needed| needed.treatment.as_str()).collect();
            let expected: &[&str] = match trial.treatment.as_str() {
                "infer-float32" | "optimise" => &["train"],
                "infer-int8" => &["optimise"],
                _ => &[],
            };
            assert_eq!(names, expected, "of {}", trial.treatment);
            assert!(needed.iter().all(|needed| needed.replicate == trial.replicate));
            assert_eq!(trial.node == "host", ["train", "optimise"].contains(&trial.treatment.as_str()));
        }
    }

    #[test]
    fn the_duration_counts_the_time_that_trials_wait_for_others() {
        let trials = plan(&design(&["p"], 1, 5), &study());
        // 1,000 s to train, then 100 s to optimise beside the 21 s of the float model, then 21 s of the other.
        assert_eq!(run_duration(&trials), Duration::from_secs(1_000 + 100 + 21));
        let mut knot = trials;
        let train = knot.iter().position(|trial| trial.treatment == "train").expect("it is there");
        knot[train].needs = vec![knot[train].trial];
        assert_eq!(run_duration(&knot), Duration::ZERO, "what needs itself never begins");
    }

    #[test]
    fn jobs_leave_the_order_of_nodes_without_jobs_as_it_was() {
        let names = ["a", "b", "c", "d"];
        let mut with_jobs = treatments(&names);
        with_jobs.push(job("train", "host", None, 10));
        for treatment in &mut with_jobs[..4] {
            treatment.nodes = vec!["p".to_owned(), "q".to_owned()];
        }
        let trials = plan(&design(&["p", "q"], 2, 7), &with_jobs);
        let devices: Vec<_> = trials.into_iter().filter(|trial| trial.node != "host").collect();
        assert_eq!(order(&devices), "p0c p0a p0b p0d q0c q0b q0d q0a p1d p1b p1a p1c q1a q1b q1c q1d");
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
