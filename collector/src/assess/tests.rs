use tinywatt_proto::sample::{Flags, Reading};
use tinywatt_proto::time::{MonoNs, Window};

use super::*;
use crate::result::JobResult;
use crate::store::{ChannelSamples, Lost};

const PERIOD_NS: u64 = 808_000;

/// A rail of 5 V with 0.1 Ω: one code of the shunt is 0.5 mW.
fn channel() -> v1::Channel {
    v1::Channel {
        name: "rail".to_owned(),
        source: "ina219-emulator".to_owned(),
        kind: v1::FigureKind::Simulated.into(),
        sample_period_ns: PERIOD_NS,
        time_unit_ns: 1_000,
        scale: Some(v1::channel::Scale::ShuntBus(v1::ShuntBusScale {
            shunt_nanovolts_per_code: 10_000,
            bus_microvolts_per_code: 4_000,
            shunt_nanoohms: 100_000_000,
            shunt_code_max: 8_000,
            error_budget: Some(v1::ErrorBudget {
                shunt_offset_nanovolts: 125_000,
                shunt_gain_ppm: 5_000,
                shunt_tolerance_ppm: 10_000,
                bus_gain_ppm: 5_000,
                bus_quantum_microvolts: 8_000,
                shunt_quantum_nanovolts: 10_000,
                timestamp_error_ns: 90_000,
            }),
        })),
        ..v1::Channel::default()
    }
}

fn ms(milliseconds: u64) -> u64 {
    milliseconds * 1_000_000
}

fn wire_window(phase: v1::Phase, start_ms: u64, end_ms: u64, inference_count: u64) -> v1::Window {
    v1::Window {
        phase: phase.into(),
        start_mono_ns: ms(start_ms),
        end_mono_ns: ms(end_ms),
        inference_count,
        simulated_true_joules: None,
    }
}

/// 2 W idle, 4 W from 1.0 to 4.0 s; idle windows 0.1-0.9 s and 4.1-4.9 s, active 1.5-3.5 s with 1,000 inferences.
struct Trial {
    expected: Expected,
    samples: ChannelSamples,
    /// What another channel saw.
    further: Option<ChannelSamples>,
    completed: v1::Completed,
    slice_reading_count: u64,
}

impl Trial {
    fn good() -> Self {
        let reading = |index: u64| {
            let at = index * PERIOD_NS;
            let first = if (ms(1_000)..ms(4_000)).contains(&at) { 8_000 } else { 4_000 };
            Reading { at: MonoNs(at), first, second: 1_250, flags: Flags::NONE }
        };
        let readings = (0..ms(5_000) / PERIOD_NS).map(reading).collect();
        Self {
            expected: Expected::Inference,
            samples: ChannelSamples { channel: channel(), readings, lost: Vec::new(), gaps: Vec::new() },
            further: None,
            slice_reading_count: 1 << 20,
            completed: v1::Completed {
                windows: vec![
                    wire_window(v1::Phase::Evaluate, 0, 50, 450),
                    wire_window(v1::Phase::Idle, 100, 900, 0),
                    wire_window(v1::Phase::WarmUp, 1_000, 1_400, 50),
                    wire_window(v1::Phase::Active, 1_500, 3_500, 1_000),
                    wire_window(v1::Phase::Idle, 4_100, 4_900, 0),
                ],
                inference: Some(v1::InferenceSummary {
                    class_count: 2,
                    confusion: vec![200, 50, 0, 200],
                    input_count: 450,
                    ..v1::InferenceSummary::default()
                }),
                ..v1::Completed::default()
            },
        }
    }

    /// The same as a job that trains from 1.6 s on, and evaluates for the last tenth of a second.
    fn job() -> Self {
        let mut trial = Self::good();
        trial.expected = Expected::Job(v1::JobKind::Train);
        trial.completed.inference = None;
        trial.completed.windows = vec![
            wire_window(v1::Phase::Idle, 100, 900, 0),
            wire_window(v1::Phase::Active, 1_500, 3_500, 0),
            wire_window(v1::Phase::Train, 1_600, 3_400, 0),
            wire_window(v1::Phase::Evaluate, 3_400, 3_500, 0),
            wire_window(v1::Phase::Idle, 4_100, 4_900, 0),
        ];
        trial.completed.job = Some(v1::JobSummary {
            kind: v1::JobKind::Train.into(),
            result_json: r#"{"schema":"tinywatt.result.v1","framework":{"name":"torch","version":"2.9"}}"#.to_owned(),
            ..v1::JobSummary::default()
        });
        trial
    }

