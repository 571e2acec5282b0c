//! Random histories, against the rules that always hold.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Move {
    Submit { attempt_count_max: u32, trials: Vec<(usize, u32, Vec<u32>)> },
    Connect { node: usize },
    Drop { node: usize },
    Restart { node: usize, is_orderly: bool },
    RestartCollector,
    Progress { node: usize },
    Sample { node: usize },
    Finish { node: usize },
    Deliver { node: usize },
    Assess { valid: bool },
    Cancel { run: usize },
    Wait { seconds: u64 },
    Stray { node: usize, trial: u32, attempt: u32 },
}

const NODES: [&str; 3] = ["p", "q", "r"];

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let node = 0..NODES.len();
    // Mostly of those before, so that chains form; now and then of any, itself and one that is not there included.
    let needs = prop::collection::vec(0u32..9, 0..3);
    let single = prop_oneof![
        1 => (1u32..4, prop::collection::vec((0..NODES.len(), 0u32..3, needs), 1..8))
            .prop_map(|(attempt_count_max, trials)| Move::Submit { attempt_count_max, trials }),
        4 => node.clone().prop_map(|node| Move::Connect { node }),
        2 => node.clone().prop_map(|node| Move::Drop { node }),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, is_orderly)| Move::Restart { node, is_orderly }),
        1 => Just(Move::RestartCollector),
        1 => node.clone().prop_map(|node| Move::Progress { node }),
        1 => node.clone().prop_map(|node| Move::Sample { node }),
        4 => node.clone().prop_map(|node| Move::Finish { node }),
        4 => node.clone().prop_map(|node| Move::Deliver { node }),
        4 => any::<bool>().prop_map(|valid| Move::Assess { valid }),
        1 => (0usize..4).prop_map(|run| Move::Cancel { run }),
        3 => prop_oneof![0u64..10, 0u64..300].prop_map(|seconds| Move::Wait { seconds }),
        1 => (node, 0u32..6, 1u32..4).prop_map(|(node, trial, attempt)| Move::Stray { node, trial, attempt }),
    ];
    prop::collection::vec(single, 0..120)
}

/// An agent as it is meant to behave, over a connection that may fail at any time.
#[derive(Debug, Default)]
struct Agent {
    boot: u8,
    connected: bool,
    executing: Option<AttemptId>,
    /// What was not delivered yet, in order; of records that are no outcome nothing but their place.
    spool: VecDeque<Option<AttemptId>>,
    /// The newest record of the spool.
    delivery_id: u64,
    /// The newest record that the collector has had since its start.
    delivered: Option<u64>,
    /// When a record of it arrived last, or its connection began.
    heard_at: MonoNs,
}

impl Agent {
    fn append(&mut self, outcome: Option<AttemptId>) {
        self.spool.push_back(outcome);
        self.delivery_id += 1;
    }
}

/// The schedule with its surroundings, and what must always be true of both.
struct World {
    state: State,
    at: MonoNs,
    agents: Vec<Agent>,
    assessing: Vec<AttemptId>,
    /// Attempts that a trial gets, and what each trial needs.
    runs: BTreeMap<RunId, (u32, Vec<Vec<u32>>)>,
    plans: BTreeMap<RunId, RunPlan>,
    judged: BTreeMap<AttemptId, bool>,
    /// Every attempt that was assigned, and to which start of the agent.
    begun: BTreeMap<AttemptId, BootId>,
    /// Outcomes in the store.
    outcomes: BTreeSet<AttemptId>,
    ended: BTreeMap<RunId, RunEnd>,
}

impl World {
    fn new() -> Self {
        Self {
            state: State::new(Config { grace: GRACE }),
            at: MonoNs(0),
            agents: (0..NODES.len()).map(|_| Agent::default()).collect(),
            assessing: Vec::new(),
            runs: BTreeMap::new(),
            plans: BTreeMap::new(),
            judged: BTreeMap::new(),
            begun: BTreeMap::new(),
            outcomes: BTreeSet::new(),
            ended: BTreeMap::new(),
        }
    }

