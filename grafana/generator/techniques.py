"""Techniques: each optimised model beside its float32 parent."""

from __future__ import annotations

from generator import columns as c
from generator import links, variables
from generator.board import Board
from generator.charts import bars
from generator.compare import comparisons
from generator.flux import Column, computed, kept, ordered, pivoted
from generator.panels import Panel, matching, table

RUN = 'r.run == "${run}"'
OPTIMISED = [
    RUN,
    'r.workload == "inference"',
    "exists r.technique",
    "r.family =~ /^${family:regex}$/ and r.node =~ /^${node:regex}$/",
]
LABEL = Column("label", "", 'r.treatment + " on " + r.node')
LABEL_OF_KIND = Column("label", "", 'r.treatment + " on " + r.node + " (" + r.kind + ")"')

# What a technique and its parent share. Threads are among it: a model with two is not held against one with one.
KEYS = ["family", "framework", "node", "kind", "threads"]
THREADS = Column("threads", "", "if exists r.thread_count then r.thread_count else 0")


def _with_parent(shown: list[Column]) -> str:
    """Every row with the figures of the float32 model of its family, framework, node, kind and threads beside it."""
    declared = [column for column in shown if "parent_" not in column.formula]
    changes = [column for column in shown if "parent_" in column.formula]
    read = [*declared, THREADS, Column("joules_per_inference_above_idle", ""), Column("model_file_bytes", "")]
    keys = ", ".join(f"{key}: r.{key}" for key in KEYS)
    on = ", ".join(f'"{key}"' for key in KEYS)
    return (
        "models = "
        + pivoted("result", read, OPTIMISED)
        + computed([*declared, THREADS])
        + f"""

parents = models
  |> filter(fn: (r) => r.technique == "float32")
  |> map(fn: (r) => ({{{keys}, parent_joules: r.joules_per_inference, parent_joules_above_idle: """
        + """r.joules_per_inference_above_idle, parent_bytes: r.model_file_bytes, parent_ms: r.latency_ms_p50}))

"""
        + f"join(tables: {{model: models, parent: parents}}, on: [{on}])"
        + computed(changes)
        + ordered(["family", "framework", "node", "joules_per_inference"])
        + kept(shown)
    )


def _bars(title: str, field: str, axis: str, text: str) -> Panel:
    """A bar a model, its colour the kind of its energy."""
    wanted = [LABEL_OF_KIND, c.KIND, Column(field, ""), c.TECHNIQUE]
    query = (
        pivoted("result", wanted, [*OPTIMISED, f"exists r.{field}"])
        + computed(wanted)
        + f'\n  |> pivot(rowKey: ["label"], columnKey: ["kind"], valueColumn: "{field}")'
        + ordered(["label"])
    )
    return bars(title, text, query, "label", "joule", axis)


def _plain_bars(
    title: str, field: str, unit: str, axis: str, text: str, from_zero: bool = True, decimals: int | None = None
) -> Panel:
    """A bar a model, of what has no kind."""
    wanted = [LABEL, Column(field, axis)]
    query = (
        pivoted("result", wanted, [*OPTIMISED, f"exists r.{field}"])
        + computed(wanted)
        + ordered(["label"])
        + kept(wanted)
    )
    named = [matching(f"^{field}$", displayName=axis)]
    return bars(title, text, query, "label", unit, axis, named, from_zero, decimals)


