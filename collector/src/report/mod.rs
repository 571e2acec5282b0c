//! Results into tables: terminal, Markdown, CSV, JSON. Computes no joule, reads no clock and no store.
//!
//! [`render`] is a pure function. [`RunReport`] is what it needs of a run; [`Report`] is every value a report holds, and
//! each format is one small file that prints those.
//!
//! # What the figures mean
//!
//! **What counts.** Only valid attempts. A row is one treatment on one node over its valid replicates of one [`Kind`];
//! measured, measured elsewhere, estimated and simulated figures never share a row, a table of joules or a mean. Invalid
//! attempts stand in a table of their own with their reasons, so that a reader sees what was left out.
//!
//! **Two doubts.** A mean of replicates carries two half widths that answer different questions:
//!
//! | | asks | from | with more replicates |
//! |---|---|---|---|
//! | 95 % interval | would other replicates give another mean? | scatter between replicates, Student's t | shrinks |
//! | expanded uncertainty, k = 2 | is the sensor off, in all replicates alike? | the sensor's error budget | stays |
//!
//! They are not added: a difference between two treatments on one sensor is blurred by the first mostly, a figure set
//! beside one from another bench by the second too. The uncertainty of the mean is the mean of the replicates'
//! uncertainties, not divided by √n, because a shunt that is 1 % off is so in each of them; its smaller parts that do
//! scatter (quantisation, edges) are kept whole too, which errs on the safe side. A single replicate has no
//! interval, and neither have replays of one recording: they repeat the same samples.
//!
//! **Quality** of a model from a file is that of the first valid replicate: it computes the same outputs each time, so
//! replicates whose outputs or confusion differ are flagged and not averaged. A model that the run trained is another one
//! in each replicate, so its scores have a mean and an interval. Scores follow scikit-learn's conventions
//! ([`crate::statistics::scores`]).
//!
//! **Latency** percentiles are of all inferences together: the replicates' histograms are added up. Percentiles are
//! never averaged.
//!
//! **Joules per correct inference** are joules per inference divided by the accuracy: what a right answer costs when
//! wrong ones are thrown away.
//!
//! **Recordings** show each window with the digits that MLPerf Tiny's runner prints, and its median as the score.
//!
//! **Comparing rows.** Energies are compared, in sentences, tests, break-even and Pareto front, only among rows that agree
//! in kind, node, sensor and channel, sample rate, window length, thread count, device and test inputs: one rule. Where a
//! run has several such groups, each has its answers, and a note says what sets them apart. A runtime is part of what is
//! compared, and a note names it where one framework has several.
//!
//! **A study** is a run with jobs. Its tables answer three questions: what training costs, how good the models are, which
//! optimisation is best. Rows are compared by Welch's test over replicates, corrected by Holm over all tests of one
//! question, and the answers are sentences that claim nothing beyond that: "no difference shown" is one of them. Energies
//! of different kinds, nodes or sensors are never tested against each other, nor is a training's energy of one kind set
//! against an inference's of another.
//!
//! **Warnings** name the faults that make such comparisons worthless ([`Warning`]), in every run.
//!
//! [`Kind`]: crate::result::Kind

mod build;
mod comparable;
mod csv;
mod details;
mod input;
mod job;
mod json;
mod latency;
mod markdown;
mod quality;
mod relations;
mod row;
mod scale;
mod study;
pub mod table;
mod tables;
mod terminal;
mod text;
mod utc;
mod warnings;
mod words;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod study_fixture;
#[cfg(test)]
mod tests;

pub use input::{Carbon, Run, RunReport, TreatmentFacts, Workload};
pub use job::{JobFigures, PhaseFigures, WHOLE_JOB};
pub use latency::{Latency, pooled as latency_of};
pub use relations::{BreakEven, Relation};
pub use study::{Answer, Comparison, Study};
pub use table::Report;
use tinywatt_proto::v1::ReportFormat;
pub use warnings::Warning;

/// Prints the report of a run; an unspecified format means the terminal.
pub fn render(run: &RunReport, format: ReportFormat) -> String {
    let report = values(run);
    match format {
        ReportFormat::Terminal | ReportFormat::Unspecified => terminal::render(&report),
        ReportFormat::Markdown => markdown::render(&report),
        ReportFormat::Csv => csv::render(&report),
        ReportFormat::Json => json::render(&report),
    }
}

/// What the rows of models in a run's report say about each other, of a run without jobs as well.
pub fn relations(run: &RunReport, report: &Report) -> Vec<Relation> {
    relations::relations(run, &report.rows)
}

/// Computes every value of the report of a run.
pub fn values(run: &RunReport) -> Report {
    build::build(run)
}