    fn job_result(&self) -> JobResult {
        let result = self.assess();
        assert!(result.is_valid(), "{:?}", result.invalid_reasons);
        result.measurement.and_then(|measurement| measurement.job).expect("a job's figures")
    }

    fn assess(&self) -> TrialResult {
        let attempt = AttemptId { run: "test-1234".parse().expect("a name"), trial: 3, attempt: 1 };
        let planned = v1::PlannedTrial { trial: 3, node: "pi".to_owned(), ..v1::PlannedTrial::default() };
        let samples = std::iter::once(&self.samples).chain(&self.further);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let look = |samples| {
            let source = Source::Given(samples, self.slice_reading_count);
            runtime.block_on(rail::look(self.expected, &self.completed, &source)).expect("no store is read")
        };
        let looks: Result<Vec<_>, _> = samples.map(look).collect();
        let job = match (self.expected, &self.completed.job) {
            (Expected::Job(kind), Some(summary)) => Some(job::parse(kind, summary)),
            _ => None,
        };
        match looks {
            Ok(rails) => {
                assess(blank(&attempt, &planned), self.expected, &self.completed, BootId::random(), rails, job)
            }
            Err(why) => invalid(blank(&attempt, &planned), why),
        }
    }

    fn codes(&self) -> Vec<String> {
        self.assess().invalid_reasons.into_iter().map(|reason| reason.code).collect()
    }
}

#[test]
fn a_good_trial_gives_joules_per_inference() {
    let result = Trial::good().assess();
    assert!(result.is_valid(), "{:?}", result.invalid_reasons);
    let measurement = result.measurement.expect("measured");
    let total = measurement.energy_joules_per_inference;
    assert!((total.value - 8e-3).abs() < 1e-9, "4 W for 2 s over 1,000: {}", total.value);
    let above = measurement.energy_joules_per_inference_above_idle.expect("two idle windows");
    assert!((above.value - 4e-3).abs() < 1e-9, "{}", above.value);
    // Gain, shunt and bus alone are 0.5, 1 and 0.5 % as limits: 1.4 % expanded.
    let relative = above.expanded_uncertainty.expect("a shunt states its errors") / above.value;
    assert!((0.0141..0.016).contains(&relative), "{relative}");
    assert_eq!(measurement.kind, Kind::Simulated);
    assert_eq!(measurement.windows.len(), 3, "only idle and active windows have an energy");
}

#[test]
fn lost_readings_beyond_one_percent_are_a_reason() {
    let mut trial = Trial::good();
    let between = Window::new(MonoNs(ms(2_000)), MonoNs(ms(2_250))).expect("ascending");
    let lost = |count| vec![Lost { reason: v1::LossReason::MissedDeadline, count, between }];
    trial.samples.lost = lost(24);
    assert!(trial.codes().is_empty(), "24 of 2,500 are just allowed");
    trial.samples.lost = lost(30);
    assert_eq!(trial.codes(), ["readings_lost"]);
    let message = &trial.assess().invalid_reasons[0].message;
    assert!(message.ends_with("quiet the machine, or see `agent check`"), "{message}");
    let outside = Window::new(MonoNs(ms(950)), MonoNs(ms(990))).expect("ascending");
    trial.samples.lost[0].between = outside;
    assert!(trial.codes().is_empty(), "lost between the windows");
}

#[test]
fn a_clipped_reading_counts_only_inside_a_window() {
    let mut trial = Trial::good();
    let at = |samples: &mut ChannelSamples, ms_: u64, flags| {
        let index = samples.readings.partition_point(|reading| reading.at.0 < ms(ms_));
        samples.readings[index].flags = flags;
    };
    at(&mut trial.samples, 1_200, Flags::CLIPPED);
    assert!(trial.codes().is_empty());
    at(&mut trial.samples, 2_000, Flags::CLIPPED);
    assert_eq!(trial.codes(), ["clipped"]);
}