def board() -> Board:
    """Builds the dashboard."""
    made = Board(
        "techniques",
        "Techniques",
        "Each optimisation technique beside its float32 parent: energy, accuracy, size, latency, break-even.",
        [
            variables.run("run", "Run", "The run whose techniques are shown."),
            variables.values_of("family", "Model", "Model families.", "result", "family", (RUN,), every=True),
            variables.values_of("node", "Node", "Nodes that inferred.", "result", "node", (RUN,), every=True),
        ],
        is_timeless=True,
    )
    made.section("Each technique beside its float32 parent")
    shown = [
        c.FAMILY,
        c.FRAMEWORK,
        Column("technique", "Technique", link=links.TO_TRIALS, width=140),
        c.NODE,
        c.KIND,
        Column("joules_change", "Energy to parent", "r.joules_per_inference / r.parent_joules - 1.0", "percentunit"),
        *c.PER_INFERENCE,
        Column(
            "above_idle_change",
            "Above idle to parent",
            "r.joules_per_inference_above_idle / r.parent_joules_above_idle - 1.0",
            "percentunit",
        ),
        *c.ABOVE_IDLE,
        Column("accuracy", "Accuracy", decimals=2),
        Column("accuracy_points_to_parent", "Accuracy to parent", decimals=2),
        Column("model_file_bytes", "Model"),
        Column(
            "bytes_change",
            "Size to parent",
            "float(v: r.model_file_bytes) / float(v: r.parent_bytes) - 1.0",
            "percentunit",
        ),
        Column("latency_ms_p50", "Median latency"),
        Column("latency_change", "Latency to parent", "r.latency_ms_p50 / r.parent_ms - 1.0", "percentunit"),
        Column("latency_ms_p95", "Latency p95"),
        Column("latency_ms_p99", "Latency p99"),
        Column("memory_bytes_peak", "Peak memory"),
        Column("jobs_joules", "Energy of its jobs"),
        Column("break_even_inference_count", "Break-even"),
        Column("is_suspect", "Suspect", bad="true"),
        Column("number_format", "Number format"),
        Column("replicate_count_valid", "Replicates"),
        c.TREATMENT,
        c.RUN,
        c.STARTED,
        Column("notes", "Notes", width=300),
    ]
    made.add(
        table(
            "Techniques",
            '"To parent" is the difference to the mean of the float32 model of the same family, framework, node, kind '
            "and "
            "threads. Whether a difference is shown by a test is said below. Break-even: inferences after which the "
            "joules "
            f"of all jobs behind the model are paid back; empty where it saves nothing. {c.INTERVALS} {c.KINDS_APART}",
            _with_parent(shown),
            shown,
            ["result"],
        ),
        24,
        10,
    )
    made.section("Energy")
    made.add(
        _bars(
            "Total energy per inference",
            "joules_per_inference",
            "Energy per inference, total",
            "All of the rail. The colour is the kind. Intervals are in the table above.",
        ),
        12,
        11,
    )
    made.add(
        _bars(
            "Energy per inference above idle",
            "joules_per_inference_above_idle",
            "Energy per inference, above idle",
            "Above the idle power around each inference. The colour is the kind. Intervals are in the table above.",
        ),
        12,
        11,
    )
    made.section("Quality, size and speed")
    made.add(
        _plain_bars(
            "Accuracy to parent",
            "accuracy_points_to_parent",
            "suffix: points",
            "Points to the float32 parent",
            "Accuracy less that of the float32 parent, in points (hundredths). More than 3 points below is suspect.",
            from_zero=False,
            decimals=2,
        ),
        12,
        11,
    )
    made.add(
        _plain_bars(
            "Size of the model",
            "model_file_bytes",
            "bytes",
            "File",
            "Size of the file that is deployed.",
        ),
        12,
        11,
    )
    made.add(
        _plain_bars(
            "Median latency",
            "latency_ms_p50",
            "ms",
            "Median latency",
            "Median over all inferences of all replicates; p95 and p99 are in the table above.",
        ),
        12,
        11,
    )
    made.add(
        _plain_bars(
            "Break-even",
            "break_even_inference_count",
            "short",
            "Inferences until break-even",
            "Inferences after which the joules of making the model are paid back. None where it saves nothing.",
        ),
        12,
        11,
    )
    made.section("Tests")
    made.add(comparisons("Tests of each technique against its parent", RUN, [], "RQ3"), 24, 9)
    return made
