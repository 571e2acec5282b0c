//! Scenarios, and random histories against the rules that always hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::schedule::TrialPlan;

const GRACE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(150);

fn node(name: &str) -> NodeId {
    name.parse().expect("a name")
}

fn run(name: &str) -> RunId {
    name.parse().expect("a name")
}

fn boot(number: u8) -> BootId {
    BootId::from_bytes(&[number; 16]).expect("16 bytes")
}

fn attempt(run_name: &str, trial: u32, attempt: u32) -> AttemptId {
    AttemptId { run: run(run_name), trial, attempt }
}

fn bad(code: &str) -> Vec<InvalidReason> {
    vec![InvalidReason { code: code.to_owned(), message: format!("it was {code}") }]
}

/// A run whose trials are given as (node, block).
fn run_plan(name: &str, attempt_count_max: u32, trials: &[(&str, u32)]) -> RunPlan {
    let trial = |(id, block): &(&str, u32)| TrialPlan {
        node: node(id),
        block: *block,
        treatment: "cnn".to_owned(),
        limit: LIMIT,
        needs: Vec::new(),
        attempt_count: 0,
        is_valid: false,
    };
    RunPlan {
        run: run(name),
        attempt_count_max,
        trials: trials.iter().map(trial).collect(),
        invalid_attempt_count: 0,
        open_attempts: Vec::new(),
    }
}

/// The same, with what each trial needs.
fn needing(mut plan: RunPlan, needs: &[&[u32]]) -> RunPlan {
    for (trial, needs) in plan.trials.iter_mut().zip(needs) {
        trial.needs = needs.to_vec();
    }
    plan
}

/// Tells a history; a step's commands come back as short words, announcements left out.
struct Story {
    state: State,
    at: MonoNs,
}

impl Story {
    fn new() -> Self {
        Self { state: State::new(Config { grace: GRACE }), at: MonoNs(0) }
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        self.state.step(self.at, event).iter().filter_map(word).collect()
    }

    fn submit(&mut self, plan: RunPlan) -> Vec<String> {
        self.step(Event::RunSubmitted(plan))
    }

    fn connect(&mut self, id: &str, boot_number: u8, running: Option<AttemptId>) -> Vec<String> {
        self.step(Event::NodeConnected { node: node(id), boot: boot(boot_number), running })
    }

    fn disconnect(&mut self, id: &str) -> Vec<String> {
        self.step(Event::NodeDisconnected { node: node(id) })
    }

    fn finish(&mut self, id: &str, attempt: &AttemptId) -> Vec<String> {
        self.step(Event::Finished { node: node(id), attempt: attempt.clone() })
    }

    fn commit(&mut self, id: &str, attempt: &AttemptId) -> Vec<String> {
        self.step(Event::OutcomeCommitted { node: node(id), attempt: attempt.clone() })
    }

    fn assess(&mut self, attempt: &AttemptId, invalid_reasons: Vec<InvalidReason>) -> Vec<String> {
        self.step(Event::Assessed { attempt: attempt.clone(), invalid_reasons })
    }

    /// The whole of an attempt that goes well, or is found invalid.
    fn execute(&mut self, id: &str, attempt: &AttemptId, invalid_reasons: Vec<InvalidReason>) -> Vec<String> {
        assert_eq!(self.finish(id, attempt), [""; 0]);
        assert_eq!(self.commit(id, attempt), [format!("assess {attempt}")]);
        self.assess(attempt, invalid_reasons)
    }

    fn wait(&mut self, duration: Duration) -> Vec<String> {
        self.at = self.at.after(duration);
        self.step(Event::Tick)
    }
}

fn word(command: &Command) -> Option<String> {
    match command {
        Command::Assign { node, attempt } => Some(format!("assign {node} {attempt}")),
        Command::CancelAttempt { node, attempt, .. } => Some(format!("cancel {node} {attempt}")),
        Command::Assess { attempt } => Some(format!("assess {attempt}")),
        Command::RecordInvalid { attempt, reason } => Some(format!("invalid {attempt} {}", reason.code)),
        Command::EndRun { run, end, counts } => Some(format!(
            "end {run} {end:?} {}/{} -{}",
            counts.valid_count, counts.trial_count, counts.invalid_attempt_count
        )),
        Command::Announce { .. } => None,
    }
}