#[test]
fn late_and_torn_readings_beyond_one_percent_are_a_reason() {
    let mut trial = Trial::good();
    let start = trial.samples.readings.partition_point(|reading| reading.at.0 < ms(2_000));
    trial.samples.readings[start..start + 24].iter_mut().for_each(|reading| reading.flags = Flags::TORN);
    assert!(trial.codes().is_empty());
    trial.samples.readings[start + 24..start + 48].iter_mut().for_each(|reading| reading.flags = Flags::LATE);
    assert_eq!(trial.codes(), ["readings_late"]);
}

#[test]
fn lost_and_late_readings_share_one_bound() {
    let mut trial = Trial::good();
    let between = Window::new(MonoNs(ms(2_000)), MonoNs(ms(2_250))).expect("ascending");
    trial.samples.lost = vec![Lost { reason: v1::LossReason::MissedDeadline, count: 15, between }];
    assert!(trial.codes().is_empty());
    let start = trial.samples.readings.partition_point(|reading| reading.at.0 < ms(2_000));
    trial.samples.readings[start..start + 15].iter_mut().for_each(|reading| reading.flags = Flags::LATE);
    assert_eq!(trial.codes(), ["readings_lost", "readings_late"], "30 of 2,500 together");
}

#[test]
fn a_sensor_that_sees_no_power_or_less_is_a_reason() {
    let mut trial = Trial::good();
    trial.samples.readings.iter_mut().for_each(|reading| reading.first *= -1);
    assert_eq!(trial.codes(), ["no_power"], "a shunt turned round");
    trial.samples.readings.iter_mut().for_each(|reading| (reading.first, reading.second) = (0, 0));
    assert_eq!(trial.codes(), ["no_power"], "nothing connected");
}

#[test]
fn a_hole_is_never_bridged() {
    let mut trial = Trial::good();
    let start = trial.samples.readings.partition_point(|reading| reading.at.0 < ms(2_000));
    trial.samples.readings.drain(start..start + 40);
    assert_eq!(trial.codes(), ["samples_missing"]);
    let message = &trial.assess().invalid_reasons[0].message;
    assert!(message.starts_with("a hole of 33.1 ms in the active window (bound 20.2 ms): "), "{message}");
    assert!(message.ends_with("see `agent check`"), "{message}");
    assert!(trial.assess().measurement.is_none(), "no figure comes from a window with a hole");
}

#[test]
fn a_missing_batch_is_a_reason() {
    let mut trial = Trial::good();
    trial.samples.gaps = vec![Window::new(MonoNs(ms(2_000)), MonoNs(ms(2_010))).expect("ascending")];
    assert_eq!(trial.codes(), ["samples_missing"]);
}

#[test]
fn a_device_that_did_not_come_to_rest_is_a_reason() {
    let mut trial = Trial::good();
    let raise = |code: i64, samples: &mut ChannelSamples| {
        let late = samples.readings.iter_mut().filter(|reading| reading.at.0 >= ms(4_000));
        late.for_each(|reading| reading.first = code);
    };
    raise(4_160, &mut trial.samples);
    assert!(trial.codes().is_empty(), "4 %");
    raise(4_300, &mut trial.samples);
    assert_eq!(trial.codes(), ["idle_drift"]);
}

#[test]
fn a_job_on_a_host_that_did_not_come_to_rest_counts_without_figures_above_idle() {
    let mut trial = Trial::job();
    let raise = |code: i64, samples: &mut ChannelSamples| {
        let late = samples.readings.iter_mut().filter(|reading| reading.at.0 >= ms(4_000));
        late.for_each(|reading| reading.first = code);
    };
    raise(4_300, &mut trial.samples);
    let measurement = trial.assess().measurement.expect("measured");
    assert_eq!(measurement.energy_joules_per_inference_above_idle, None);
    let job = trial.job_result();
    assert!((job.energy_joules.value - 8.0).abs() < 1e-6 && job.energy_joules_above_idle.is_none());
    assert!(job.phases.iter().all(|phase| phase.energy_joules.is_some() && phase.energy_joules_above_idle.is_none()));
    let refusal = job.above_idle_refusal.as_deref().expect("it says why");
    assert!(refusal.starts_with("the idle windows differ by 7.2 %") && refusal.contains("bound 5 %"), "{refusal}");

    // One channel that drifts leaves the sum without a figure, and is named.
    let mut drifting = trial.samples.clone();
    (drifting.channel.channel, drifting.channel.name) = (3, "gpu".to_owned());
    raise(4_000, &mut trial.samples);
    assert_eq!(trial.job_result().above_idle_refusal, None);
    trial.further = Some(drifting);
    let job = trial.job_result();
    assert!(job.energy_joules_above_idle.is_none());
    assert!(job.above_idle_refusal.is_some_and(|refusal| refusal.starts_with("channel 'gpu': the idle windows")));
}

