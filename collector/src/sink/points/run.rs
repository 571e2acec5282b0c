//! A run: how far it is, and the values of its report.

use tinywatt_proto::v1;

use super::super::line::{Lines, Point};
use super::super::series;
use crate::report::{BreakEven, JobFigures, Relation, Report, RunReport, WHOLE_JOB, table};
use crate::result::Kind;

/// A run with its report.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// What the report is made from.
    pub input: &'a RunReport,
    /// Its counts.
    pub summary: &'a v1::RunSummary,
    /// The report's values.
    pub report: &'a Report,
    /// What the rows say about each other.
    pub relations: &'a [Relation],
}

// === impl Run ===

impl Run<'_> {
    /// Writes how far it is, and once it has ended its report: a figure that a later attempt took back could not be taken
    /// back in a database.
    pub fn write(&self, lines: &mut Lines) {
        self.run(lines);
        // An attempt of a run that was cancelled may still be on its way.
        if self.input.state == v1::RunState::Running || self.input.attempt_count_running > 0 {
            return;
        }
        self.report.rows.iter().for_each(|row| self.result(row, lines));
        self.comparisons(lines);
        self.answers(lines);
    }

    fn at(&self, index: usize) -> i64 {
        let index = u64::try_from(index).unwrap_or_default();
        i64::try_from(self.input.started_unix_ns.saturating_add(index)).unwrap_or(i64::MAX)
    }

    fn run(&self, lines: &mut Lines) {
        let (input, summary) = (self.input, self.summary);
        let nanoseconds = |ns: u64| std::time::Duration::from_nanos(ns.saturating_sub(input.started_unix_ns));
        let mut kinds: Vec<Kind> = self.report.rows.iter().filter_map(|row| row.kind).collect();
        kinds.dedup();
        let kinds = kinds.into_iter().map(Kind::code).collect::<Vec<_>>().join(", ");
        let warnings: Vec<&str> = self.report.warnings.iter().map(|warning| warning.message.as_str()).collect();
        let (warnings, seed) = (warnings.join("\n"), input.seed.to_string());
        Point::new(series::named("run"))
            .tag("run", &input.run)
            .tag("experiment", &input.experiment)
            .tag("dataset", &input.dataset)
            .field("state", self.report.header.state)
            .field("trial_count", summary.trial_count)
            .field("valid_count", summary.valid_count)
            .field("invalid_attempt_count", summary.invalid_attempt_count)
            .field("skipped_count", summary.skipped_count)
            .field("ended_unix_ns", input.ended_unix_ns)
            .field("seconds", input.ended_unix_ns.map(|ended| nanoseconds(ended).as_secs_f64()))
            .field("seed", &seed)
            .field("node_count", input.nodes.len())
            .field("replicate_count", input.replicate_count)
            .field("grid_intensity_g_per_kwh", input.carbon.as_ref().map(|carbon| carbon.intensity_g_per_kwh))
            .field("pue", input.carbon.as_ref().map(|carbon| carbon.pue))
            .field("kinds", &kinds)
            .field("warnings", &warnings)
            .write(self.at(0), lines);
    }

    fn result(&self, row: &table::Row, lines: &mut Lines) {
        let relation = self.relations.iter().find(|relation| {
            relation.treatment == row.treatment && relation.node == row.node && Some(relation.kind) == row.kind
        });
        let input = self.input;
        let notes = row.notes.join("\n");
        let mut point = Point::new(series::named("result"))
            .tag("run", &input.run)
            .tag("experiment", &input.experiment)
            .tag("dataset", &input.dataset)
            .tag("node", &row.node)
            .tag("treatment", &row.treatment)
            .tag("family", row.family.as_deref().unwrap_or_default())
            .tag("framework", row.framework.as_deref().unwrap_or_default())
            .tag("technique", row.technique.as_deref().unwrap_or_default())
            .tag("workload", row.workload)
            .tag("kind", row.kind.map_or("", Kind::code))
            .field("inferences_per_second", row.inferences_per_second)
            .field("model_file_bytes", row.model_file_bytes)
            .field("memory_bytes_peak", row.memory.map(|memory| memory.bytes_peak))
            .field("parameter_count", row.parameter_count)
            .field("mac_count", row.mac_count)
            .field("thread_count", row.thread_count)
            .field("number_format", row.number_format.as_ref())
            .field("replicate_count_valid", row.counts.replicate_count_valid)
            .field("attempt_count_invalid", row.counts.attempt_count_invalid)
            .field("notes", text(&notes));
        if let Some(energy) = &row.energy {
            point = energies(point, energy);
        }
        if let Some(quality) = &row.quality {
            point = point
                .field("accuracy", quality.scores.accuracy)
                .field("accuracy_interval95_half_width", quality.interval95_half_widths.map(|half| half.accuracy))
                .field("precision", quality.scores.precision_macro)
                .field("recall", quality.scores.recall_macro)
                .field("f1", quality.scores.f1_macro);
        }
        if let Some(latency) = &row.latency {
            point = point
                .field("latency_ms_p50", latency.seconds_p50 * 1e3)
                .field("latency_ms_p95", latency.seconds_p95 * 1e3)
                .field("latency_ms_p99", latency.seconds_p99 * 1e3);
        }
        if let Some(relation) = relation {
            point = related(point, relation);
        }
        if let Some(job) = &row.job {
            point = costs(point, job);
        }
        point.write(self.at(0), lines);
    }

    fn comparisons(&self, lines: &mut Lines) {
        let comparisons = self.report.study.iter().flat_map(|study| &study.comparisons);
        for (index, comparison) in comparisons.enumerate() {
            let interval = comparison.interval95;
            Point::new(series::named("comparison"))
                .tag("run", &self.input.run)
                .tag("question", comparison.question)
                .field("quantity", comparison.quantity)
                .field("treatment", &comparison.name)
                .field("reference", &comparison.reference_name)
                .field("node", &comparison.node)
                .field("kind", comparison.kind.map(Kind::code))
                .field("replicate_count", comparison.replicate_count)
                .field("difference", comparison.difference)
                .field("difference_interval95_low", interval.map(|interval| interval.low))
                .field("difference_interval95_high", interval.and_then(|interval| interval.high))
                .field("p", comparison.welch.map(|welch| welch.p))
                .field("p_holm", comparison.p_holm)
                .field("hedges_g", comparison.hedges_g)
                .write(self.at(index), lines);
        }
    }

    fn answers(&self, lines: &mut Lines) {
        for answer in self.report.study.iter().flat_map(|study| &study.answers) {
            for (index, sentence) in answer.sentences.iter().enumerate() {
                Point::new(series::named("answer"))
                    .tag("run", &self.input.run)
                    .tag("question", answer.question)
                    .field("text", answer.text)
                    .field("sentence", sentence)
                    .write(self.at(index), lines);
            }
        }
    }
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn energies<'a>(point: Point<'a>, energy: &'a table::Energy) -> Point<'a> {
    let above = energy.per_inference_above_idle.as_ref();
    let correct = energy.per_correct_inference.as_ref();
    point
        .field("joules_per_inference", energy.per_inference.joules_mean)
        .field("joules_per_inference_interval95_half_width", energy.per_inference.joules_interval95_half_width)
        .field("joules_per_inference_expanded_uncertainty", energy.per_inference.joules_expanded_uncertainty)
        .field("joules_per_inference_above_idle", above.map(|figure| figure.joules_mean))
        .field(
            "joules_per_inference_above_idle_interval95_half_width",
            above.and_then(|figure| figure.joules_interval95_half_width),
        )
        .field(
            "joules_per_inference_above_idle_expanded_uncertainty",
            above.and_then(|figure| figure.joules_expanded_uncertainty),
        )
        .field("joules_per_correct_inference", energy.joules_per_correct_inference)
        .field(
            "joules_per_correct_inference_interval95_half_width",
            correct.and_then(|doubt| doubt.joules_interval95_half_width),
        )
        .field(
            "joules_per_correct_inference_expanded_uncertainty",
            correct.and_then(|doubt| doubt.joules_expanded_uncertainty),
        )
        .field("joule_seconds_per_inference", energy.joule_seconds_per_inference)
        .field("watts_mean", energy.power_watts_mean)
}

