"""Compare: two runs beside each other, and the three questions."""

from __future__ import annotations

from generator import columns as c
from generator import links, variables
from generator.board import Board
from generator.charts import Marks, scatter
from generator.flux import Column, computed, kept, ordered, pivoted, rows
from generator.panels import Panel, table

A_OR_B = '(r.run == "${a}" or r.run == "${b}")'
PICK = Column("pick", "A/B", 'if r.run == "${a}" then "A" else "B"', width=45)
WHO = [PICK, c.TREATMENT, c.NODE, c.KIND]
INFERENCES = 'r.workload != "train" and r.workload != "optimise" and r.workload != "build"'


def _points(run: str, mark: str, energy: str, front: bool) -> str:
    """One frame: a row for each result, its accuracy in the column of its kind."""
    name = Column("mark", "", f'"{mark}, " + r.kind')
    wanted = [c.RUN, c.TREATMENT, c.NODE, c.KIND, Column("_time", ""), Column(energy, ""), Column("accuracy", ""), name]
    where = [f'r.run == "${{{run}}}"', INFERENCES, f"exists r.{energy} and exists r.accuracy"]
    if front:
        where.append("r.is_on_pareto_front == true")
    keys = ", ".join(f'"{key}"' for key in ["_time", "run", "treatment", "node", energy])
    return (
        pivoted("result", wanted, where)
        + computed(wanted)
        + kept(wanted)
        + f'\n  |> pivot(rowKey: [{keys}], columnKey: ["mark"], valueColumn: "accuracy")'
        + ordered([energy])
    )


def _chart(title: str, energy: str, words: str, front: bool, text: str) -> Panel:
    queries = [_points("a", "A", energy, False), _points("b", "B", energy, False)]
    marks = [Marks(0, "A"), Marks(1, "B", "square")]
    if front:
        queries += [_points("a", "A front", energy, True), _points("b", "B front", energy, True)]
        marks += [Marks(2, "A front", "circle", True), Marks(3, "B front", "square", True)]
    return scatter(
        title,
        text,
        queries,
        (energy, "joule", words),
        ("percentunit", "Accuracy"),
        marks,
        [links.as_link(links.TO_TRIALS)],
    )


def _matrix(title: str, field: str, unit: str, text: str) -> Panel:
    """Techniques down, frameworks across: the frameworks that there are make the columns."""
    keys = [PICK, c.FAMILY, c.TECHNIQUE, c.NODE, c.KIND]
    wanted = [*keys, c.FRAMEWORK, Column(field, "")]
    query = (
        pivoted(
            "result", wanted, [A_OR_B, INFERENCES, "exists r.technique and exists r.framework", f"exists r.{field}"]
        )
        + computed(wanted)
        + kept(wanted)
        + f"\n  |> pivot(rowKey: [{', '.join(f'{chr(34)}{key.name}{chr(34)}' for key in keys)}], "
        + f'columnKey: ["framework"], valueColumn: "{field}")'
        + ordered(["pick", "family", "node", "technique"])
    )
    return table(title, text, query, keys, ["result"], default_unit=unit)


def board() -> Board:
    """Builds the dashboard."""
    made = Board(
        "compare",
        "Compare",
        "What models cost and how good they are: two runs, accuracy against energy, and the answers to RQ1 to RQ3.",
        [
            variables.run("a", "Run A", "The run that is looked at."),
            variables.run("b", "Run B", "A second run to hold against it, or none.", or_none=True),
        ],
        is_timeless=True,
    )
    _overview(made)
    _energy(made)
    _first_question(made)
    _second_question(made)
    _third_question(made)
    _answers(made)
    return made