    fn step(&mut self, event: Event) {
        if let Event::Assessed { attempt, invalid_reasons } = &event {
            // First writer wins, as in the store.
            self.judged.entry(attempt.clone()).or_insert(invalid_reasons.is_empty());
        }
        for command in self.state.step(self.at, event) {
            self.obey(command);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Assign { node, boot: told, attempt } => {
                let index = NODES.iter().position(|name| *name == node.as_str()).expect("a known node");
                let (attempt_count_max, needs) = &self.runs[&attempt.run];
                for needed in &needs[usize::try_from(attempt.trial).expect("small")] {
                    let mut tries = self.of_run(&attempt.run).filter(|(id, _)| id.trial == *needed);
                    assert!(tries.any(|(_, valid)| *valid), "{attempt} before trial {needed} is valid");
                }
                assert!(!self.ended.contains_key(&attempt.run), "{attempt} after the end of its run");
                assert!((1..=*attempt_count_max).contains(&attempt.attempt), "{attempt} is one too many");
                assert!(self.begun.insert(attempt.clone(), told).is_none(), "{attempt} twice");
                let agent = &mut self.agents[index];
                assert_eq!(told, boot(agent.boot), "{attempt} for another start");
                assert!(agent.connected, "{attempt} for a node that is not there");
                assert_eq!(agent.executing, None, "{attempt} for a node that is busy");
                agent.executing = Some(attempt);
            }
            Command::CancelAttempt { node, attempt, .. } => {
                let index = NODES.iter().position(|name| *name == node.as_str()).expect("a known node");
                assert_eq!(self.agents[index].executing.as_ref(), Some(&attempt));
            }
            Command::Assess { attempt } => self.assessing.push(attempt),
            Command::RecordInvalid { attempt, reason } => {
                let has_it = |agent: &&Agent| agent.spool.iter().flatten().any(|spooled| *spooled == attempt);
                if let Some(agent) = self.agents.iter().find(has_it).filter(|_| reason.code == "agent_restarted") {
                    let is_silent = agent.heard_at.after(GRACE) <= self.at;
                    assert!(is_silent, "{attempt} has an outcome, which is being delivered");
                }
                assert!(self.begun.contains_key(&attempt));
                assert!(!self.assessing.contains(&attempt), "{attempt} has an outcome");
                assert!(self.judged.insert(attempt.clone(), false).is_none(), "{attempt} judged twice");
            }
            Command::EndRun { run, end, counts } => {
                let valid: BTreeSet<u32> =
                    self.of_run(&run).filter(|(_, valid)| **valid).map(|(id, _)| id.trial).collect();
                let (attempt_count_max, needs) = &self.runs[&run];
                let trial_count = needs.len();
                assert_eq!(usize::try_from(counts.valid_count).expect("small"), valid.len());
                if end != RunEnd::Cancelled {
                    let mut skipped_count = 0;
                    for (trial, needs) in (0u32..).zip(needs) {
                        let tries = self.of_run(&run).filter(|(id, _)| id.trial == trial).count();
                        let is_exhausted = tries == usize::try_from(*attempt_count_max).expect("small");
                        let is_skipped = tries == 0 && needs.iter().any(|needed| !valid.contains(needed));
                        skipped_count += u32::from(is_skipped);
                        let is_settled = valid.contains(&trial) || is_exhausted || is_skipped;
                        assert!(is_settled, "trial {trial} of {run} is neither");
                    }
                    assert_eq!(counts.skipped_count, skipped_count);
                    assert_eq!(end == RunEnd::Completed, valid.len() == trial_count);
                }
                assert!(self.ended.insert(run.clone(), end).is_none(), "{run} ended twice");
            }
            Command::Announce { .. } => {}
        }
    }

