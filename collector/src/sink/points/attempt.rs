//! An assessed attempt: its figures, windows, latencies, epochs and phases.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use tinywatt_proto::hex;
use tinywatt_proto::time::MonoNs;

use super::super::line::{Lines, Point};
use super::super::series;
use super::{half_width, valid_word};
use crate::carbon::grams;
use crate::report::{Carbon, RunReport, TreatmentFacts, latency_of};
use crate::result::{InferenceResult, InvalidReason, JobResult, Kind, Measurement, ModelFile, TrialResult, Uncertain};
use crate::statistics::scores;
use crate::store::Axis;

/// An attempt with what is known of its run.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Its run.
    pub run: &'a RunReport,
    /// When its node was job.
    pub started_unix_ns: u64,
    /// What came of it.
    pub result: &'a TrialResult,
    /// Where its samples lie in time; absent when it has none.
    pub axis: Option<Axis>,
}

// === impl Attempt ===

impl<'a> Attempt<'a> {
    /// Writes everything that is known of it.
    pub fn write(&self, lines: &mut Lines) {
        self.trial(lines);
        let Some(measurement) = &self.result.measurement else { return };
        self.windows(measurement, lines);
        if let Some(inference) = &measurement.inference {
            self.latency(inference, lines);
        }
        if let Some(job) = &measurement.job {
            self.epochs(job, lines);
            self.job_phases(job, measurement.kind, lines);
        }
    }

