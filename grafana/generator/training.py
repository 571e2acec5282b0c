"""Training: epochs of each job, and what its phases took."""

from __future__ import annotations

from generator import columns as c
from generator import links, variables
from generator.board import Board
from generator.charts import bars, trend
from generator.flux import VALID, Column, computed, kept, ordered, pivoted, rows
from generator.panels import Panel, table

WHICH = ['r.run == "${run}"', VALID, "r.framework =~ /^${framework:regex}$/"]

# A job that is repeated has a curve for each attempt, and one that does not count says so.
JOB = (
    'r.treatment + " on " + r.node + ", replicate " + string(v: r.replicate) + '
    '(if r.attempt > 1 then ", attempt " + string(v: r.attempt) else "") + (if r.valid == "true" then "" else " '
    '(invalid)")'
)


def _epochs(title: str, field: str, unit: str, axis: str, text: str, from_zero: bool = True) -> Panel:
    wanted = [
        Column("epoch", ""),
        Column(field, ""),
        Column("label", "", JOB),
    ]
    query = (
        pivoted("epoch", wanted, [*WHICH, f"exists r.{field}"])
        + computed(wanted)
        + kept(wanted)
        + f'\n  |> pivot(rowKey: ["epoch"], columnKey: ["label"], valueColumn: "{field}")'
        + ordered(["epoch"])
    )
    return trend(title, text, query, ("epoch", "none", "Epoch"), unit, axis, from_zero)


def _phases(title: str, field: str, unit: str, axis: str, text: str) -> Panel:
    wanted = [
        Column("label", "", 'r.treatment + " on " + r.node + ", " + r.phase + " (" + r.kind + ")"'),
        c.KIND,
        Column(field, ""),
    ]
    query = (
        pivoted("job_phase", wanted, [*WHICH, f"exists r.{field}"])
        + computed(wanted)
        + f'\n  |> group(columns: ["label", "kind"])\n  |> mean(column: "{field}")\n  |> group()'
        + f'\n  |> pivot(rowKey: ["label"], columnKey: ["kind"], valueColumn: "{field}")'
        + ordered(["label"])
    )
    return bars(title, text, query, "label", unit, axis)


def board() -> Board:
    """Builds the dashboard."""
    made = Board(
        "training",
        "Training",
        "How models were trained: loss and accuracy by epoch, and time, energy and CO2 of each phase of each job.",
        [
            variables.run("run", "Run", "The run whose jobs are shown."),
            variables.values_of(
                "framework",
                "Framework",
                "Frameworks that trained.",
                "job_phase",
                "framework",
                ('r.run == "${run}"',),
                every=True,
            ),
            variables.valid(),
        ],
        is_timeless=True,
    )
    made.section("Epochs")
    one = "One curve for each replicate of each training job, as the job told it."
    made.add(
        _epochs(
            "Validation loss", "validation_loss", "none", "Mean loss", f"Mean loss over the validation inputs. {one}"
        ),
        12,
        10,
    )
    made.add(
        _epochs(
            "Validation accuracy",
            "validation_accuracy",
            "percentunit",
            "Accuracy",
            f"Accuracy over the validation inputs. {one}",
            from_zero=False,
        ),
        12,
        10,
    )
    made.add(
        _epochs("Training loss", "train_loss", "none", "Mean loss", f"Mean loss over the training inputs. {one}"),
        12,
        10,
    )
    made.add(
        _epochs(
            "Training accuracy",
            "train_accuracy",
            "percentunit",
            "Accuracy",
            f"Accuracy over the training inputs. {one}",
            from_zero=False,
        ),
        12,
        10,
    )
    made.section("Phases")
    mean = 'Mean over the attempts shown, each kind for itself. "Whole job" holds the other phases.'
    made.add(
        _phases("Energy of each phase", "joules", "joule", "Energy, total", f"All of the rail. {mean}"),
        12,
        11,
    )
    made.add(
        _phases(
            "Energy of each phase above idle",
            "joules_above_idle",
            "joule",
            "Energy, above idle",
            f"Above the idle power around the job. {mean}",
        ),
        12,
        11,
    )
    made.add(_phases("Length of each phase", "seconds", "s", "Length", mean), 12, 11)
    made.add(
        _phases(
            "CO2 of each phase",
            "co2_grams",
            "massg",
            "CO2-equivalent",
            f"By the run's one carbon intensity; empty where the experiment states none. {mean}",
        ),
        12,
        11,
    )
    columns = [
        Column("treatment", "Treatment", link=links.TO_TRIALS, width=190),
        c.NODE,
        c.FRAMEWORK,
        c.TECHNIQUE,
        Column("phase", "Phase", width=100),
        c.KIND,
        Column("replicate", "Replicate"),
        Column("trial", "Trial"),
        Column("attempt", "Attempt"),
        Column("valid", "Valid", good="true", bad="false"),
        Column("seconds", "Length"),
        Column("joules", "Energy"),
        Column("joules_expanded_uncertainty", "± k = 2"),
        Column("watt_hours", "Energy in Wh", "r.joules / 3600.0", "watth"),
        Column("joules_above_idle", "Above idle"),
        Column("joules_above_idle_expanded_uncertainty", "± k = 2, above idle"),
        Column("co2_grams", "CO2"),
        Column("refusal", "Why it has no energy", width=260),
        c.RUN,
        c.STARTED,
    ]
    made.section("Every phase of every attempt")
    made.add(
        table(
            "Phases of jobs",
            "A phase that is too short for its sensor has no energy, and says why; its job may count all the same. ± k "
            "= 2 is the expanded uncertainty of the sensor. Intervals over replicates are in Compare, RQ1.",
            rows("job_phase", columns, WHICH, ["treatment", "node", "replicate", "attempt", "_time"]),
            columns,
            ["job_phase"],
        ),
        24,
        12,
    )
    return made