    fn of_run<'a>(&'a self, run: &'a RunId) -> impl Iterator<Item = (&'a AttemptId, &'a bool)> {
        self.judged.iter().filter(move |(attempt, _)| attempt.run == *run)
    }

    fn apply(&mut self, change: &Move) {
        match change {
            Move::Submit { attempt_count_max, trials } => {
                let name = format!("run-{}", self.runs.len());
                let mut needs: Vec<Vec<u32>> = trials.iter().map(|(_, _, needs)| needs.clone()).collect();
                for (index, needs) in (0u32..).zip(&mut needs) {
                    // A sum of 3 or less leaves them as they are.
                    let is_chain = needs.iter().sum::<u32>() > 3;
                    needs.iter_mut().filter(|_| is_chain).for_each(|needed| *needed %= index.max(1));
                    needs.retain(|needed| !is_chain || *needed < index);
                    needs.sort_unstable();
                    needs.dedup();
                }
                let trials: Vec<_> = trials.iter().map(|(node, block, _)| (NODES[*node], *block)).collect();
                self.runs.insert(run(&name), (*attempt_count_max, needs.clone()));
                let needs: Vec<&[u32]> = needs.iter().map(Vec::as_slice).collect();
                let plan = needing(run_plan(&name, *attempt_count_max, &trials), &needs);
                self.plans.insert(run(&name), plan.clone());
                self.step(Event::RunSubmitted(plan));
            }
            Move::Connect { node: index } => {
                let agent = &mut self.agents[*index];
                agent.connected = true;
                agent.heard_at = self.at;
                let running = agent.executing.clone();
                let boot = boot(agent.boot);
                let spooled = Some(agent.delivery_id);
                self.step(Event::NodeConnected { node: node(NODES[*index]), boot, running, spooled });
            }
            Move::Drop { node: index } => {
                self.agents[*index].connected = false;
                self.step(Event::NodeDisconnected { node: node(NODES[*index]) });
            }
            Move::Restart { node: index, is_orderly } => {
                self.apply(&Move::Drop { node: *index });
                if *is_orderly {
                    // It ends what it executes, and nobody hears of it yet.
                    self.apply(&Move::Finish { node: *index });
                }
                self.agents[*index].boot += 1;
                self.agents[*index].executing = None;
            }
            Move::RestartCollector => self.restart_collector(),
            Move::Progress { node: index } => {
                if let Some(attempt) = self.agents[*index].executing.clone().filter(|_| self.agents[*index].connected) {
                    let is_open_ended = self.at.0.is_multiple_of(2);
                    self.step(Event::Progress { node: node(NODES[*index]), attempt, is_open_ended });
                }
            }
            Move::Sample { node: index } => self.agents[*index].append(None),
            Move::Finish { node: index } => {
                let agent = &mut self.agents[*index];
                if let Some(attempt) = agent.executing.take() {
                    agent.append(Some(attempt.clone()));
                    let spooled = Some(agent.delivery_id);
                    if agent.connected {
                        self.step(Event::Finished { node: node(NODES[*index]), attempt, spooled });
                    }
                }
            }
            Move::Deliver { node: index } => {
                let agent = &mut self.agents[*index];
                if let Some(record) = agent.connected.then(|| agent.spool.pop_front()).flatten() {
                    let left = u64::try_from(agent.spool.len()).expect("small");
                    agent.delivered = Some(agent.delivery_id - left);
                    agent.heard_at = self.at;
                    if let Some(attempt) = record {
                        self.outcomes.insert(attempt.clone());
                        self.step(Event::OutcomeCommitted { node: node(NODES[*index]), attempt });
                    }
                    self.tell_delivered();
                }
            }
            Move::Assess { valid } => {
                if let Some(attempt) = self.assessing.pop() {
                    let invalid_reasons = if *valid { vec![] } else { bad("clipped") };
                    self.step(Event::Assessed { attempt, invalid_reasons });
                }
            }
            Move::Cancel { run: index } => {
                if let Some(run) = self.runs.keys().nth(*index).cloned() {
                    self.step(Event::CancelRun { run });
                }
            }
            Move::Wait { seconds } => {
                self.at = self.at.after(Duration::from_secs(*seconds));
                self.tell_delivered();
                self.step(Event::Tick);
            }
            Move::Stray { node: index, trial, attempt: number } => {
                // What nobody asked for: an outcome of an attempt that never began, or is long judged.
                let stray = attempt("run-0", *trial, *number);
                if !self.begun.contains_key(&stray) || self.judged.contains_key(&stray) {
                    self.step(Event::OutcomeCommitted { node: node(NODES[*index]), attempt: stray.clone() });
                    assert!(!self.assessing.contains(&stray) || self.judged.contains_key(&stray));
                }
            }
        }
    }

    /// Of the nodes of which that is asked, how far they have delivered.
    fn tell_delivered(&mut self) {
        for node in self.state.nodes_behind() {
            let index = NODES.iter().position(|name| *name == node.as_str()).expect("a known node");
            if let Some(delivery_id) = self.agents[index].delivered {
                self.step(Event::Delivered { node, delivery_id });
            }
        }
    }

    /// Everything but the store is gone, and the runs are taken up again.
    fn restart_collector(&mut self) {
        self.state = State::new(Config { grace: GRACE });
        self.assessing.clear();
        self.agents.iter_mut().for_each(|agent| (agent.connected, agent.delivered) = (false, None));
        let judged = self.judged.clone();
        for (run, plan) in self.plans.clone() {
            if !self.ended.contains_key(&run) {
                let plan = self.as_stored(plan);
                self.step(Event::RunSubmitted(plan));
            }
        }
        assert_eq!(self.judged, judged, "a restart by itself breaks nothing");
    }

    fn as_stored(&self, mut plan: RunPlan) -> RunPlan {
        for (index, trial) in (0u32..).zip(&mut plan.trials) {
            let begun = self.begun.keys().filter(|id| id.run == plan.run && id.trial == index);
            trial.attempt_count = begun.map(|id| id.attempt).max().unwrap_or(0);
            trial.is_valid = self.of_run(&plan.run).any(|(id, valid)| id.trial == index && *valid);
        }
        let invalid = self.of_run(&plan.run).filter(|(_, valid)| !**valid).count();
        plan.invalid_attempt_count = u32::try_from(invalid).expect("small");
        let open = self.begun.iter().filter(|(id, _)| id.run == plan.run && !self.judged.contains_key(id));
        let open = open.map(|(id, boot)| OpenAttempt {
            attempt: id.clone(),
            boot: Some(*boot),
            has_outcome: self.outcomes.contains(id),
        });
        plan.open_attempts = open.collect();
        plan
    }

    /// All nodes live, all outcomes arrive: how many rounds until every run has ended?
    fn settle(&mut self) -> usize {
        for node in 0..NODES.len() {
            self.apply(&Move::Connect { node });
        }
        for round in 0..1_000 {
            if self.runs.keys().all(|run| self.ended.contains_key(run)) {
                return round;
            }
            for node in 0..NODES.len() {
                self.apply(&Move::Finish { node });
                self.apply(&Move::Deliver { node });
            }
            self.apply(&Move::Assess { valid: round % 3 != 0 });
            self.apply(&Move::Wait { seconds: 20 });
        }
        panic!("runs do not end although all nodes live: {:?}", self.state);
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold_and_runs_end_when_nodes_live(moves in moves()) {
        let mut world = World::new();
        for change in &moves {
            world.apply(change);
        }
        world.settle();
        prop_assert!(world.state.open.is_empty());
        // What was being assessed when its run was cancelled, and the collector restarted, has an outcome and no result.
        let is_settled = |attempt: &AttemptId| {
            world.judged.contains_key(attempt)
                || world.assessing.contains(attempt)
                || (world.outcomes.contains(attempt) && world.ended.get(&attempt.run) == Some(&RunEnd::Cancelled))
        };
        prop_assert!(world.begun.keys().all(is_settled));
    }
}