    fn facts(&self) -> Option<&'a TreatmentFacts> {
        self.run.treatments.iter().find(|facts| facts.name == self.result.treatment)
    }

    /// Start of the attempt and some nanoseconds, which tell its points of one series apart.
    fn at(&self, index: usize) -> i64 {
        let index = u64::try_from(index).unwrap_or_default();
        i64::try_from(self.started_unix_ns.saturating_add(index)).unwrap_or(i64::MAX)
    }

    /// A point with the run, the node and the treatment as tags, and the trial and the attempt as fields.
    fn point(&self, series: &str) -> Point<'a> {
        Point::new(series::named(series))
            .tag("run", &self.result.run)
            .tag("node", &self.result.node)
            .tag("treatment", &self.result.treatment)
            .field("trial", self.result.trial)
            .field("attempt", self.result.attempt)
    }

    fn family(&self) -> &'a str {
        self.facts().map_or("", |facts| &facts.family)
    }

    fn framework(&self) -> &'a str {
        let stated = self.facts().map_or("", |facts| facts.framework.as_str());
        let job = self.result.measurement.as_ref().and_then(|measurement| measurement.job.as_ref());
        // As the report has it: what nobody states, the job tells.
        if stated.is_empty() { job.map_or("", |job| &job.framework) } else { stated }
    }

    fn technique(&self) -> &'a str {
        self.facts().map_or("", |facts| &facts.technique)
    }

    fn trial(&self, lines: &mut Lines) {
        let result = self.result;
        let reasons = InvalidReason::text(&result.invalid_reasons);
        let measurement = result.measurement.as_ref();
        let point = self
            .point("trial")
            .tag("experiment", &self.run.experiment)
            .tag("dataset", &self.run.dataset)
            .tag("family", self.family())
            .tag("framework", self.framework())
            .tag("technique", self.technique())
            .tag("workload", self.facts().map_or("", |facts| facts.workload.word()))
            .tag("kind", measurement.map_or("", |measurement| measurement.kind.code()))
            .tag("valid", valid_word(result.is_valid()))
            .field("block", result.block)
            .field("replicate", result.replicate)
            .field("invalid_reasons", (!reasons.is_empty()).then_some(reasons.as_str()));
        match measurement {
            None => point.write(self.at(0), lines),
            Some(measurement) => self.measured(point, measurement).write_with(self.at(0), lines),
        }
    }

    fn measured<'b>(&self, point: Point<'b>, measurement: &'b Measurement) -> Measured<'b>
    where
        'a: 'b,
    {
        let facts = self.facts();
        let (inference, job) = (measurement.inference.as_ref(), measurement.job.as_ref());
        let confusion = inference.map(|inference| &inference.confusion).or(job.map(|job| &job.confusion));
        let quality = confusion.and_then(|confusion| scores(confusion));
        let latency = inference.and_then(|inference| latency_of([inference.latency_histogram.as_str()]));
        let made = job.into_iter().flat_map(|job| &job.artifacts).find_map(|artifact| artifact.model.as_ref());
        let model: Option<&ModelFile> = measurement.model.as_ref().or(made);
        let total = measurement.energy_joules_per_inference;
        let above = measurement.energy_joules_per_inference_above_idle;
        let accuracy = quality.map(|quality| quality.accuracy);
        // What a job evaluates is not what it takes: a right answer has no part of its joules.
        let correct = accuracy.filter(|accuracy| *accuracy > 0.0 && inference.is_some());
        let per_correct = correct.map(|accuracy| Uncertain {
            value: total.value / accuracy,
            expanded_uncertainty: total.expanded_uncertainty.map(|half_width| half_width / accuracy),
        });
        let milliseconds = |seconds: f64| seconds * 1e3;
        let runtime = inference
            .map(|inference| format!("{} {}", inference.runtime, inference.runtime_version))
            .or(job.map(|job| format!("{} {}", job.framework, job.framework_version)));
        let ended = measurement.windows.iter().map(|window| window.end_mono_ns).max();
        let point = point
            .field("ended_unix_ns", self.axis.zip(ended).map(|(axis, ended)| axis.unix_ns(MonoNs(ended))))
            .field("sensor", &measurement.sensor)
            .field("sample_rate_hz", measurement.sample_rate_hz)
            .field("joules_per_inference", total.value)
            .field("joules_per_inference_expanded_uncertainty", total.expanded_uncertainty)
            .field("joules_per_inference_above_idle", above.map(|figure| figure.value))
            .field("joules_per_inference_above_idle_expanded_uncertainty", half_width(above))
            .field("joules_per_correct_inference", per_correct.map(|figure| figure.value))
            .field("joules_per_correct_inference_expanded_uncertainty", half_width(per_correct))
            .field("accuracy", accuracy)
            .field("precision", quality.map(|quality| quality.precision_macro))
            .field("recall", quality.map(|quality| quality.recall_macro))
            .field("f1", quality.map(|quality| quality.f1_macro))
            .field("input_count", quality.and(confusion).map(|confusion| confusion.iter().flatten().sum::<u64>()))
            .field("latency_ms_p50", latency.map(|latency| milliseconds(latency.seconds_p50)))
            .field("latency_ms_p95", latency.map(|latency| milliseconds(latency.seconds_p95)))
            .field("latency_ms_p99", latency.map(|latency| milliseconds(latency.seconds_p99)))
            .field("inference_count", active_inference_count(measurement))
            .field(
                "memory_bytes_peak",
                inference.map(|inference| inference.memory_bytes_peak).or(job.map(|job| job.memory_bytes_peak)),
            )
            .field(
                "model_file_bytes",
                model.map(|model| model.file_bytes).or(facts.and_then(TreatmentFacts::file_bytes)),
            )
            .field(
                "parameter_count",
                job.and_then(|job| job.parameter_count)
                    .or(model.and_then(|model| model.parameter_count))
                    .or(facts.and_then(|facts| facts.parameter_count)),
            )
            .field(
                "mac_count",
                job.and_then(|job| job.mac_count)
                    .or(model.and_then(|model| model.mac_count))
                    .or(facts.and_then(|facts| facts.mac_count)),
            )
            .field("thread_count", inference.map(|inference| inference.thread_count))
            .field("job_seconds", job.map(|job| job.duration_seconds));
        Measured { point, runtime }
    }

    fn windows(&self, measurement: &Measurement, lines: &mut Lines) {
        let Some(axis) = self.axis else { return };
        for window in &measurement.windows {
            let (start, end) = (MonoNs(window.start_mono_ns), MonoNs(window.end_mono_ns));
            self.point("window")
                .tag("kind", measurement.kind.code())
                .tag("phase", &window.phase)
                .tag("valid", valid_word(self.result.is_valid()))
                .field("channel", &measurement.sensor)
                .field("end_unix_ns", axis.unix_ns(end))
                .field("seconds", end.since(start).as_secs_f64())
                .field("joules", window.energy_joules.value)
                .field("joules_expanded_uncertainty", window.energy_joules.expanded_uncertainty)
                .field("watts_mean", window.power_watts_mean)
                .field("inference_count", window.inference_count)
                .field("sample_count", window.sample_count)
                .field("lost_reading_count", window.lost_reading_count)
                .field("simulated_true_joules", window.simulated_true_joules)
                .write(axis.unix_ns(start), lines);
        }
    }

    fn latency(&self, inference: &InferenceResult, lines: &mut Lines) {
        let bytes = hex::decode(&inference.latency_histogram);
        // One that cannot be read has no percentiles either, which the report says.
        let Some(histogram) = bytes.and_then(|bytes| read_histogram(&bytes)) else { return };
        let mut cumulative = 0;
        for (index, bucket) in histogram.iter_recorded().enumerate() {
            let count = bucket.count_since_last_iteration();
            cumulative += count;
            self.point("latency")
                .field("latency_ns", bucket.value_iterated_to())
                .field("inference_count", count)
                .field("inference_count_cumulative", cumulative)
                .write(self.at(index), lines);
        }
    }

    fn epochs(&self, job: &JobResult, lines: &mut Lines) {
        for (index, epoch) in job.epochs.iter().enumerate() {
            self.point("epoch")
                .tag("family", self.family())
                .tag("framework", self.framework())
                .tag("valid", valid_word(self.result.is_valid()))
                .field("replicate", self.result.replicate)
                .field("epoch", epoch.epoch)
                .field("train_loss", epoch.train_loss)
                .field("train_accuracy", epoch.train_accuracy)
                .field("validation_loss", epoch.validation_loss)
                .field("validation_accuracy", epoch.validation_accuracy)
                .write(self.at(index), lines);
        }
    }

    fn job_phases(&self, job: &'a JobResult, kind: Kind, lines: &mut Lines) {
        let co2 = |joules: f64| self.run.carbon.as_ref().map(|carbon| co2_grams(joules, carbon));
        let point = |phase: &'a str| {
            self.point("job_phase")
                .tag("family", self.family())
                .tag("framework", self.framework())
                .tag("technique", self.technique())
                .tag("kind", kind.code())
                .tag("phase", phase)
                .tag("valid", valid_word(self.result.is_valid()))
                .field("replicate", self.result.replicate)
        };
        let energy = |point: Point<'a>, total: Option<Uncertain>, above: Option<Uncertain>| {
            point
                .field("joules", total.map(|figure| figure.value))
                .field("joules_expanded_uncertainty", half_width(total))
                .field("joules_above_idle", above.map(|figure| figure.value))
                .field("joules_above_idle_expanded_uncertainty", half_width(above))
                .field("co2_grams", total.and_then(|figure| co2(figure.value)))
        };
        for (index, phase) in job.phases.iter().enumerate() {
            energy(point(&phase.phase), phase.energy_joules, phase.energy_joules_above_idle)
                .field("seconds", phase.duration_seconds)
                .field("refusal", phase.refusal.as_ref())
                .write(self.at(index), lines);
        }
        energy(point("whole job"), Some(job.energy_joules), job.energy_joules_above_idle)
            .field("seconds", job.duration_seconds)
            .field("refusal", job.above_idle_refusal.as_ref())
            .write(self.at(job.phases.len()), lines);
    }
}

/// A point that needs one more text, which is made for it.
struct Measured<'a> {
    point: Point<'a>,
    runtime: Option<String>,
}

impl Measured<'_> {
    fn write_with(self, at_unix_ns: i64, lines: &mut Lines) {
        let Self { point, runtime } = self;
        point.field("runtime", runtime.as_ref()).write(at_unix_ns, lines);
    }
}

/// Grams of CO2-equivalent by a run's one intensity.
pub(super) fn co2_grams(joules: f64, carbon: &Carbon) -> f64 {
    grams(joules, carbon.intensity_g_per_kwh, carbon.pue)
}

fn read_histogram(bytes: &[u8]) -> Option<Histogram<u64>> {
    Deserializer::new().deserialize(&mut &bytes[..]).ok()
}

fn active_inference_count(measurement: &Measurement) -> u64 {
    let active = measurement.windows.iter().filter(|window| window.phase == "active");
    active.map(|window| window.inference_count).sum()
}