#[test]
fn a_run_goes_trial_by_trial_to_its_end() {
    let mut story = Story::new();
    assert_eq!(story.submit(run_plan("r", 2, &[("p", 0), ("q", 0), ("p", 0)])), [""; 0]);
    assert_eq!(story.connect("p", 1, None), ["assign p r/0.1"]);
    assert_eq!(story.connect("q", 2, None), ["assign q r/1.1"]);
    assert_eq!(story.execute("p", &attempt("r", 0, 1), vec![]), ["assign p r/2.1"]);
    assert_eq!(story.execute("p", &attempt("r", 2, 1), vec![]), [""; 0]);
    assert_eq!(story.execute("q", &attempt("r", 1, 1), vec![]), ["end r Completed 3/3 -0"]);
}

#[test]
fn the_outcome_may_come_before_the_agent_says_that_it_is_free() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0), ("p", 0)]));
    story.connect("p", 1, None);
    let first = attempt("r", 0, 1);
    assert_eq!(story.commit("p", &first), ["assess r/0.1"]);
    assert_eq!(story.assess(&first, vec![]), [""; 0]);
    assert_eq!(story.finish("p", &first), ["assign p r/1.1"]);
}

#[test]
fn an_invalid_trial_is_repeated_at_the_end_of_its_block() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0), ("p", 0), ("p", 1)]));
    story.connect("p", 1, None);
    assert_eq!(story.execute("p", &attempt("r", 0, 1), bad("clipped")), ["assign p r/1.1"]);
    assert_eq!(story.execute("p", &attempt("r", 1, 1), vec![]), ["assign p r/0.2"]);
    assert_eq!(story.execute("p", &attempt("r", 0, 2), vec![]), ["assign p r/2.1"]);
    assert_eq!(story.execute("p", &attempt("r", 2, 1), vec![]), ["end r Completed 3/3 -1"]);
}

#[test]
fn a_trial_without_attempts_left_makes_the_run_incomplete_and_the_rest_goes_on() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0), ("p", 1)]));
    story.connect("p", 1, None);
    assert_eq!(story.execute("p", &attempt("r", 0, 1), bad("clipped")), ["assign p r/0.2"]);
    assert_eq!(story.execute("p", &attempt("r", 0, 2), bad("clipped")), ["assign p r/1.1"]);
    assert_eq!(story.execute("p", &attempt("r", 1, 1), vec![]), ["end r Incomplete 1/2 -2"]);
}

#[test]
fn a_node_serves_runs_in_the_order_of_their_submission() {
    let mut story = Story::new();
    story.connect("p", 1, None);
    story.connect("q", 2, None);
    assert_eq!(story.submit(run_plan("b", 1, &[("p", 0), ("p", 0)])), ["assign p b/0.1"]);
    assert_eq!(story.submit(run_plan("a", 1, &[("p", 0), ("q", 0)])), ["assign q a/1.1"]);
    assert_eq!(story.execute("p", &attempt("b", 0, 1), vec![]), ["assign p b/1.1"]);
    assert_eq!(story.execute("p", &attempt("b", 1, 1), vec![]), ["end b Completed 2/2 -0", "assign p a/0.1"]);
}

#[test]
fn a_node_gone_for_longer_than_the_grace_loses_its_attempt_and_the_trial_waits_for_it() {
    let mut story = Story::new();
    story.submit(run_plan("r", 3, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    assert_eq!(story.wait(GRACE - Duration::from_nanos(1)), [""; 0]);
    assert_eq!(story.wait(Duration::from_nanos(1)), ["invalid r/0.1 node_lost"]);
    assert_eq!(story.wait(10 * GRACE), [""; 0]);
    // It is still at the old attempt: stopped first, then given the new one.
    assert_eq!(story.connect("p", 1, Some(attempt("r", 0, 1))), ["cancel p r/0.1"]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), [""; 0]);
    assert_eq!(story.finish("p", &attempt("r", 0, 1)), ["assign p r/0.2"]);
}

#[test]
fn a_short_interruption_changes_nothing() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    assert_eq!(story.wait(GRACE / 2), [""; 0]);
    assert_eq!(story.connect("p", 1, Some(attempt("r", 0, 1))), [""; 0]);
    assert_eq!(story.wait(GRACE), [""; 0]);
    assert_eq!(story.execute("p", &attempt("r", 0, 1), vec![]), ["end r Completed 1/1 -0"]);
}