def _overview(made: Board) -> None:
    made.section("Runs")
    columns = [
        PICK,
        Column("run", "Run", link=links.TO_RUN, width=150),
        Column("experiment", "Experiment", link=links.TO_TECHNIQUES),
        Column("dataset", "Data set", link=links.TO_TRAINING),
        Column("state", "State", good="completed", bad="incomplete"),
        Column("kinds", "Kinds of figures", width=180),
        c.STARTED,
        Column("seconds", "Length"),
        Column("trial_count", "Trials"),
        Column("valid_count", "Valid"),
        Column("invalid_attempt_count", "Invalid attempts"),
        Column("skipped_count", "Skipped"),
        Column("replicate_count", "Replicates"),
        Column("node_count", "Nodes"),
        Column("grid_intensity_g_per_kwh", "Carbon intensity"),
        Column("pue", "PUE"),
        Column("seed", "Seed", width=180),
    ]
    made.add(
        table(
            "The runs",
            "What was executed. A click on the run leads to its attempts, on the experiment to its techniques, on the "
            "data set to its training.",
            rows("run", columns, [A_OR_B], ["pick"]),
            columns,
            ["run"],
        ),
        24,
        4,
    )
    warnings = [PICK, c.RUN, Column("warnings", "What must be doubted", wrap=True, colour="orange")]
    made.add(
        table(
            "Warnings",
            "What a reader must doubt before using a figure of these runs. Empty where nothing is to be doubted.",
            rows("run", warnings, [A_OR_B, 'r.warnings != ""'], ["pick"]),
            warnings,
            ["run"],
        ),
        24,
        5,
    )


def _energy(made: Board) -> None:
    made.section("Accuracy against energy")
    made.add(
        _chart(
            "Accuracy against energy per inference",
            "joules_per_inference",
            "Energy per inference, total",
            True,
            "One mark a treatment and node. Circles are run A, squares run B; the colour is the kind of the energy. A "
            "ring marks the Pareto front: no comparable row is at least as accurate for fewer joules. Rows that differ "
            "in node, sensor or kind are not comparable, so each such group has a front of its own. A click leads to "
            "the attempts.",
        ),
        12,
        12,
    )
    made.add(
        _chart(
            "Accuracy against energy above idle",
            "joules_per_inference_above_idle",
            "Energy per inference, above idle",
            False,
            "The same with the energy above the idle power around each inference. The Pareto front is of total energy, "
            "so it is not marked here.",
        ),
        12,
        12,
    )
    columns = [
        *WHO,
        *c.PER_CORRECT,
        *c.PER_INFERENCE,
        *c.ABOVE_IDLE,
        Column("watts_mean", "Power"),
        Column("joule_seconds_per_inference", "Energy-delay product"),
        Column("replicate_count_valid", "Replicates"),
        Column("notes", "Notes", width=300),
        c.RUN,
        c.STARTED,
    ]
    columns[1] = Column("treatment", "Treatment", link=links.TO_TRIALS, width=190)
    made.add(
        table(
            "Energy of a correct inference",
            f"The energy of an inference divided by the accuracy, beside total energy and energy above idle. "
            f"{c.INTERVALS} {c.KINDS_APART} A click on the treatment leads to the attempts.",
            rows("result", columns, [A_OR_B, INFERENCES], ["pick", "joules_per_correct_inference"]),
            columns,
            ["result"],
        ),
        24,
        10,
    )


def _first_question(made: Board) -> None:
    made.section("RQ1: What do training and evaluation cost?")
    columns = [
        *WHO,
        c.FRAMEWORK,
        Column("train_seconds", "Training"),
        Column("train_joules", "Energy of training"),
        Column("train_joules_interval95_half_width", "± 95 % t, training"),
        Column("train_joules_expanded_uncertainty", "± k = 2, training"),
        Column("train_watt_hours", "Training in Wh", "r.train_joules / 3600.0", unit="watth"),
        Column("train_co2_grams", "CO2 of training"),
        Column("evaluate_seconds", "Evaluation"),
        Column("evaluate_joules", "Energy of evaluation"),
        Column("evaluate_watt_hours", "Evaluation in Wh", "r.evaluate_joules / 3600.0", unit="watth"),
        Column("evaluate_co2_grams", "CO2 of evaluation"),
        Column("job_seconds", "Whole job"),
        Column("job_joules", "Energy of the whole job"),
        Column("job_joules_interval95_half_width", "± 95 % t, job"),
        Column("job_joules_expanded_uncertainty", "± k = 2, job"),
        Column("joules_per_inference_above_idle", "Whole job above idle"),
        Column("joules_per_inference_above_idle_interval95_half_width", "± 95 % t, above idle"),
        Column("joules_per_inference_above_idle_expanded_uncertainty", "± k = 2, above idle"),
        Column("job_co2_grams", "CO2 of the whole job"),
        c.RUN,
        c.STARTED,
    ]
    columns[1] = Column("treatment", "Treatment", link=links.TO_TRAINING, width=190)
    made.add(
        table(
            "Cost of training and evaluation",
            "Means over the replicates of each training job: seconds, joules, watt-hours and grams of CO2, by the "
            "run's one "
            f"carbon intensity. {c.INTERVALS} A click on the treatment leads to epochs and phases.",
            rows("result", columns, [A_OR_B, 'r.workload == "train"'], ["pick", "treatment", "node"]),
            columns,
            ["result"],
        ),
        24,
        8,
    )


