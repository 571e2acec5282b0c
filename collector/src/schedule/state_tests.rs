//! Scenarios.

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
#[derive(Clone)]
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
        self.connect_with(id, boot_number, running, None)
    }

    /// As an agent does whose spool holds records up to `spooled`.
    fn connect_with(
        &mut self,
        id: &str,
        boot_number: u8,
        running: Option<AttemptId>,
        spooled: Option<u64>,
    ) -> Vec<String> {
        self.step(Event::NodeConnected { node: node(id), boot: boot(boot_number), running, spooled })
    }

    fn progress(&mut self, id: &str, attempt: &AttemptId, is_open_ended: bool) -> Vec<String> {
        self.step(Event::Progress { node: node(id), attempt: attempt.clone(), is_open_ended })
    }

    fn deliver(&mut self, id: &str, delivery_id: u64) -> Vec<String> {
        self.step(Event::Delivered { node: node(id), delivery_id })
    }

    fn disconnect(&mut self, id: &str) -> Vec<String> {
        self.step(Event::NodeDisconnected { node: node(id) })
    }

    fn finish(&mut self, id: &str, attempt: &AttemptId) -> Vec<String> {
        self.finish_with(id, attempt, None)
    }

    fn finish_with(&mut self, id: &str, attempt: &AttemptId, spooled: Option<u64>) -> Vec<String> {
        self.step(Event::Finished { node: node(id), attempt: attempt.clone(), spooled })
    }

    fn tick(&mut self) -> Vec<String> {
        self.step(Event::Tick)
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
        Command::Assign { node, attempt, .. } => Some(format!("assign {node} {attempt}")),
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
fn a_node_that_is_gone_has_until_the_limit_of_its_attempt_and_no_longer() {
    let mut story = Story::new();
    story.submit(run_plan("r", 3, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    assert_eq!(story.wait(LIMIT - Duration::from_nanos(1)), [""; 0]);
    let view = NodeView {
        node: node("p"),
        is_connected: false,
        attempt: Some(attempt("r", 0, 1)),
        given_up_after: Some(Duration::from_nanos(1)),
    };
    assert_eq!(story.state.nodes(story.at), [view]);
    assert_eq!(story.wait(Duration::from_nanos(1)), ["invalid r/0.1 node_lost"]);
    assert_eq!(story.state.nodes(story.at), []);
    assert_eq!(story.wait(10 * GRACE), [""; 0]);
    // It is still at the old attempt: stopped first, then given the new one.
    assert_eq!(story.connect("p", 1, Some(attempt("r", 0, 1))), ["cancel p r/0.1"]);
    // An outcome that comes so late changes nothing, now or when the next attempt has one.
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), [""; 0]);
    assert_eq!(story.finish("p", &attempt("r", 0, 1)), ["assign p r/0.2"]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), [""; 0]);
    assert_eq!(story.execute("p", &attempt("r", 0, 2), vec![]), ["end r Completed 1/1 -1"]);
}

#[test]
fn a_link_cut_for_longer_than_the_grace_costs_nothing() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    assert_eq!(story.wait(2 * GRACE), [""; 0]);
    assert_eq!(story.connect("p", 1, Some(attempt("r", 0, 1))), [""; 0]);
    // The time that it was gone counts.
    assert_eq!(story.wait(LIMIT - 2 * GRACE - Duration::from_nanos(1)), [""; 0]);
    assert_eq!(story.execute("p", &attempt("r", 0, 1), vec![]), ["end r Completed 1/1 -0"]);
}

#[test]
fn a_node_that_goes_with_an_outcome_in_its_spool_is_waited_for_until_the_limit() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.finish("p", &attempt("r", 0, 1));
    story.disconnect("p");
    assert_eq!(story.wait(LIMIT - Duration::from_nanos(1)), [""; 0]);
    let mut back = story.clone();
    assert_eq!(back.connect("p", 2, None), [""; 0], "an outcome outlives its agent");
    assert_eq!(back.wait(GRACE - Duration::from_nanos(1)), [""; 0]);
    assert_eq!(back.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
    assert_eq!(story.wait(Duration::from_nanos(1)), ["invalid r/0.1 node_lost", "end r Incomplete 0/1 -1"]);
}