#[test]
fn a_restarted_agent_makes_its_attempt_invalid() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    assert_eq!(story.connect("p", 2, None), ["invalid r/0.1 agent_restarted", "assign p r/0.2"]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), [""; 0]);
    assert_eq!(story.execute("p", &attempt("r", 0, 2), vec![]), ["end r Completed 1/1 -1"]);
}

#[test]
fn an_attempt_that_ended_while_the_connection_was_down_counts() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    assert_eq!(story.connect("p", 1, None), [""; 0]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
    assert_eq!(story.assess(&attempt("r", 0, 1), vec![]), ["end r Completed 1/1 -0"]);
}

#[test]
fn an_assignment_that_never_arrived_is_given_up_after_the_grace() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    story.connect("p", 1, None);
    assert_eq!(story.wait(GRACE), ["invalid r/0.1 outcome_missing", "assign p r/0.2"]);
}

#[test]
fn a_restart_of_the_agent_after_the_trial_does_not_break_it() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.finish("p", &attempt("r", 0, 1));
    story.disconnect("p");
    assert_eq!(story.connect("p", 2, None), [""; 0]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
}

#[test]
fn a_restarted_collector_breaks_open_attempts_but_not_those_with_an_outcome() {
    let mut story = Story::new();
    let mut plan = run_plan("r", 3, &[("p", 0), ("p", 0), ("q", 0), ("p", 1)]);
    plan.trials[0].attempt_count = 1;
    plan.trials[0].is_valid = true;
    plan.trials[1].attempt_count = 1;
    plan.trials[2].attempt_count = 2;
    plan.invalid_attempt_count = 1;
    plan.open_attempts = vec![
        OpenAttempt { attempt: attempt("r", 1, 1), has_outcome: false },
        OpenAttempt { attempt: attempt("r", 2, 2), has_outcome: true },
    ];
    assert_eq!(story.submit(plan), ["invalid r/1.1 collector_restarted", "assess r/2.2"]);
    // The node of the broken attempt is told to stop, and repeats it when it is free.
    assert_eq!(story.connect("p", 1, Some(attempt("r", 1, 1))), ["cancel p r/1.1"]);
    assert_eq!(story.finish("p", &attempt("r", 1, 1)), ["assign p r/1.2"]);
    assert_eq!(story.execute("p", &attempt("r", 1, 2), vec![]), ["assign p r/3.1"]);
    assert_eq!(story.execute("p", &attempt("r", 3, 1), vec![]), [""; 0]);
    assert_eq!(story.assess(&attempt("r", 2, 2), vec![]), ["end r Completed 4/4 -2"]);
}

#[test]
fn a_run_that_was_done_when_the_collector_stopped_ends_at_once() {
    let mut plan = run_plan("r", 1, &[("p", 0)]);
    plan.trials[0].attempt_count = 1;
    assert_eq!(Story::new().submit(plan), ["end r Incomplete 0/1 -0"]);
}

#[test]
fn an_attempt_that_takes_too_long_is_cancelled() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    assert_eq!(story.wait(LIMIT), ["cancel p r/0.1", "invalid r/0.1 timed_out"]);
    // An agent that does not answer hears it again.
    assert_eq!(story.wait(GRACE), ["cancel p r/0.1"]);
    assert_eq!(story.finish("p", &attempt("r", 0, 1)), ["assign p r/0.2"]);
}

