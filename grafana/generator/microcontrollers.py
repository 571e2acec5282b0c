"""Microcontrollers: recordings of energy meters, and what they give for each inference and each window."""

from __future__ import annotations

from generator import columns as c
from generator import links, variables
from generator.board import Board
from generator.charts import trend
from generator.flux import VALID, Column, computed, kept, ordered, pivoted, rows
from generator.panels import Panel, table

WHICH = ['r.run == "${run}"', "r.treatment =~ /^${treatment:regex}$/"]

# Energy of one inference in one active window: a window without an inference or an energy has none.
OF_A_WINDOW = Column(
    "energy",
    "Energy per inference",
    "if r.inference_count > 0 then r.joules / float(v: r.inference_count) else 0.0",
    "joule",
)
ACTIVE = [*WHICH, VALID, 'r.phase == "active"', "exists r.joules and exists r.inference_count"]
COUNTED = "r.inference_count > 0"


def _windows() -> str:
    """Windows of each treatment in their order, one column for each: `x` is their number."""
    label = Column("label", "", 'r.treatment + " on " + r.node + " (" + r.kind + ")"')
    wanted = [c.TREATMENT, c.NODE, c.KIND, Column("_time", ""), OF_A_WINDOW, label]
    return (
        pivoted("window", wanted, [*ACTIVE, COUNTED])
        + computed(wanted)
        + kept(wanted)
        + """
  |> group(columns: ["label", "kind"])
  |> sort(columns: ["_time"])
  |> map(fn: (r) => ({r with number: 1}))
  |> cumulativeSum(columns: ["number"])
  |> group()
  |> pivot(rowKey: ["number"], columnKey: ["label"], valueColumn: "energy")
  |> sort(columns: ["number"])"""
    )


def _score() -> Panel:
    shown = [
        c.TREATMENT,
        c.NODE,
        c.KIND,
        Column("median", "Score: median of the windows", unit="joule", decimals=3),
        Column("least", "Least window", unit="joule", decimals=3),
        Column("most", "Most window", unit="joule", decimals=3),
        Column("windows", "Windows", unit="none"),
    ]
    wanted = [c.TREATMENT, c.NODE, c.KIND, OF_A_WINDOW]
    keys = '"treatment", "node", "kind"'
    who = "treatment: r.treatment, node: r.node, kind: r.kind"
    query = (
        "windows = "
        + pivoted("window", wanted, [*ACTIVE, COUNTED])
        + computed(wanted)
        + f"\n  |> group(columns: [{keys}])\n"
    )
    figures = [
        ("median", 'median(column: "energy", method: "exact_mean")', "r.energy"),
        ("least", 'min(column: "energy")', "r.energy"),
        ("most", 'max(column: "energy")', "r.energy"),
        ("windows", 'count(column: "energy")', "float(v: r.energy)"),
    ]
    for name, call, figure in figures:
        # Not the function's own name, which would then call itself.
        query += f"\nof_{name} = windows\n  |> {call}\n"
        query += f'  |> map(fn: (r) => ({{{who}, name: "{name}", figure: {figure}}}))\n'
    query += (
        f"\nunion(tables: [{', '.join(f'of_{name}' for name, _, _ in figures)}])\n  |> group()"
        + f'\n  |> pivot(rowKey: [{keys}], columnKey: ["name"], valueColumn: "figure")'
        + ordered(["treatment", "node"])
        + "\n  |> keep(columns: ["
        + ", ".join(f'"{column.name}"' for column in shown)
        + "])"
    )
    return table(
        "Score",
        "Median over the active windows of the energy of one inference, as benchmarks of microcontrollers score it, "
        "with the "
        f"least and the most. {c.KINDS_APART}",
        query,
        shown,
        [],
    )


def board() -> Board:
    """Builds the dashboard."""
    recordings = ('r.workload == "recording"',)
    made = Board(
        "mcu",
        "Microcontrollers",
        "What recordings of energy meters give: energy of each inference, by window, and the score.",
        [
            variables.values_of("run", "Run", "Runs that replayed recordings.", "result", "run", recordings),
            variables.values_of(
                "treatment",
                "Treatment",
                "Recordings of the run.",
                "result",
                "treatment",
                ('r.run == "${run}"',),
                every=True,
            ),
            variables.valid(),
        ],
        is_timeless=True,
    )
    made.section("Energy of an inference")
    made.add(_score(), 24, 7)
    columns = [
        Column("treatment", "Treatment", link=links.TO_TRIALS, width=190),
        c.NODE,
        c.KIND,
        *c.PER_INFERENCE,
        *c.ABOVE_IDLE,
        *c.PER_CORRECT,
        Column("accuracy", "Accuracy", decimals=2),
        Column("latency_ms_p50", "Median latency"),
        Column("inferences_per_second", "Inferences a second"),
        Column("model_file_bytes", "Model"),
        Column("replicate_count_valid", "Replicates"),
        c.RUN,
        c.STARTED,
        Column("notes", "Notes", width=300),
    ]
    made.add(
        table(
            "Results",
            "Means over the replicates, total and above idle. A recording was measured elsewhere: its meter, not ours, "
            "made "
            f"the figures. {c.INTERVALS}",
            rows("result", columns, [*WHICH, *recordings], ["treatment", "node"]),
            columns,
            ["result"],
        ),
        24,
        8,
    )
    made.section("Windows")
    chart = trend(
        "Energy of an inference, by window",
        "One point for each active window, in their order: its energy by the inferences inside. The line joins windows "
        "of one treatment. The kind is in the name.",
        _windows(),
        ("number", "none", "Window"),
        "joule",
        "Energy per inference",
    )
    chart.defaults["custom"]["showPoints"] = "always"
    made.add(chart, 24, 10)
    windows = [
        c.TREATMENT,
        c.NODE,
        Column("_time", "Begin", width=160),
        Column("phase", "Window", width=80),
        Column("channel", "Recording", width=160),
        c.KIND,
        Column("valid", "Valid", width=70, good="true", bad="false"),
        Column("trial", "Trial"),
        Column("attempt", "Attempt"),
        Column("seconds", "Length"),
        Column("joules", "Energy"),
        Column("joules_expanded_uncertainty", "± k = 2"),
        Column("inference_count", "Inferences"),
        OF_A_WINDOW,
        Column("watts_mean", "Mean power"),
    ]
    made.add(
        table(
            "Windows",
            "Every window with its energy and its expanded uncertainty; empty where the meter states no error.",
            rows("window", windows, [*WHICH, VALID], ["treatment", "_time"]),
            windows,
            ["window"],
        ),
        24,
        10,
    )
    return made