#[test]
fn a_window_that_hangs_on_its_edges_is_too_short() {
    let mut trial = Trial::good();
    // The load switches on by 2 W at 1.0 s, in this window's first step: 2 W × 0.49 ms, twice over √3, is 1.1 mJ of 80 mJ.
    trial.completed.windows[3] = wire_window(v1::Phase::Active, 1_000, 1_020, 20);
    assert_eq!(trial.codes(), ["window_too_short"]);
    trial.completed.windows[3] = wire_window(v1::Phase::Active, 1_000, 1_200, 100);
    assert!(trial.codes().is_empty());
}

#[test]
fn throttling_during_the_trial_is_a_reason_and_before_it_is_not() {
    let mut trial = Trial::good();
    trial.completed.throttled_bits_before = Some(0x5_0000);
    trial.completed.throttled_bits = Some(0x5_0000);
    assert!(trial.codes().is_empty());
    trial.completed.throttled_bits = Some(0x7_0000);
    let reasons = trial.assess().invalid_reasons;
    assert_eq!(reasons[0].code, "throttled");
    assert!(reasons[0].message.contains("frequency capped") && !reasons[0].message.contains("undervoltage"));
}

#[test]
fn a_throttling_word_that_cannot_be_read_any_more_is_a_reason() {
    let mut trial = Trial::good();
    trial.completed.throttled_bits_before = Some(0);
    assert_eq!(trial.codes(), ["throttling_unknown"]);
    trial.completed.throttled_bits = Some(0);
    assert!(trial.codes().is_empty());
}

#[test]
fn all_reasons_are_given_though_one_window_has_no_energy() {
    let mut trial = Trial::good();
    let index = |samples: &ChannelSamples, at: u64| samples.readings.partition_point(|reading| reading.at.0 < ms(at));
    let start = index(&trial.samples, 2_000);
    trial.samples.readings.drain(start..start + 40);
    let clipped = index(&trial.samples, 3_000);
    trial.samples.readings[clipped].flags = Flags::CLIPPED;
    let late = index(&trial.samples, 4_000);
    trial.samples.readings[late..].iter_mut().for_each(|reading| reading.first = 4_300);
    trial.completed.throttled_bits = Some(1);
    trial.completed.inference = None;
    let codes = trial.codes();
    assert_eq!(codes, ["samples_missing", "clipped", "idle_drift", "throttled", "unreadable"]);
    assert!(trial.assess().measurement.is_none());
}

#[test]
fn an_inference_whose_confusion_matrix_contradicts_itself_does_not_count() {
    let mut trial = Trial::good();
    trial.completed.inference.as_mut().expect("it has one").input_count = 451;
    assert_eq!(trial.codes(), ["unreadable"]);
    trial.completed.inference = None;
    assert_eq!(trial.codes(), ["unreadable"]);
    trial.expected = Expected::Replay;
    assert!(trial.codes().is_empty(), "a recording has no runtime");
}

#[test]
fn a_job_counts_as_one_inference_and_its_phases_have_energies_of_their_own() {
    let trial = Trial::job();
    let measurement = trial.assess().measurement.expect("measured");
    assert!((measurement.energy_joules_per_inference.value - 8.0).abs() < 1e-6, "4 W for 2 s");
    let job = trial.job_result();
    assert_eq!((job.kind.as_str(), job.framework.as_str(), job.framework_version.as_str()), ("train", "torch", "2.9"));
    assert_eq!(job.energy_joules, measurement.energy_joules_per_inference);
    assert!((job.energy_joules_above_idle.expect("two idle windows").value - 4.0).abs() < 1e-6);
    assert!((job.duration_seconds - 2.0).abs() < 1e-12);
    let [train, evaluate] = job.phases.as_slice() else { panic!("two phases: {:?}", job.phases) };
    assert!((train.energy_joules.expect("long enough").value - 7.2).abs() < 1e-6);
    assert!((train.energy_joules_above_idle.expect("two idle windows").value - 3.6).abs() < 1e-6);
    // 0.1 s of 0.808 ms periods are 124: just enough.
    assert!(evaluate.energy_joules.is_some_and(|energy| (energy.value - 0.4).abs() < 1e-6), "{evaluate:?}");
}