#[test]
fn an_outcome_behind_a_backlog_outlives_any_outage_of_a_day() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.finish_with("p", &attempt("r", 0, 1), Some(1_000));
    story.deliver("p", 999);
    story.disconnect("p");
    assert_eq!(story.wait(Duration::from_hours(24) - Duration::from_nanos(1)), [""; 0]);
    let mut lost = story.clone();
    assert_eq!(lost.wait(Duration::from_nanos(1)), ["invalid r/0.1 node_lost", "end r Incomplete 0/1 -1"]);
    story.at = MonoNs(0).after(Duration::from_hours(23));
    story.connect_with("p", 1, None, Some(2_000));
    assert_eq!(story.wait(GRACE - Duration::from_nanos(1)), [""; 0]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
}

#[test]
fn a_node_that_goes_after_all_its_records_arrived_is_waited_for_until_the_limit() {
    // It may have begun since, without having been heard of.
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    story.connect_with("p", 1, None, Some(10));
    story.deliver("p", 10);
    story.disconnect("p");
    assert_eq!(story.wait(LIMIT - Duration::from_nanos(1)), [""; 0]);
    assert_eq!(story.wait(Duration::from_nanos(1)), ["invalid r/0.1 node_lost", "end r Incomplete 0/1 -1"]);
}

#[test]
fn reconnecting_prolongs_no_wait_for_what_cannot_come() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    // The assignment never arrived; the spool grows by what is sampled.
    story.connect_with("p", 1, None, Some(10));
    story.deliver("p", 11);
    assert_eq!(story.wait(GRACE / 2), [""; 0]);
    story.disconnect("p");
    story.connect_with("p", 1, None, Some(20));
    story.deliver("p", 15);
    assert_eq!(story.wait(GRACE / 2), ["invalid r/0.1 outcome_missing", "assign p r/0.2"]);
}

#[test]
fn an_attempt_that_ends_before_anybody_heard_that_it_began_is_awaited_as_far_as_its_agent_says() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    story.connect_with("p", 1, None, Some(10));
    story.deliver("p", 10);
    story.wait(GRACE / 2);
    assert_eq!(story.finish_with("p", &attempt("r", 0, 1), Some(20)), [""; 0]);
    for delivery_id in [15, 20] {
        assert_eq!(story.wait(GRACE - Duration::from_nanos(1)), [""; 0]);
        story.deliver("p", delivery_id);
    }
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
}

#[test]
fn an_outcome_behind_a_backlog_is_waited_for_while_records_arrive_and_not_for_ever() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    story.connect_with("p", 1, None, Some(1_000));
    for delivery_id in [100, 200, 999] {
        assert_eq!(story.wait(GRACE - Duration::from_nanos(1)), [""; 0]);
        story.deliver("p", delivery_id);
    }
    assert_eq!(story.wait(GRACE - Duration::from_nanos(1)), [""; 0], "past the limit of the attempt");
    let mut silent = story.clone();
    silent.deliver("p", 999);
    assert_eq!(silent.wait(Duration::from_nanos(1)), ["invalid r/0.1 outcome_missing", "assign p r/0.2"]);
    let mut whole = story.clone();
    whole.deliver("p", 1_000);
    let mut without = whole.clone();
    assert_eq!(whole.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
    // What is measured since does not count: the outcome would have come before.
    assert_eq!(without.wait(GRACE / 2), [""; 0]);
    without.deliver("p", 1_100);
    assert_eq!(without.wait(GRACE / 2), ["invalid r/0.1 outcome_missing", "assign p r/0.2"]);
}

#[test]
fn a_backlog_that_takes_more_than_a_day_is_not_waited_for() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.step(Event::Finished { node: node("p"), attempt: attempt("r", 0, 1), spooled: Some(u64::MAX) });
    for minute in 1..24 * 60 {
        story.deliver("p", minute);
        assert_eq!(story.wait(GRACE - Duration::from_nanos(1)), [""; 0]);
        if minute % 7 == 0 {
            story.disconnect("p");
            story.connect_with("p", 1, None, Some(u64::MAX));
        }
    }
    story.deliver("p", 24 * 60);
    assert_eq!(story.wait(GRACE - Duration::from_nanos(1)), [""; 0], "a microsecond is left");
    story.deliver("p", 24 * 60 + 1);
    assert_eq!(story.wait(Duration::from_secs(1)), ["invalid r/0.1 outcome_missing", "end r Incomplete 0/1 -1"]);
}