fn related<'a>(point: Point<'a>, relation: &Relation) -> Point<'a> {
    let inferences = match relation.break_even {
        Some(BreakEven::Inferences(count)) => Some(count),
        Some(BreakEven::Never) | None => None,
    };
    point
        .field("accuracy_points_to_parent", relation.accuracy_points_to_parent)
        .field("is_on_pareto_front", relation.is_on_pareto_front)
        .field("is_suspect", !relation.suspect_replicates.is_empty())
        .field("jobs_joules", relation.jobs_joules)
        .field("break_even_inference_count", inferences)
}

fn costs<'a>(point: Point<'a>, job: &'a JobFigures) -> Point<'a> {
    let phase = |name: &str| job.phases.iter().find(|phase| phase.phase == name);
    let seconds = |name| phase(name).map(|phase| phase.duration_seconds.mean);
    let joules = |name| phase(name).and_then(|phase| phase.energy_joules.as_ref());
    let co2 = |name| phase(name).and_then(|phase| phase.co2_grams);
    point
        .field("checkpoint_file_bytes", job.checkpoint_file_bytes)
        .field("train_seconds", seconds("train"))
        .field("train_joules", joules("train").map(|figure| figure.joules_mean))
        .field(
            "train_joules_interval95_half_width",
            joules("train").and_then(|figure| figure.joules_interval95_half_width),
        )
        .field(
            "train_joules_expanded_uncertainty",
            joules("train").and_then(|figure| figure.joules_expanded_uncertainty),
        )
        .field("train_co2_grams", co2("train"))
        .field("evaluate_seconds", seconds("evaluate"))
        .field("evaluate_joules", joules("evaluate").map(|figure| figure.joules_mean))
        .field("evaluate_co2_grams", co2("evaluate"))
        .field("job_seconds", seconds(WHOLE_JOB))
        .field("job_joules", joules(WHOLE_JOB).map(|figure| figure.joules_mean))
        .field(
            "job_joules_interval95_half_width",
            joules(WHOLE_JOB).and_then(|figure| figure.joules_interval95_half_width),
        )
        .field(
            "job_joules_expanded_uncertainty",
            joules(WHOLE_JOB).and_then(|figure| figure.joules_expanded_uncertainty),
        )
        .field("job_co2_grams", co2(WHOLE_JOB))
}