#[test]
fn a_phase_too_short_for_its_sensor_is_refused_and_the_job_is_not() {
    let mut trial = Trial::job();
    trial.completed.windows[3] = wire_window(v1::Phase::Evaluate, 3_420, 3_500, 0);
    let job = trial.job_result();
    let evaluate = &job.phases[1];
    assert_eq!((evaluate.energy_joules, evaluate.energy_joules_above_idle), (None, None));
    let refusal = evaluate.refusal.as_deref().expect("it says why");
    assert!(
        refusal.contains("takes 0.080 s") && refusal.contains("'rail'") && refusal.contains("0.081 s"),
        "{refusal}"
    );
    assert!(job.phases[0].refusal.is_none() && job.phases[0].refusal_code.is_none());
    assert_eq!(evaluate.refusal_code.as_deref(), Some("window_too_short"));
    trial.completed.windows[3] = wire_window(v1::Phase::Evaluate, 3_400, 3_600, 0);
    let outside = trial.job_result().phases[1].clone();
    assert_eq!(outside.refusal_code.as_deref(), Some("outside"));
    assert!(outside.refusal.as_deref().is_some_and(|why| why.contains("outside of the job's window")), "{outside:?}");
    // The load switches off at 4.0 s, in this phase's last step: 2 W × 0.49 ms, twice over √3, of 0.4 J is 0.3 %.
    trial.completed.windows[1] = wire_window(v1::Phase::Active, 1_500, 4_050, 0);
    trial.completed.windows[3] = wire_window(v1::Phase::Evaluate, 3_900, 4_000, 0);
    assert!(trial.job_result().phases[1].refusal.is_none());
}

#[test]
fn a_job_too_short_for_its_sensor_is_invalid_unless_nobody_asks_for_its_joules() {
    let mut trial = Trial::job();
    trial.completed.windows.truncate(2);
    trial.completed.windows[1] = wire_window(v1::Phase::Active, 1_500, 1_570, 0);
    assert_eq!(trial.codes(), ["window_too_short"]);
    trial.expected = Expected::Job(v1::JobKind::Build);
    trial.completed.job.as_mut().expect("it has one").set_kind(v1::JobKind::Build);
    assert_eq!(trial.job_result().kind, "build");
}

#[test]
fn a_long_job_is_integrated_slice_by_slice_with_the_same_figures() {
    let whole = Trial::job();
    let mut sliced = Trial::job();
    sliced.slice_reading_count = 100;
    let (whole_job, sliced_job) = (whole.job_result(), sliced.job_result());
    let near = |a: Uncertain, b: Uncertain| {
        let half = |energy: Uncertain| energy.expanded_uncertainty.expect("a shunt states its errors");
        (a.value - b.value).abs() < 1e-9 && half(a) <= half(b) && half(b) < half(a) * 1.01
    };
    assert!(near(whole_job.energy_joules, sliced_job.energy_joules), "{whole_job:?}\n{sliced_job:?}");
    let above = |job: &JobResult| job.energy_joules_above_idle.expect("two idle windows");
    assert!(near(above(&whole_job), above(&sliced_job)));
    let train = |job: &JobResult| job.phases[0].energy_joules.expect("long enough");
    assert!(near(train(&whole_job), train(&sliced_job)));
    let windows = |trial: &Trial| trial.assess().measurement.expect("measured").windows;
    assert_eq!(windows(&whole)[1].sample_count, windows(&sliced)[1].sample_count);

    // What is missing is counted once, though it lies in two slices; and a hole is found in any of them.
    let between = Window::new(MonoNs(ms(1_500)), MonoNs(ms(3_400))).expect("ascending");
    sliced.samples.lost = vec![Lost { reason: v1::LossReason::MissedDeadline, count: 20, between }];
    assert_eq!(windows(&sliced)[1].lost_reading_count, 20);
    let start = sliced.samples.readings.partition_point(|reading| reading.at.0 < ms(3_000));
    sliced.samples.readings.drain(start..start + 40);
    assert_eq!(sliced.codes(), ["samples_missing"]);
    // A window without end is not walked to its end.
    sliced.completed.windows[1].end_mono_ns = u64::MAX;
    assert_eq!(sliced.codes(), ["samples_missing"]);
}