#[test]
fn an_agent_that_had_not_begun_when_it_reconnected_is_taken_at_its_progress() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    story.connect("p", 1, None);
    assert_eq!(story.progress("p", &attempt("r", 0, 1), false), [""; 0]);
    assert_eq!(story.wait(GRACE), [""; 0]);
    assert_eq!(story.execute("p", &attempt("r", 0, 1), vec![]), ["end r Completed 1/1 -0"]);
    // The same of one that nobody waits for any more.
    assert_eq!(story.progress("p", &attempt("r", 0, 1), false), ["cancel p r/0.1"]);
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
fn a_restarted_agent_that_does_not_name_its_spool_makes_its_attempt_invalid() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    assert_eq!(story.connect("p", 2, None), [""; 0]);
    assert_eq!(story.tick(), ["invalid r/0.1 agent_restarted", "assign p r/0.2"]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), [""; 0]);
    assert_eq!(story.execute("p", &attempt("r", 0, 2), vec![]), ["end r Completed 1/1 -1"]);
}

#[test]
fn an_outcome_in_the_spool_of_a_restarted_agent_counts() {
    let mut story = Story::new();
    story.submit(run_plan("r", 1, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    // Long ago, so that it lies behind a backlog.
    assert_eq!(story.connect_with("p", 2, None, Some(100)), [""; 0]);
    for delivery_id in [30, 60, 99] {
        assert_eq!(story.wait(GRACE - Duration::from_nanos(1)), [""; 0]);
        story.deliver("p", delivery_id);
        assert_eq!(story.tick(), [""; 0]);
    }
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
    story.deliver("p", 100);
    assert_eq!(story.assess(&attempt("r", 0, 1), vec![]), ["end r Completed 1/1 -0"]);
}

#[test]
fn what_a_restarted_agent_left_unfinished_is_repeated_as_soon_as_its_spool_has_arrived() {
    let mut story = Story::new();
    story.submit(run_plan("r", 2, &[("p", 0)]));
    story.connect("p", 1, None);
    story.disconnect("p");
    let restarted = ["invalid r/0.1 agent_restarted", "assign p r/0.2"];
    // A spool that was never used holds no outcome.
    let mut unused = story.clone();
    unused.connect_with("p", 2, None, Some(0));
    assert_eq!(unused.tick(), restarted);
    story.connect_with("p", 2, None, Some(100));
    story.deliver("p", 99);
    assert_eq!(story.tick(), [""; 0]);
    let mut silent = story.clone();
    assert_eq!(silent.wait(GRACE), restarted);
    // A third start knows no more than the second.
    story.disconnect("p");
    story.connect_with("p", 3, None, Some(200));
    story.deliver("p", 100);
    assert_eq!(story.tick(), restarted);
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

/// A run of two trials on p, of which the first was being executed by start 1 of its agent when the collector stopped.
fn taken_up() -> Story {
    let mut plan = run_plan("r", 2, &[("p", 0), ("p", 0)]);
    plan.trials[0].attempt_count = 1;
    plan.open_attempts = vec![OpenAttempt { attempt: attempt("r", 0, 1), boot: Some(boot(1)), has_outcome: false }];
    let mut story = Story::new();
    story.at = MonoNs(0).after(GRACE);
    assert_eq!(story.submit(plan), [""; 0]);
    story
}

#[test]
fn a_restarted_collector_goes_on_with_what_is_executing() {
    let mut story = taken_up();
    assert_eq!(story.wait(2 * GRACE), [""; 0]);
    assert_eq!(story.connect("p", 1, Some(attempt("r", 0, 1))), [""; 0]);
    assert_eq!(story.execute("p", &attempt("r", 0, 1), vec![]), ["assign p r/1.1"]);
    assert_eq!(story.execute("p", &attempt("r", 1, 1), vec![]), ["end r Completed 2/2 -0"]);
}

#[test]
fn a_restarted_collector_awaits_the_outcome_of_what_has_ended_meanwhile() {
    let mut story = taken_up();
    assert_eq!(story.connect_with("p", 1, None, Some(10)), [""; 0]);
    let mut missing = story.clone();
    assert_eq!(missing.wait(GRACE), ["invalid r/0.1 outcome_missing", "assign p r/1.1"]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
    assert_eq!(story.assess(&attempt("r", 0, 1), vec![]), ["assign p r/1.1"]);
}

#[test]
fn a_restarted_collector_gives_up_what_a_restarted_agent_cannot_execute_any_more() {
    let mut story = taken_up();
    let mut committed = story.clone();
    assert_eq!(story.connect("p", 2, None), [""; 0]);
    assert_eq!(story.tick(), ["invalid r/0.1 agent_restarted", "assign p r/1.1"]);
    // The outcome of the old start arrives too late, and changes nothing.
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), [""; 0]);
    // In time, it counts.
    assert_eq!(committed.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
    assert_eq!(committed.connect("p", 2, None), [""; 0]);
    assert_eq!(committed.assess(&attempt("r", 0, 1), vec![]), ["assign p r/1.1"]);
}

#[test]
fn a_restarted_collector_waits_no_longer_than_the_attempts_limit_from_then_on() {
    let mut story = taken_up();
    assert_eq!(story.wait(LIMIT - Duration::from_nanos(1)), [""; 0]);
    assert_eq!(story.wait(Duration::from_nanos(1)), ["invalid r/0.1 node_lost"]);
    assert_eq!(story.connect("p", 1, Some(attempt("r", 0, 1))), ["cancel p r/0.1"]);
    assert_eq!(story.finish("p", &attempt("r", 0, 1)), ["assign p r/1.1"]);
}

#[test]
fn a_run_can_be_cancelled_while_its_node_is_waited_for() {
    let mut story = taken_up();
    let ended = story.step(Event::CancelRun { run: run("r") });
    assert_eq!(ended, ["invalid r/0.1 cancelled", "end r Cancelled 0/2 -1"]);
    assert_eq!(story.connect("p", 1, Some(attempt("r", 0, 1))), ["cancel p r/0.1"]);
}

#[test]
fn an_attempt_of_an_unknown_start_is_awaited_like_one_of_the_same() {
    let mut plan = run_plan("r", 1, &[("p", 0)]);
    plan.trials[0].attempt_count = 1;
    plan.open_attempts = vec![OpenAttempt { attempt: attempt("r", 0, 1), boot: None, has_outcome: false }];
    let mut story = Story::new();
    story.submit(plan);
    assert_eq!(story.connect("p", 7, None), [""; 0]);
    assert_eq!(story.commit("p", &attempt("r", 0, 1)), ["assess r/0.1"]);
}

#[test]
fn a_restarted_collector_assesses_what_has_an_outcome() {
    let mut story = Story::new();
    let mut plan = run_plan("r", 3, &[("p", 0), ("q", 0), ("p", 1)]);
    plan.trials[0].attempt_count = 1;
    plan.trials[0].is_valid = true;
    plan.trials[1].attempt_count = 2;
    plan.invalid_attempt_count = 1;
    plan.open_attempts = vec![OpenAttempt { attempt: attempt("r", 1, 2), boot: Some(boot(2)), has_outcome: true }];
    assert_eq!(story.submit(plan), ["assess r/1.2"]);
    assert_eq!(story.connect("q", 3, None), [""; 0], "whatever became of its agent");
    assert_eq!(story.connect("p", 1, None), ["assign p r/2.1"]);
    assert_eq!(story.execute("p", &attempt("r", 2, 1), vec![]), [""; 0]);
    assert_eq!(story.assess(&attempt("r", 1, 2), vec![]), ["end r Completed 3/3 -1"]);
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
    story.progress("p", &attempt("r", 0, 1), true);
    assert_eq!(story.wait(LIMIT / 2), [""; 0]);
    story.progress("p", &attempt("r", 0, 1), false);
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
fn a_restart_of_both_in_the_middle_of_the_last_attempt_at_a_job_skips_what_needs_it() {
    let mut plan = run_plan("r", 1, &[("p", 0), ("q", 0)]);
    plan.trials[0].attempt_count = 1;
    plan.open_attempts = vec![OpenAttempt { attempt: attempt("r", 0, 1), boot: Some(boot(1)), has_outcome: false }];
    let mut story = Story::new();
    assert_eq!(story.submit(needing(plan, &[&[], &[0]])), [""; 0]);
    assert_eq!(story.connect("p", 2, None), [""; 0]);
    assert_eq!(story.tick(), ["invalid r/0.1 agent_restarted", "end r Incomplete 0/2 -1"]);
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

#[path = "state_histories.rs"]
mod histories;