#[test]
fn progress_in_an_open_ended_phase_gives_an_attempt_its_whole_time_again() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.wait(LIMIT / 2);
    story.step(Event::OpenEndedProgress { node: node("p"), attempt: attempt("r", 0, 1) });
    assert_eq!(story.wait(LIMIT / 2), [""; 0]);
    assert_eq!(story.wait(LIMIT / 2), ["cancel p r/0.1", "invalid r/0.1 timed_out"]);
}

#[test]
fn a_cancelled_run_stops_its_nodes_and_frees_them_for_others() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0), ("q", 0)]));
    story.submit(run_plan("s", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    assert_eq!(
        story.step(Event::CancelRun { run: run("r") }),
        ["cancel p r/0.1", "invalid r/0.1 cancelled", "end r Cancelled 0/2 -1"]
    );
    assert_eq!(story.connect("q", 2, None), [""; 0]);
    assert_eq!(story.finish("p", &attempt("r", 0, 1)), ["assign p s/0.1"]);
    assert_eq!(story.step(Event::CancelRun { run: run("r") }), [""; 0]);
}

#[test]
fn an_outcome_told_twice_is_assessed_once() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), [""; 0]);
}

#[test]
fn an_outcome_from_another_node_is_not_taken() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    assert_eq!(story.commit("q", &attempt("r", 0, 1)), [""; 0]);
}

#[test]
fn a_trial_waits_for_what_it_needs_and_holds_up_nothing() {
    let mut story = Story::new();
    // On p: an inference of what q trains, and two that need nothing, one of them of the next block.
    let plan = run_plan("r", 1, &[("p", 0), ("p", 0), ("q", 0), ("p", 1)]);
    story.submit(needing(plan, &[&[2], &[], &[], &[]]));
    assert_eq!(story.connect("p", 1, None), ["assign p r/1.1"]);
    assert_eq!(story.connect("q", 2, None), ["assign q r/2.1"]);
    assert_eq!(story.execute("p", &attempt("r", 1, 1), vec![]), ["assign p r/3.1"]);
    // What it waited for is there: p is told as soon as it is free.
    assert_eq!(story.execute("q", &attempt("r", 2, 1), vec![]), [""; 0]);
    assert_eq!(story.execute("p", &attempt("r", 3, 1), vec![]), ["assign p r/0.1"]);
    assert_eq!(story.execute("p", &attempt("r", 0, 1), vec![]), ["end r Completed 4/4 -0"]);
}

#[test]
fn a_node_that_waits_serves_the_next_run() {
    let mut story = Story::new();
    story.connect("p", 1, None);
    story.connect("q", 2, None);
    story.submit(needing(run_plan("r", 1, &[("p", 0), ("q", 0)]), &[&[1], &[]]));
    assert_eq!(story.submit(run_plan("s", 1, &[("p", 0), ("p", 0)])), ["assign p s/0.1"]);
    assert_eq!(story.execute("q", &attempt("r", 1, 1), vec![]), [""; 0]);
    assert_eq!(story.execute("p", &attempt("s", 0, 1), vec![]), ["assign p r/0.1"]);
}

#[test]
fn an_invalid_job_is_repeated_before_what_needs_it() {
    let mut story = Story::new();
    story.submit(needing(run_plan("r", 2, &[("p", 0), ("p", 0)]), &[&[1], &[]]));
    assert_eq!(story.connect("p", 1, None), ["assign p r/1.1"]);
    assert_eq!(story.execute("p", &attempt("r", 1, 1), bad("job")), ["assign p r/1.2"]);
    assert_eq!(story.execute("p", &attempt("r", 1, 2), vec![]), ["assign p r/0.1"]);
}