#[test]
fn a_job_without_a_readable_result_or_with_two_windows_does_not_count() {
    let mut trial = Trial::job();
    trial.completed.windows.push(wire_window(v1::Phase::Active, 3_600, 3_900, 0));
    assert_eq!(trial.codes(), ["unreadable"]);
    let mut trial = Trial::job();
    trial.completed.job.as_mut().expect("it has one").result_json = "garbage".to_owned();
    assert_eq!(trial.codes(), ["unreadable"]);
    assert!(trial.assess().measurement.is_none());
    trial.completed.job = None;
    assert_eq!(trial.codes(), ["unreadable"]);
    let mut lost = Trial::job();
    let between = Window::new(MonoNs(ms(2_000)), MonoNs(ms(2_250))).expect("ascending");
    lost.samples.lost = vec![Lost { reason: v1::LossReason::MissedDeadline, count: 30, between }];
    assert_eq!(lost.codes(), ["readings_lost"]);
}

#[test]
fn energies_of_several_channels_add_up_and_their_errors_in_squares() {
    let one = Trial::job();
    let alone = one.job_result();
    let mut two = Trial::job();
    let mut further = two.samples.clone();
    (further.channel.channel, further.channel.name) = (3, "gpu".to_owned());
    further.channel.source = "nvml".to_owned();
    two.further = Some(further);
    let both = two.job_result();
    assert!((both.energy_joules.value - 2.0 * alone.energy_joules.value).abs() < 1e-9);
    let half = |energy: Uncertain| energy.expanded_uncertainty.expect("a shunt states its errors");
    assert!((half(both.energy_joules) - half(alone.energy_joules) * 2f64.sqrt()).abs() < 1e-9);
    let above = |job: &JobResult| job.energy_joules_above_idle.expect("two idle windows").value;
    assert!((above(&both) - 2.0 * above(&alone)).abs() < 1e-9);
    let part = |job: &JobResult| job.phases[0].energy_joules.expect("long enough").value;
    assert!((part(&both) - 2.0 * part(&alone)).abs() < 1e-9);
    let measurement = two.assess().measurement.expect("measured");
    assert_eq!(measurement.sensor, "ina219-emulator (rail) + nvml (gpu)");
    assert_eq!(measurement.windows.len(), 3);
    assert!((measurement.windows[1].power_watts_mean - 8.0).abs() < 1e-6);

    // What one of them misses is said with its name.
    let further = two.further.as_mut().expect("it has one");
    further.gaps = vec![Window::new(MonoNs(ms(2_000)), MonoNs(ms(2_010))).expect("ascending")];
    let reasons = two.assess().invalid_reasons;
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].message.starts_with("channel 'gpu': 1 batches"), "{}", reasons[0].message);
}

#[test]
fn channels_of_different_kinds_have_no_sum() {
    let mut trial = Trial::job();
    let mut further = trial.samples.clone();
    further.channel.kind = v1::FigureKind::Estimated.into();
    trial.further = Some(further);
    assert_eq!(trial.codes(), ["mixed_kinds"]);
    assert!(trial.assess().measurement.is_none());
}

