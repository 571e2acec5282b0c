//! The words that every format shares: kinds, and what each column means.

use crate::result::Kind;

/// Names a kind in a table.
pub(super) fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Measured => "measured",
        Kind::MeasuredElsewhere => "measured elsewhere",
        Kind::Estimated => "estimated",
        Kind::Simulated => "simulated",
    }
}

/// Says in a sentence where figures of a kind come from.
pub(super) fn kind_note(kind: Kind) -> &'static str {
    match kind {
        Kind::Measured => "read from a power sensor on the node",
        Kind::MeasuredElsewhere => "measured on another bench and replayed from its recording",
        Kind::Estimated => "computed from a model of the load, not measured",
        Kind::Simulated => "made by an emulated sensor, not measured",
    }
}

/// Says before all figures that `count` of `row_count` rows are of this kind.
pub(super) fn kind_banner(kind: Kind, count: usize, row_count: usize) -> String {
    let rows = if count == row_count {
        "all energy figures here were".to_owned()
    } else {
        let noun = if row_count == 1 { "row" } else { "rows" };
        format!("the energy figures of {count} of {row_count} {noun} were")
    };
    let advice = match kind {
        Kind::Simulated => "They say how the system behaves, and nothing about any hardware.",
        Kind::Estimated => "Take them as orders of magnitude.",
        Kind::MeasuredElsewhere => "The node that replayed them had no part in them.",
        Kind::Measured => "",
    };
    format!("{}: {rows} {}. {advice}", kind_word(kind).to_uppercase(), kind_note(kind)).trim_end().to_owned()
}

/// Column and its meaning, one sentence each, in the order of the tables.
pub(super) const DEFINITIONS: [(&str, &str); 33] = [
    ("kind", "where energy figures come from; kinds never share a cell or a mean."),
    ("number format", "what the model's tensors hold, read from the file and not from its name."),
    ("size", "the deployable model file; 1 kB = 1000 bytes, 1 MB = 1,000,000 bytes."),
    (
        "accuracy",
        "part of the inputs classified correctly: of a model from a file in the first valid replicate, of models that the run \
         trained the mean over the replicates, each of which trained its own.",
    ),
    (
        "macro precision, recall, F1",
        "unweighted means over the classes that occur as label or prediction, a ratio of nothing counting as 0 \
         (scikit-learn's average=\"macro\", zero_division=0).",
    ),
    ("outputs", "whether all valid replicates gave the same outputs, bit for bit."),
    ("valid", "replicates behind the row's figures, of the replicates attempted."),
    (
        "latency p50, p95, p99",
        "percentiles over the inferences of all valid replicates together, each timed from copying the input in to \
         reading the output out.",
    ),
    (
        "inferences per second",
        "inferences completed in the active window, divided by its length, the mean over the valid replicates; its inverse \
         is what an inference took with everything between two of them.",
    ),
    ("peak memory", "largest resident memory of the worker process in any valid replicate; 1 MB = 1,000,000 bytes."),
    ("increase", "peak memory less what the process held before it loaded the model."),
    (
        "energy per inference",
        "energy of the active window (trapezoid rule over power with interpolated edges; of a meter that counts energy, \
         its sum) divided by the inferences in it, the mean over the valid replicates.",
    ),
    (
        "above idle",
        "the same, less the mean power of the idle windows before and after, times the length of the active window.",
    ),
    (
        "95 % interval",
        "how far replicates scatter: half width of the two-sided t interval of the mean; it shrinks with more \
         replicates, and knows nothing of errors they share (n = 1: one replicate, no interval).",
    ),
    (
        "uncertainty",
        "how far the measurement may be off: expanded uncertainty, k = 2 (about 95 %), from the sensor's error budget; \
         systematic, taken as the same in all replicates, so it is not divided by the root of n. The two are different \
         things; neither contains the other.",
    ),
    ("energy per correct", "energy per inference divided by the accuracy."),
    ("mean power", "mean over the active windows, idle power included."),
    (
        "phase",
        "part of a job as the job itself tells it; \"whole job\" is all between the idle windows, starting and saving \
         included. A phase that is too short for its sensor, or whose energy is not known for another reason, is refused.",
    ),
    ("CO2", "energy times the run's one carbon intensity times PUE; stored are joules, so CO2 orders as energy does."),
    ("checkpoint", "what a framework saves to go on training, optimiser state included; never the deployable file."),
    (
        "points to float32",
        "accuracy less that of the float32 model of the same family, framework, node and replicate, times 100. A quantised \
         model more than 3 below is suspect: right calibration keeps within about one.",
    ),
    (
        "energy to float32",
        "difference of the mean energies per inference in per cent of the float32 model's mean, with the 95 % interval of \
         the ratio: Fieller's, with Welch's degrees of freedom. It knows the scatter of both \
         models; errors of the sensor, the same in both, are not in it.",
    ),
    (
        "p (Holm)",
        "two-sided p of Welch's t-test after Holm's step-down over all tests of the same question, but for those of the \
         least energy, all of which must hold; the intervals beside it are not corrected.",
    ),
    ("g", "Hedges' g: difference in pooled standard deviations of the replicates, freed of its small-sample bias."),
    ("energy × delay", "energy per inference times the time of one inference in the active window."),
    (
        "break-even",
        "energy of all jobs behind a model, its training included, divided by what one inference saves against float32; \
         only when both energies are of one kind, and the two models' may be compared.",
    ),
    (
        "Pareto",
        "by the means, no other model whose energy may be compared is at least as accurate for less; what is suspect is left out.",
    ),
    ("sensor, rate", "what measured, and its nominal sample rate."),
    ("window", "length of the active windows, shortest to longest."),
    ("inferences, samples", "inferences completed and samples taken in the active windows of all valid replicates."),
    (
        "lost",
        "readings known to be lost in any window of the valid replicates; a trial that lost more than its bound is invalid.",
    ),
    (
        "score",
        "of a recording: the median of its windows' energy per inference, as MLPerf Tiny scores; replays repeat the \
         same samples, so there is no interval.",
    ),
    ("invalid attempt", "an attempt that counts for no figure above; it is repeated, never repaired."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_a_kind_is_its_name_in_json() {
        for kind in [Kind::Measured, Kind::MeasuredElsewhere, Kind::Estimated, Kind::Simulated] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
        }
    }

    #[test]
    fn a_banner_counts_rows() {
        assert!(kind_banner(Kind::Simulated, 3, 3).starts_with("SIMULATED: all energy figures here were made by"));
        assert!(kind_banner(Kind::Simulated, 1, 3).contains("1 of 3 row"));
    }
}
