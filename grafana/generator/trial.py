"""Trial: one attempt, from its power curve to its figures."""

from __future__ import annotations

from generator import columns as c
from generator import links, variables
from generator.board import Board, annotation
from generator.charts import curves, states, trend
from generator.flux import RANGE, SAMPLES, VALID, Column, any_of, computed, filters, kept, ordered, pivoted, rows
from generator.panels import Json, Panel, matching, table
from generator.series import series

CHOSEN_NODE = 'r.node == "${node}"'
ATTEMPTS = ['r.run == "${run}"', CHOSEN_NODE, "r.treatment =~ /^${treatment:regex}$/", VALID]

# Compared as text, because a picker without a choice is empty text, and a number that is missing would be no query.
ONE = ['r.run == "${run}"', CHOSEN_NODE, 'string(v: r.trial) == "${trial}" and string(v: r.attempt) == "${attempt}"']

CURVE = "${__field.labels.channel} (${__field.labels.kind}), ${__field.labels.figure}"
LABELS = '"node", "channel", "kind"'
CHANNELS = [CHOSEN_NODE, "r.channel =~ /^${channel:regex}$/"]
WINDOWED = 'createEmpty: false, timeSrc: "_start")'
# A batch of samples is 250 ms: where one is missing, the line is broken.
GAP_MS = 250

# Wider than a screen, so that an attempt of some seconds is seen as it was sampled.
POINTS = 3000


def _samples(fields: list[str]) -> str:
    """Fields of samples as they lie there: one table for each node, channel and kind, which are all of their tags.

    Not grouped before they are thinned: the server then reads means from its storage instead of every sample.
    """
    for field in fields:
        assert any(field in series(name).fields for name in ("sample", "sample_decimated")), field
    # Of every sample or of decimated ones: a collector may send both, and one curve is enough.
    chosen = f'from(bucket: {SAMPLES})\n  |> {RANGE}\n  |> filter(fn: (r) => r._measurement == "${{detail}}")'
    return chosen + filters([*CHANNELS, any_of("_field", fields)])


def _finish(parts: str) -> str:
    return (
        f'{parts}\n  |> group(columns: [{LABELS}, "figure"])'
        f'\n  |> keep(columns: [{LABELS}, "figure", "_time", "_value"])\n  |> sort(columns: ["_time"])'
    )


def _set(figure: str) -> str:
    return f'\n  |> set(key: "figure", value: "{figure}")'


def _thinned(quantity: str, function: str) -> str:
    """What falls on one point of the curve; of decimated samples the field that was made by the same function."""
    decimated = f"{quantity}_{function}"
    fields = [quantity, decimated] if decimated in series("sample_decimated").fields else [quantity]
    call = f'aggregateWindow(every: v.windowPeriod, fn: {function}, createEmpty: true, timeSrc: "_start")'
    return f"{_samples(fields)}\n  |> {call}{_set(function)}"


def _means_and_extremes(quantity: str) -> list[str]:
    """Means, and beside them the least and the most; the same where one sample falls on a point."""
    extremes = f"least = {_thinned(quantity, 'min')}\n\nmost = {_thinned(quantity, 'max')}\n\n"
    return [_finish(_thinned(quantity, "mean")), extremes + _finish("union(tables: [least, most])")]


def _counter() -> str:
    query = _samples(["counter_joules"])
    query += f"\n  |> aggregateWindow(every: v.windowPeriod, fn: last, {WINDOWED}"
    query += "\n  |> derivative(unit: 1s, nonNegative: true)" + _set("slope of the counter")
    return _finish(query)


def _intervals() -> str:
    """Energy of each metering interval by its length, which is the time since the one before."""
    query = _samples(["interval_joules"])
    query += "\n  |> elapsed(unit: 1ns)\n  |> filter(fn: (r) => r.elapsed > 0)"
    query += "\n  |> map(fn: (r) => ({r with _value: r._value / float(v: r.elapsed) * 1000000000.0}))"
    query += f"\n  |> aggregateWindow(every: v.windowPeriod, fn: mean, {WINDOWED}" + _set("by metering interval")
    return _finish(query)