#[test]
fn channels_that_hold_each_others_joules_have_no_sum() {
    let measured_by = |rails: [&str; 2]| {
        let mut trial = Trial::job();
        let mut further = trial.samples.clone();
        // Another figure than the first's, so that a sum of the wrong two would be seen.
        further.readings.iter_mut().for_each(|reading| reading.first = reading.first / 7 * 3);
        (further.channel.channel, further.channel.name) = (1, "further".to_owned());
        (trial.samples.channel.rail, further.channel.rail) = (rails[0].to_owned(), rails[1].to_owned());
        trial.further = Some(further);
        trial
    };
    let package = "machine/processors/package-0";
    for rails in [
        [package, "machine/processors/package-0/core"],
        ["machine/processors/package-0/core", package],
        [package, "machine"],
        [package, package],
        ["machine", "machine/gpus/GPU-0"],
    ] {
        let trial = measured_by(rails);
        assert_eq!(trial.codes(), ["channels_overlap"], "{rails:?}");
        let result = trial.assess();
        assert!(result.measurement.is_none());
        let message = &result.invalid_reasons[0].message;
        assert!(message.contains("'rail'") && message.contains("'further'"), "{message}");
    }
    // Beside each other, or not known as of agents that do not tell: their sum, to the last bit.
    for rails in
        [[package, "machine/memory/package-0"], [package, "machine/processors/package-1"], ["", ""], ["", package]]
    {
        let together = measured_by(rails);
        let mut alone = [Trial::job(), Trial::job()];
        alone[1].samples = together.further.clone().expect("it has one");
        let [first, second] = alone.map(|trial| trial.job_result().energy_joules.value);
        assert_ne!(first, second);
        assert_eq!(together.job_result().energy_joules.value.to_bits(), (first + second).to_bits(), "{rails:?}");
    }
}

#[test]
fn a_channel_is_named_once() {
    let outcome = |further: &[u32]| v1::TrialOutcome {
        samples_channel: 2,
        samples_further_channels: further.to_vec(),
        ..v1::TrialOutcome::default()
    };
    assert_eq!(channels(&outcome(&[0, 1])), Ok(vec![2, 0, 1]));
    assert!(channels(&outcome(&[0, 2])).is_err() && channels(&outcome(&[0, 0])).is_err());
    assert!(channels(&outcome(&(3..40).collect::<Vec<_>>())).is_err());
}

#[test]
fn an_active_window_without_inference_does_not_count() {
    let mut trial = Trial::good();
    trial.completed.windows[3].inference_count = 0;
    assert_eq!(trial.codes(), ["no_inference"]);
}

#[test]
fn a_recording_of_five_windows_scores_by_its_median() {
    let mut trial = Trial::good();
    (trial.expected, trial.completed.inference) = (Expected::Replay, None);
    trial.samples.channel.kind = v1::FigureKind::MeasuredElsewhere.into();
    trial.samples.channel.sample_period_ns = 1_000_000;
    trial.samples.channel.scale =
        Some(v1::channel::Scale::Energy(v1::EnergyScale { picojoules_per_code: 1_000, gain_ppm: None }));
    let energies = [30, 10, 50, 20, 40];
    let reading = |(index, nanojoules): (u64, i64)| Reading {
        at: MonoNs(ms(index + 1)),
        first: nanojoules,
        second: 0,
        flags: Flags::NONE,
    };
    trial.samples.readings = (0..).zip(energies).map(reading).collect();
    trial.completed.windows = (0..5).map(|index| wire_window(v1::Phase::Active, index, index + 1, 10)).collect();
    let result = trial.assess();
    assert!(result.is_valid(), "{:?}", result.invalid_reasons);
    let measurement = result.measurement.expect("measured");
    let score = measurement.energy_joules_per_inference;
    assert!((score.value - 3e-9).abs() < 1e-20, "30 nJ over 10");
    assert_eq!(score.expanded_uncertainty, None, "the recording states no error");
    assert_eq!(measurement.energy_joules_per_inference_above_idle, None);
}

#[test]
fn a_failed_trial_carries_its_message() {
    let failure = v1::Failure { reason: v1::FailureReason::Model.into(), message: "not a model".to_owned(), log: None };
    assert_eq!(failed(&failure), reason("model", "not a model"));
}

/// The same trial by a counter of 1 µJ, read each 20 ms: 40 mJ a reading in idle, 80 mJ under load.
fn counted() -> Trial {
    let mut trial = Trial::good();
    trial.samples.channel.source = "rapl".to_owned();
    trial.samples.channel.kind = v1::FigureKind::Measured.into();
    trial.samples.channel.sample_period_ns = ms(20);
    trial.samples.channel.scale = Some(v1::channel::Scale::Counter(v1::CounterScale {
        picojoules_per_code: 1_000_000,
        gain_ppm: None,
        update_period_ns: ms(1),
    }));
    let mut microjoules = 0;
    let reading = |index: u64| {
        let at = ms(20 * index);
        microjoules += if at > ms(1_000) && at <= ms(4_000) { 80_000 } else { 40_000 };
        Reading { at: MonoNs(at), first: microjoules, second: 0, flags: Flags::NONE }
    };
    trial.samples.readings = (0..=250).map(reading).collect();
    // 4 W × 11 ms at each edge needs more than the shunt's 0.8 s for 1 %.
    trial.completed.windows = vec![wire_window(v1::Phase::Active, 1_020, 3_920, 1_000)];
    trial
}