#[test]
fn what_needs_an_exhausted_trial_is_skipped_and_said_once_and_the_rest_goes_on() {
    let mut story = Story::new();
    // Train, optimise, infer, and a block of its own.
    let plan = run_plan("r", 1, &[("p", 0), ("p", 0), ("q", 0), ("q", 1)]);
    story.submit(needing(plan, &[&[], &[0], &[1], &[]]));
    story.connect("p", 1, None);
    story.finish("p", &attempt("r", 0, 1));
    story.commit("p", &attempt("r", 0, 1));
    let commands =
        story.state.step(story.at, Event::Assessed { attempt: attempt("r", 0, 1), invalid_reasons: bad("job") });
    let told = commands.iter().filter_map(|command| match command {
        Command::Announce { text, counts, .. } => Some((text.as_str(), counts.skipped_count)),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    let skipped =
        "2 trials are skipped for want of cnn, trial 0, which has no valid attempt: cnn, trial 1; cnn, trial 2";
    assert_eq!(told, [("cnn, trial 0, attempt 1 is invalid: it was job; it was the last attempt", 0), (skipped, 2)]);
    assert_eq!(story.connect("q", 2, None), ["assign q r/3.1"]);
    assert_eq!(story.execute("q", &attempt("r", 3, 1), vec![]), ["end r Incomplete 1/4 -1"]);
}

#[test]
fn a_restart_remembers_what_is_skipped_and_what_may_be_executed() {
    let mut plan = run_plan("r", 1, &[("p", 0), ("p", 0), ("p", 0), ("p", 0)]);
    plan.trials[0].attempt_count = 1;
    plan.trials[1].attempt_count = 1;
    plan.trials[1].is_valid = true;
    let mut story = Story::new();
    story.connect("p", 1, None);
    assert_eq!(story.submit(needing(plan, &[&[], &[], &[0], &[1]])), ["assign p r/3.1"]);
    assert_eq!(story.state.counts(&run("r")).expect("it runs").skipped_count, 1);
    assert_eq!(story.execute("p", &attempt("r", 3, 1), vec![]), ["end r Incomplete 2/4 -0"]);
}

#[test]
fn a_restart_in_the_middle_of_the_last_attempt_at_a_job_skips_what_needs_it() {
    let mut plan = run_plan("r", 1, &[("p", 0), ("q", 0)]);
    plan.trials[0].attempt_count = 1;
    plan.open_attempts = vec![OpenAttempt { attempt: attempt("r", 0, 1), has_outcome: false }];
    let mut story = Story::new();
    let ended = story.submit(needing(plan, &[&[], &[0]]));
    assert_eq!(ended, ["invalid r/0.1 collector_restarted", "end r Incomplete 0/2 -1"]);
}

#[test]
fn trials_that_need_each_other_do_not_hold_up_the_end() {
    let mut story = Story::new();
    story.connect("p", 1, None);
    let knot = needing(run_plan("r", 1, &[("p", 0), ("p", 0), ("p", 0)]), &[&[1], &[0], &[7]]);
    assert_eq!(story.submit(knot), ["end r Incomplete 0/3 -0"]);
}

#[test]
fn a_cancelled_run_ends_with_what_waits_in_it() {
    let mut story = Story::new();
    story.submit(needing(run_plan("r", 1, &[("p", 0), ("q", 0)]), &[&[], &[0]]));
    story.connect("p", 1, None);
    story.connect("q", 2, None);
    assert_eq!(
        story.step(Event::CancelRun { run: run("r") }),
        ["cancel p r/0.1", "invalid r/0.1 cancelled", "end r Cancelled 0/2 -1"]
    );
}

// === Random histories ===

#[derive(Debug, Clone)]
enum Move {
    Submit { attempt_count_max: u32, trials: Vec<(usize, u32, Vec<u32>)> },
    Connect { node: usize },
    Drop { node: usize },
    Restart { node: usize },
    Progress { node: usize },
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
        1 => node.clone().prop_map(|node| Move::Restart { node }),
        1 => node.clone().prop_map(|node| Move::Progress { node }),
        4 => node.clone().prop_map(|node| Move::Finish { node }),
        4 => node.clone().prop_map(|node| Move::Deliver { node }),
        4 => any::<bool>().prop_map(|valid| Move::Assess { valid }),
        1 => (0usize..4).prop_map(|run| Move::Cancel { run }),
        3 => (0u64..300).prop_map(|seconds| Move::Wait { seconds }),
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
    spool: Vec<AttemptId>,
}

/// The schedule with its surroundings, and what must always be true of both.
struct World {
    state: State,
    at: MonoNs,
    agents: Vec<Agent>,
    assessing: Vec<AttemptId>,
    /// Attempts that a trial gets, and what each trial needs.
    runs: BTreeMap<RunId, (u32, Vec<Vec<u32>>)>,
    judged: BTreeMap<AttemptId, bool>,
    begun: BTreeSet<AttemptId>,
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
            judged: BTreeMap::new(),
            begun: BTreeSet::new(),
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
            Command::Assign { node, attempt } => {
                let index = NODES.iter().position(|name| *name == node.as_str()).expect("a known node");
                let (attempt_count_max, needs) = &self.runs[&attempt.run];
                for needed in &needs[usize::try_from(attempt.trial).expect("small")] {
                    let mut tries = self.of_run(&attempt.run).filter(|(id, _)| id.trial == *needed);
                    assert!(tries.any(|(_, valid)| *valid), "{attempt} before trial {needed} is valid");
                }
                assert!(!self.ended.contains_key(&attempt.run), "{attempt} after the end of its run");
                assert!((1..=*attempt_count_max).contains(&attempt.attempt), "{attempt} is one too many");
                assert!(self.begun.insert(attempt.clone()), "{attempt} twice");
                let agent = &mut self.agents[index];
                assert!(agent.connected, "{attempt} for a node that is not there");
                assert_eq!(agent.executing, None, "{attempt} for a node that is busy");
                agent.executing = Some(attempt);
            }
            Command::CancelAttempt { node, attempt, .. } => {
                let index = NODES.iter().position(|name| *name == node.as_str()).expect("a known node");
                assert_eq!(self.agents[index].executing.as_ref(), Some(&attempt));
            }
            Command::Assess { attempt } => self.assessing.push(attempt),
            Command::RecordInvalid { attempt, .. } => {
                assert!(self.begun.contains(&attempt));
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
                self.step(Event::RunSubmitted(needing(run_plan(&name, *attempt_count_max, &trials), &needs)));
            }
            Move::Connect { node: index } => {
                let agent = &mut self.agents[*index];
                agent.connected = true;
                let running = agent.executing.clone();
                let boot = boot(agent.boot);
                self.step(Event::NodeConnected { node: node(NODES[*index]), boot, running });
            }
            Move::Drop { node: index } => {
                self.agents[*index].connected = false;
                self.step(Event::NodeDisconnected { node: node(NODES[*index]) });
            }
            Move::Restart { node: index } => {
                self.apply(&Move::Drop { node: *index });
                self.agents[*index].boot += 1;
                self.agents[*index].executing = None;
            }
            Move::Progress { node: index } => {
                if let Some(attempt) = self.agents[*index].executing.clone().filter(|_| self.agents[*index].connected) {
                    self.step(Event::OpenEndedProgress { node: node(NODES[*index]), attempt });
                }
            }
            Move::Finish { node: index } => {
                let agent = &mut self.agents[*index];
                if let Some(attempt) = agent.executing.take() {
                    agent.spool.push(attempt.clone());
                    if agent.connected {
                        self.step(Event::Finished { node: node(NODES[*index]), attempt });
                    }
                }
            }
            Move::Deliver { node: index } => {
                if let Some(attempt) = self.agents[*index].spool.pop().filter(|_| self.agents[*index].connected) {
                    self.step(Event::OutcomeCommitted { node: node(NODES[*index]), attempt });
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
                self.step(Event::Tick);
            }
            Move::Stray { node: index, trial, attempt: number } => {
                // What nobody asked for: an outcome of an attempt that never began, or is long judged.
                let stray = attempt("run-0", *trial, *number);
                if !self.begun.contains(&stray) || self.judged.contains_key(&stray) {
                    self.step(Event::OutcomeCommitted { node: node(NODES[*index]), attempt: stray.clone() });
                    assert!(!self.assessing.contains(&stray) || self.judged.contains_key(&stray));
                }
            }
        }
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
        prop_assert!(world.begun.iter().all(|attempt| world.judged.contains_key(attempt) || world.assessing.contains(attempt)));
    }
}