def _power() -> Panel:
    return curves(
        "Power",
        "Power of each channel of the node: mean, and the least and most of what falls on one point. Of counters it is "
        "the slope, of recordings the energy of each metering interval by its length. The coloured stretches are the "
        "idle and active windows, the lines the beginnings of phases. The kind of the figures is in the curve's name.",
        [*_means_and_extremes("watts"), _counter(), _intervals()],
        "watt",
        CURVE,
        "Power",
        points=POINTS,
        gap_ms=GAP_MS,
        thin="B",
    )


def _volts_and_amperes() -> list[Panel]:
    made = []
    for title, unit, field in [("Voltage", "volt", "volts"), ("Current", "amp", "amperes")]:
        made.append(
            curves(
                title,
                f"{title} of each shunt channel: mean, least and most of what falls on one point. The voltage's axis "
                f"does not "
                "begin at zero."
                if unit == "volt"
                else f"{title} of each shunt channel: mean, least and most of what falls on one point.",
                _means_and_extremes(field),
                unit,
                CURVE,
                title,
                from_zero=unit != "volt",
                points=POINTS,
                gap_ms=GAP_MS,
                thin="B",
            )
        )
    return made


def _phases() -> Panel:
    """A line for each phase: on from its start to its end."""
    wanted = [
        Column("phase", ""),
        Column("_time", ""),
        Column("state", "", 'if r.edge == "start" then "on" else "off"'),
    ]
    query = (
        pivoted("phase", wanted, ONE)
        + computed(wanted)
        + '\n  |> group(columns: ["phase"])\n  |> sort(columns: ["_time"])'
        + '\n  |> keep(columns: ["phase", "_time", "state"])'
    )
    mappings: Json = {
        "on": {"text": "on", "color": "blue", "index": 0},
        "off": {"text": " ", "color": "transparent", "index": 1},
    }
    return states(
        "Phases",
        "Which phase the attempt was in, by the node's own clock. Phases of a job lie inside its active window.",
        query,
        "${__field.labels.phase}",
        [{"type": "value", "options": mappings}],
    )


def _attempts() -> Panel:
    columns = [
        Column("trial", "Trial", link=links.TO_ATTEMPT, width=70),
        Column("attempt", "Attempt", link=links.TO_ATTEMPT, width=80),
        Column("treatment", "Treatment", link=links.TO_ATTEMPT, width=190),
        c.NODE,
        Column("workload", "Workload"),
        c.KIND,
        Column("valid", "Valid", width=70, good="true", bad="false"),
        Column("invalid_reasons", "Why it does not count", width=260),
        Column("replicate", "Replicate"),
        Column("joules_per_inference", "Energy per inference"),
        Column("joules_per_inference_expanded_uncertainty", "± k = 2"),
        Column("joules_per_inference_above_idle", "Above idle"),
        Column("joules_per_inference_above_idle_expanded_uncertainty", "± k = 2, above idle"),
        Column("joules_per_correct_inference", "Per correct inference"),
        Column("joules_per_correct_inference_expanded_uncertainty", "± k = 2, per correct"),
        Column("accuracy", "Accuracy", decimals=2),
        Column("latency_ms_p50", "Median latency"),
        Column("latency_ms_p99", "Latency p99"),
        Column("inference_count", "Inferences"),
        Column("job_seconds", "Job"),
        Column("memory_bytes_peak", "Peak memory"),
        Column("sensor", "Sensor"),
        Column("sample_rate_hz", "Rate"),
        Column("runtime", "Runtime"),
        c.RUN,
        c.STARTED,
        Column("ended", "Ended", "time(v: r.ended_unix_ns)", width=160),
    ]
    return table(
        "Attempts",
        "Every attempt of this run on this node. A click on one shows its power, from its begin to its end. ± k = 2 is "
        "the expanded "
        'uncertainty of this attempt; of a job, "per inference" is the whole job. The 95 % t interval over replicates '
        "is in "
        f"Compare. {c.KINDS_APART}",
        rows("trial", columns, ATTEMPTS, ["trial", "attempt"]),
        columns,
        ["trial"],
    )