#[test]
fn a_counter_gives_joules_whatever_was_lost_between_the_edges() {
    let mut trial = counted();
    let result = trial.assess();
    assert!(result.is_valid(), "{:?}", result.invalid_reasons);
    let total = result.measurement.expect("measured").energy_joules_per_inference;
    assert!((total.value - 11.6e-3).abs() < 1e-9, "4 W for 2.9 s over 1,000: {}", total.value);
    assert_eq!(total.expanded_uncertainty, None, "nobody states how right the counter is");

    trial.samples.readings.drain(80..150);
    let between = Window::new(MonoNs(ms(1_600)), MonoNs(ms(3_000))).expect("ascending");
    trial.samples.lost = vec![Lost { reason: v1::LossReason::MissedDeadline, count: 70, between }];
    trial.samples.gaps = vec![between];
    let result = trial.assess();
    assert!(result.is_valid(), "{:?}", result.invalid_reasons);
    let after = result.measurement.expect("measured").energy_joules_per_inference;
    assert!((after.value - total.value).abs() < 1e-15);
}

#[test]
fn a_counter_that_is_not_known_at_an_edge_or_began_anew_does_not_count() {
    let mut trial = counted();
    trial.samples.readings.drain(45..60);
    assert_eq!(trial.codes(), ["window_too_short"], "an edge inside a hole of 300 ms");

    let mut trial = counted();
    trial.samples.readings.truncate(100);
    assert_eq!(trial.codes(), ["samples_missing"]);

    let mut trial = counted();
    trial.samples.readings[100..].iter_mut().for_each(|reading| reading.first -= 5_000_000);
    assert_eq!(trial.codes(), ["samples_missing"]);
    let message = &trial.assess().invalid_reasons[0].message;
    assert!(message.contains("began anew") && message.contains("sleep"), "{message}");

    let mut trial = counted();
    trial.samples.readings.iter_mut().for_each(|reading| reading.first = 7);
    assert_eq!(trial.codes(), ["no_power"]);
    assert!(trial.assess().invalid_reasons[0].message.contains("stood still"));
}

#[test]
fn a_job_and_its_phases_are_as_long_as_the_edges_of_their_counter_need() {
    let mut trial = counted();
    let job = Trial::job();
    (trial.expected, trial.completed.job) = (job.expected, job.completed.job);
    // Read each 20 ms and up to 20 ms behind: 100 periods are 2 s, and 1 % of edges takes 2 √(2/3) × 30 ms / 1 %, 4.9 s.
    let Some(v1::channel::Scale::Counter(scale)) = &mut trial.samples.channel.scale else { panic!("a counter") };
    scale.update_period_ns = ms(20);
    trial.completed.windows = vec![wire_window(v1::Phase::Active, 1_020, 3_920, 0)];
    let reasons = trial.assess().invalid_reasons;
    assert!(reasons.iter().all(|reason| reason.code == "window_too_short"), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.message.contains("needs 4.899 s")), "{reasons:?}");

    // A steady load, so long that the job is carried; its phase of more than 100 periods is not.
    let reading = |index: u64| Reading {
        at: MonoNs(ms(20 * index)),
        first: 80_000 * i64::try_from(index).expect("small"),
        second: 0,
        flags: Flags::NONE,
    };
    trial.samples.readings = (0..=500).map(reading).collect();
    trial.completed.windows =
        vec![wire_window(v1::Phase::Active, 1_000, 9_000, 0), wire_window(v1::Phase::Train, 1_000, 5_000, 0)];
    let result = trial.job_result();
    let refusal = result.phases[0].refusal.as_deref().expect("it says why");
    assert!(refusal.contains("takes 4.000 s") && refusal.contains("needs 4.899 s"), "{refusal}");
    trial.completed.windows[1] = wire_window(v1::Phase::Train, 1_000, 6_000, 0);
    assert!(trial.job_result().phases[0].refusal.is_none(), "{:?}", trial.job_result().phases);
}