def _second_question(made: Board) -> None:
    made.section("RQ2: How good is each model?")
    columns = [
        PICK,
        c.TREATMENT,
        c.NODE,
        Column("workload", "Workload"),
        Column("accuracy", "Accuracy", decimals=2),
        Column("accuracy_interval95_half_width", "± 95 % t", decimals=2),
        Column("precision", "Precision", decimals=2),
        Column("recall", "Recall", decimals=2),
        Column("f1", "F1", decimals=2),
        Column("model_file_bytes", "Model"),
        Column("checkpoint_file_bytes", "Checkpoint"),
        Column("memory_bytes_peak", "Peak memory"),
        Column("parameter_count", "Parameters"),
        Column("mac_count", "MACs"),
        Column("number_format", "Number format"),
        Column("is_suspect", "Suspect", bad="true"),
        Column("replicate_count_valid", "Replicates"),
    ]
    made.add(
        table(
            "Quality and size of each model",
            "Accuracy is the mean over replicates where each has a model of its own; ± 95 % t is its interval over "
            "them. Precision, recall and F1 are macro averages over the classes. A suspect model lies more than 3 "
            "points below its float32 parent and is left out of the answers.",
            rows("result", columns, [A_OR_B, "exists r.accuracy"], ["pick", "workload", "treatment", "node"]),
            columns,
            ["result"],
        ),
        24,
        9,
    )


def _third_question(made: Board) -> None:
    made.section("RQ3: Which optimisation is best?")
    by_framework = (
        "Techniques down, frameworks across, one line for each model, node and kind. Empty where it was not tried."
    )
    made.add(
        _matrix(
            "Technique by framework: total energy", "joules_per_inference", "joule", f"Per inference. {by_framework}"
        ),
        12,
        8,
    )
    made.add(
        _matrix(
            "Technique by framework: energy above idle",
            "joules_per_inference_above_idle",
            "joule",
            f"Per inference. {by_framework}",
        ),
        12,
        8,
    )
    made.add(_matrix("Technique by framework: accuracy", "accuracy", "percentunit", by_framework), 12, 8)
    made.add(_matrix("Technique by framework: median latency", "latency_ms_p50", "ms", by_framework), 12, 8)


def _answers(made: Board) -> None:
    made.section("Answers")
    answers = [
        PICK,
        Column("question", "Question", width=80),
        Column("text", "In words", width=320, wrap=True),
        Column("sentence", "Answer", wrap=True),
    ]
    made.add(
        table(
            "Answers in sentences",
            "What each run answers, in the words of its report. A difference is shown when p, after Holm's correction, "
            "is below 0.05.",
            rows("answer", answers, [A_OR_B], ["pick", "question", "_time"]),
            answers,
            ["answer"],
        ),
        24,
        9,
    )
    made.add(comparisons("Tests behind the answers", A_OR_B, [PICK]), 24, 9)


def comparisons(title: str, where: str, first: list[Column], question: str = "") -> Panel:
    """The tests behind a run's answers."""
    columns = [
        *first,
        Column("question", "Question", width=80),
        Column("quantity", "Quantity", width=160),
        Column("treatment", "Treatment", width=190),
        Column("reference", "Against", width=190),
        c.NODE,
        c.KIND,
        Column("replicate_count", "Replicates"),
        Column("difference", "Difference (%, points)", decimals=2),
        Column("difference_interval95_low", "95 %, low", decimals=2),
        Column("difference_interval95_high", "95 %, high", decimals=2),
        Column("p", "p", unit="none", decimals=4),
        Column("p_holm", "p (Holm)", unit="none", decimals=4),
        Column("hedges_g", "Hedges' g", decimals=2),
    ]
    conditions = [where, f'r.question == "{question}"'] if question else [where]
    return table(
        title,
        "A treatment against its reference over replicates (Welch). Differences of energies are in per cent of the "
        "reference, with Fieller's interval; those of accuracies in points. The interval is not corrected, p (Holm) "
        "is.",
        rows("comparison", columns, conditions, ["question", "quantity", "treatment"]),
        columns,
        ["comparison"],
    )