def _windows() -> Panel:
    columns = [
        Column("_time", "Begin", width=160),
        Column("end", "End", "time(v: r.end_unix_ns)", width=160),
        Column("phase", "Window", width=80),
        Column("channel", "Channel", width=140),
        c.KIND,
        Column("valid", "Valid", width=70, good="true", bad="false"),
        Column("seconds", "Length"),
        Column("joules", "Energy"),
        Column("joules_expanded_uncertainty", "± k = 2"),
        Column("watts_mean", "Mean power"),
        Column("inference_count", "Inferences"),
        Column("sample_count", "Samples"),
        Column("lost_reading_count", "Lost readings"),
        Column("simulated_true_joules", "True energy (emulated load)"),
    ]
    return table(
        "Windows of the attempt",
        "The idle and active windows of the chosen attempt, with the energy of each and its expanded uncertainty. "
        "Above idle is the active window less the mean idle power times its length. The true "
        "energy is known for emulated loads alone.",
        rows("window", columns, ONE, ["_time"]),
        columns,
        ["window"],
    )


def _latency() -> list[Panel]:
    wanted = [
        Column("latency_ms", "Latency", "float(v: r.latency_ns) / 1000000.0", "ms"),
        Column("inference_count", ""),
        Column("inference_count_cumulative", ""),
    ]
    read = (
        'import "math"\n\nbuckets = '
        + pivoted("latency", wanted, ONE)
        + computed(wanted)
        + '\n  |> sort(columns: ["latency_ms"])\n\n'
        + """all = (buckets
  |> max(column: "inference_count_cumulative")
  |> findRecord(fn: (key) => true, idx: 0)).inference_count_cumulative

shares = buckets
  |> map(fn: (r) => ({r with share: float(v: r.inference_count_cumulative) / float(v: all)}))
"""
    )
    percentiles = read + '\nshares\n  |> sort(columns: ["share"])\n  |> keep(columns: ["share", "latency_ms"])'
    # Not the first row of what is left: of a table of thousands, `findRecord` sees no more than the first thousand.
    bins = (
        read
        + """
middle = (shares
  |> filter(fn: (r) => r.share >= 0.5)
  |> min(column: "latency_ms")
  |> findRecord(fn: (key) => true, idx: 0)).latency_ms

shares
  |> filter(fn: (r) => r.share <= 0.99)
  |> map(fn: (r) => ({r with bin: math.floor(x: r.latency_ms / middle * 50.0) * middle / 50.0}))
  |> group(columns: ["bin"])
  |> sum(column: "inference_count")
  |> group()
  |> sort(columns: ["bin"])"""
    )
    return [
        trend(
            "Latency by percentile",
            "Latency of the chosen attempt over the share of inferences that were at least as fast, exactly as the "
            "agent counted: the median stands at 50 %, the slowest at the right. The latency's axis is logarithmic.",
            percentiles,
            ("share", "percentunit", "Share of inferences"),
            "ms",
            "Latency",
            from_zero=False,
            overrides=[matching("^latency_ms$", displayName="latency")],
            log=True,
        ),
        trend(
            "Latency, histogram",
            "Inferences of the chosen attempt in equal bins of 2 % of the median latency. The slowest hundredth, "
            "whose tail may reach far, is left to the percentiles.",
            bins,
            ("bin", "ms", "Latency"),
            "short",
            "Inferences",
            overrides=[matching("^inference_count$", displayName="inferences")],
            style="bars",
        ),
    ]


def losses(where: list[str]) -> Panel:
    """Readings that an agent knows it lost."""
    columns = [
        Column("_time", "Until", width=160),
        Column("since", "Since", "time(v: r.since_unix_ns)", width=160),
        c.NODE,
        Column("channel", "Channel"),
        Column("reason", "Reason"),
        Column("reading_count", "Readings lost"),
    ]
    return table(
        "Losses",
        "Readings that an agent knows it lost in the time shown, by reason. They lie between the two times. "
        "Empty is good.",
        rows("loss", columns, where, ["_time"], descending=True, limit=200),
        columns,
        ["loss"],
    )


def gaps(where: list[str], link: tuple[str, str] | None = None) -> Panel:
    """Batches that never arrived."""
    columns = [
        Column("_time", "From", width=160, link=link),
        Column("until", "Until", "time(v: r.end_unix_ns)", width=160),
        c.NODE,
        Column("channel", "Channel"),
        Column("batch_count", "Batches missing"),
        Column("seconds", "Length"),
    ]
    return table(
        "Gaps",
        "Batches of samples that never arrived in the time shown, or were refused. A gap of 0 batches was filled "
        "later. Empty is good.",
        rows("gap", columns, where, ["_time"], descending=True, limit=200),
        columns,
        ["gap"],
    )


def _annotations() -> list[dict[str, object]]:
    windows = [
        Column("time", "", "r._time"),
        Column("timeEnd", "", "time(v: r.end_unix_ns)"),
        Column(
            "text",
            "",
            'r.phase + " window, " + (if exists r.joules then string(v: math.round(x: r.joules * 1000.0) / 1000.0) + " '
            'J (" + r.kind + ")" else "no energy")',
        ),
        Column("tags", "", "r.phase"),
    ]
    window_query = 'import "math"\n\n' + pivoted("window", windows, ONE) + computed(windows) + kept(windows)
    phases = [
        Column("time", "", "r._time"),
        Column("text", "", 'r.phase + " begins"'),
        Column("tags", "", "r.phase"),
    ]
    phase_query = (
        pivoted("phase", phases, [*ONE, 'r.edge == "start"']) + computed(phases) + kept(phases) + ordered(["time"])
    )
    return [
        annotation(
            "Idle windows",
            "yellow",
            window_query.replace("|> pivot", '|> filter(fn: (r) => r.phase == "idle")\n  |> pivot'),
        ),
        annotation(
            "Active windows",
            "green",
            window_query.replace("|> pivot", '|> filter(fn: (r) => r.phase == "active")\n  |> pivot'),
        ),
        annotation("Phases", "blue", phase_query),
    ]


def _numbers_of(field: str, where: list[str]) -> str:
    column = Column(field, "")
    return (
        pivoted("trial", [column], where)
        + f'\n  |> keep(columns: ["{field}"])\n  |> distinct(column: "{field}")\n  |> sort()'
        + "\n  |> map(fn: (r) => ({text: string(v: r._value)}))"
    )


def board() -> Board:
    """Builds the dashboard."""
    in_run = ('r.run == "${run}"',)
    made = Board(
        "trial",
        "Trial",
        "One attempt at one trial: power as it was sampled, its phases and windows, its latency, and what was lost.",
        [
            variables.run("run", "Run", "The run of the attempt."),
            variables.nodes("node", "Node", "The node: first those that executed something of the run."),
            variables.values_of(
                "treatment", "Treatment", "Treatments that are listed.", "trial", "treatment", in_run, every=True
            ),
            variables.valid(),
            variables.numbers_of("trial", "Trial", "Position in the run's trial list.", _numbers_of("trial", ATTEMPTS)),
            variables.numbers_of(
                "attempt",
                "Attempt",
                "Which attempt at the trial.",
                _numbers_of("attempt", [*ATTEMPTS, 'string(v: r.trial) == "${trial}"']),
            ),
            variables.values_of(
                "channel",
                "Channel",
                "Channels of the node.",
                "sample",
                "channel",
                (CHOSEN_NODE,),
                every=True,
                samples=True,
            ),
            variables.choice(
                "detail",
                "Samples",
                "Every sample, or those that the sink has decimated: for curves over hours, or where no others are.",
                [("as sampled", "sample"), ("decimated", "sample_decimated")],
            ),
            variables.samples(),
        ],
        from_time="now-15m",
        annotations=_annotations(),
    )
    made.section("Attempts")
    made.add(_attempts(), 24, 8)
    made.section("Power")
    made.add(_power(), 24, 12)
    made.add(_phases(), 24, 7)
    for panel in _volts_and_amperes():
        made.add(panel, 12, 9)
    made.section("Windows")
    made.add(_windows(), 24, 7)
    made.section("Latency")
    for panel in _latency():
        made.add(panel, 12, 9)
    made.section("What was lost")
    made.add(losses([CHOSEN_NODE]), 12, 7)
    made.add(gaps([CHOSEN_NODE]), 12, 7)
    return made
