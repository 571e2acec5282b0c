"""Fleet: nodes, sensors, clocks and the way of the data."""

from __future__ import annotations

from generator import columns as c
from generator import links, variables
from generator.board import Board
from generator.charts import curves, states
from generator.flux import Column, computed, curve, filters, kept, ordered, pivoted, source, with_facts
from generator.panels import Panel, judged, numbers, table
from generator.series import series
from generator.trial import gaps, losses

NODES = "r.node =~ /^${node:regex}$/"
NODE_NAME = "${__field.labels.node}"

# What a Raspberry Pi's firmware says: the bit now, and the bit since boot.
THROTTLE = [
    ("undervoltage", 1, 65536),
    ("frequency capped", 2, 131072),
    ("throttled", 4, 262144),
    ("soft temperature limit", 8, 524288),
]


def _words(bits: list[tuple[str, int]]) -> str:
    """A formula: bits into words, and "fine" for none of them."""
    parts = " + ".join(
        f'(if bitwise.sand(a: r.throttled_bits, b: {bit}) > 0 then "{word}; " else "")' for word, bit in bits
    )
    mask = sum(bit for _, bit in bits)
    is_fine = f"bitwise.sand(a: r.throttled_bits, b: {mask}) == 0"
    return f'if {is_fine} then "fine" else strings.trimSuffix(v: {parts}, suffix: "; ")'


# What a node is, written when it changes.
FACTS = ("agent_version", "machine", "channels")

NOW_WORDS = _words([(word, now) for word, now, _ in THROTTLE])
BOOT_WORDS = _words([(word, since) for word, _, since in THROTTLE])


def _nodes(made: Board) -> None:
    columns = [
        Column("node", "Node", width=120, link=links.TO_NODE_NOW),
        Column("connected", "Connected", width=100, good="true", bad="false"),
        Column("running", "Executes", width=220),
        Column("last_seen", "Last heard of", "time(v: r.last_seen_unix_ns)", width=160),
        Column("agent_version", "Agent", width=90),
        Column("machine", "Machine", width=260),
        Column("channels", "Sensors and their kinds", width=320),
        Column("record_count", "Records"),
        Column("duplicate_count", "Duplicates"),
        Column("rejected_count", "Refused"),
        Column("missing_count", "Missing"),
        Column("clock_error_ns", "Clock error"),
        Column("clock_drift_ppb", "Clock drift"),
    ]
    facts = [column for column in columns if column.name in FACTS]
    made.add(
        table(
            "Nodes",
            "Each node as the collector saw it last in the time shown: whether its agent is connected, what it "
            "executes (run, trial, attempt; empty when free), its sensors with source, rate and kind, and what arrived "
            "of it. A click on a node leads to its power.",
            with_facts("node", [column for column in columns if column.name not in FACTS], facts, "node", [NODES]),
            columns,
            ["node"],
        ),
        24,
        7,
    )
    connected = (
        source(series("node"))
        + filters([NODES, 'r._field == "connected"'])
        + '\n  |> group(columns: ["node"])'
        + "\n  |> aggregateWindow(every: v.windowPeriod, fn: last, createEmpty: false)"
        + '\n  |> map(fn: (r) => ({node: r.node, _time: r._time, state: if r._value then "connected" else "gone"}))'
        + '\n  |> sort(columns: ["_time"])'
    )
    made.add(
        states(
            "Connected",
            "When the agent of each node was connected. A gap in the line: the collector itself said nothing.",
            connected,
            NODE_NAME,
            judged("connected", "gone"),
        ),
        12,
        7,
    )
    throttled = [
        c.NODE,
        Column("_time", "Looked", width=160),
        Column("now", "Now", NOW_WORDS, good="fine", bad="*"),
        Column("boot", "Since boot", BOOT_WORDS, good="fine", bad="*"),
    ]
    throttled_query = (
        'import "bitwise"\nimport "strings"\n\n'
        + pivoted("agent", throttled, [NODES, "exists r.throttled_bits"])
        + computed(throttled)
        + '\n  |> group(columns: ["node"])\n  |> sort(columns: ["_time"])\n  |> last(column: "_time")\n  |> group()'
        + ordered(["node"])
        + kept(throttled)
    )
    made.add(
        table(
            "Throttling",
            "What a Raspberry Pi's firmware said last: undervoltage, frequency capped, throttled, or the soft "
            "temperature limit, now and since its boot. Other machines tell none. An attempt during which any of it "
            "held is invalid.",
            throttled_query,
            throttled,
            ["agent"],
        ),
        12,
        7,
    )
    words = NOW_WORDS.replace("r.throttled_bits", "r._value")
    made.add(
        states(
            "Throttling over time",
            "The firmware's words at each look, every 10 s; of several looks that fall on one point the worst.",
            'import "bitwise"\nimport "strings"\n\n'
            + curve("agent", "throttled_bits", ["node"], "max", [NODES])
            + "\n  |> filter(fn: (r) => exists r._value)"
            + f"\n  |> map(fn: (r) => ({{node: r.node, _time: r._time, state: {words}}}))",
            NODE_NAME,
            judged("fine", "*"),
        ),
        12,
        6,
    )
    made.add(
        curves(
            "Temperature",
            "Hottest thermal zone of each machine; none where its kernel tells none.",
            [curve("agent", "temperature_celsius", ["node"], where=[NODES])],
            "celsius",
            NODE_NAME,
            "Temperature",
            from_zero=False,
        ),
        12,
        6,
    )


def _sensors(made: Board) -> None:
    made.section("Sensors and what was lost")
    made.add(
        curves(
            "Power of each channel, mean of 10 s",
            "Kept when raw samples have expired. Shunt channels alone; the kind of the figures is in the curve's name. "
            "Mean of what falls on one point.",
            [curve("sample_10s", "watts_mean", ["node", "channel", "kind"], where=[NODES])],
            "watt",
            "${__field.labels.node} ${__field.labels.channel} (${__field.labels.kind})",
            "Power",
        ),
        12,
        9,
    )
    made.add(
        curves(
            "Losses by reason",
            "Readings that agents know they lost, summed over what falls on one point. Empty is good.",
            [curve("loss", "reading_count", ["node", "channel", "reason"], "sum", [NODES])],
            "none",
            "${__field.labels.node} ${__field.labels.channel}: ${__field.labels.reason}",
            "Readings",
        ),
        12,
        9,
    )
    made.add(losses([NODES]), 12, 7)
    made.add(gaps([NODES], links.TO_NODE_THEN), 12, 7)


def _clocks(made: Board) -> None:
    made.section("Clocks")
    offset = (
        source(series("clock"))
        + filters([NODES, 'r._field == "offset_ns"'])
        + """
  |> group(columns: ["node"])
  |> sort(columns: ["_time"])
  |> difference()
  |> cumulativeSum()
  |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)
  |> keep(columns: ["node", "_time", "_value"])"""
    )
    made.add(
        curves(
            "Clock offset since the first probe shown",
            "How far Unix time ran away from each node's monotonic clock, by every probe: a slope is drift, a step a "
            "clock that was set. A restart of the machine is a step, too, because its monotonic clock begins anew.",
            [offset],
            "ns",
            NODE_NAME,
            "Offset less the first",
            from_zero=False,
        ),
        8,
        9,
    )
    made.add(
        curves(
            "Clock error",
            "Bound on the error of each probe's offset: half the round trip without the collector's own time.",
            [curve("clock", "error_ns", ["node"], where=[NODES])],
            "ns",
            NODE_NAME,
            "Error bound",
        ),
        8,
        9,
    )
    made.add(
        curves(
            "Axis error",
            "How far the time axis of a node's samples lags behind the collector's clock. The axis keeps one offset "
            "for a start of the agent, so that no interval is ever stretched, and clocks drift.",
            [curve("clock", "axis_error_ns", ["node"], where=[NODES])],
            "ns",
            NODE_NAME,
            "Lag of the axis",
            from_zero=False,
        ),
        8,
        9,
    )


def _agents(made: Board) -> None:
    made.section("Agents")
    for title, field, unit, axis, text in [
        ("Spool", "spool_record_count", "short", "Records", "Records that wait on the node for the collector."),
        ("Memory of the agent", "memory_bytes", "bytes", "Resident", "Resident memory of the agent's process."),
        ("Memory left", "memory_available_bytes", "bytes", "Available", "Memory that the machine could still give."),
        ("Disk left", "disk_free_bytes", "bytes", "Free", "Room left on the disk of the agent's state."),
        (
            "Lost readings",
            "lost_reading_count",
            "none",
            "Readings",
            "Readings lost since the agent started, all channels.",
        ),
    ]:
        made.add(curves(title, text, [curve("agent", field, ["node"], where=[NODES])], unit, NODE_NAME, axis), 8, 8)
    made.add(
        curves(
            "CPU of the agent",
            "Share of one core that the agent itself takes.",
            [_cpu("agent", ["node"], [NODES])],
            "percentunit",
            NODE_NAME,
            "Share of a core",
        ),
        8,
        8,
    )


def _cpu(name: str, labels: list[str], where: list[str]) -> str:
    """CPU seconds a second: a process that starts anew begins at zero, which is no negative share."""
    keys = ", ".join(f'"{label}"' for label in labels)
    return (
        source(series(name))
        + filters([*where, 'r._field == "cpu_seconds"'])
        + f"\n  |> group(columns: [{keys}])\n  |> derivative(unit: 1s, nonNegative: true)"
        + "\n  |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)"
        + "\n  |> keep(columns: ["
        + ", ".join([*(f'"{label}"' for label in labels), '"_time"', '"_value"'])
        + "])"
    )


def _plain(field: str, title: str, unit: str, axis: str, text: str) -> Panel:
    return curves(title, text, [curve("collector", field, [])], unit, title, axis)


def _collector(made: Board) -> None:
    made.section("Collector and sink")
    columns = [
        Column("running_run_count", "Runs under way"),
        Column("connected_node_count", "Nodes connected"),
        Column("sink_lag_batch_count", "Batches behind"),
        Column("sink_lag_seconds", "Sink behind by"),
        Column("sink_retry_count", "Requests repeated"),
        Column("sink_quarantined_count", "Lines refused by InfluxDB"),
        Column("store_bytes", "Store"),
        Column("disk_free_bytes", "Disk left"),
    ]
    query = (
        pivoted("collector", [*columns, Column("_time", "")], [])
        + '\n  |> sort(columns: ["_time"], desc: true)\n  |> limit(n: 1)'
        + kept(columns)
    )
    made.add(
        numbers(
            "Collector now",
            "What the collector said of itself last in the time shown. Lines that InfluxDB refused are kept, with the "
            "reason, in the collector's store.",
            query,
            columns,
            ["collector"],
        ),
        24,
        4,
    )
    for panel in [
        _plain(
            "sink_lag_seconds",
            "Lag of the sink",
            "s",
            "Age",
            "Age of the oldest thing in the store that InfluxDB does not have yet.",
        ),
        _plain(
            "sink_lag_batch_count",
            "Batches that wait",
            "none",
            "Batches",
            "Batches in the store that InfluxDB does not have yet.",
        ),
        _plain(
            "sink_retry_count", "Requests repeated", "none", "Requests", "Requests to InfluxDB that had to be repeated."
        ),
        _plain(
            "sink_quarantined_count",
            "Lines in quarantine",
            "none",
            "Lines",
            "Lines that InfluxDB refused, ever, and that are kept as such.",
        ),
        _plain(
            "memory_bytes",
            "Memory of the collector",
            "bytes",
            "Resident",
            "Resident memory of the collector's process.",
        ),
        _plain("store_bytes", "Size of the store", "bytes", "File", "Size of the store's file."),
        curves(
            "Lines sent",
            "Lines a second that InfluxDB took.",
            [
                source(series("collector"))
                + filters(['r._field == "sink_line_count"'])
                + "\n  |> group()\n  |> derivative(unit: 1s, nonNegative: true)"
                + "\n  |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)"
                + '\n  |> keep(columns: ["_time", "_value"])'
            ],
            "suffix: lines/s",
            "Lines sent",
            "Lines a second",
        ),
        curves(
            "CPU of the collector",
            "Share of one core that the collector takes.",
            [_cpu("collector", [], [])],
            "percentunit",
            "CPU of the collector",
            "Share of a core",
        ),
    ]:
        made.add(panel, 6, 8)


def board() -> Board:
    """Builds the dashboard."""
    made = Board(
        "fleet",
        "Fleet",
        "Nodes, sensors, clocks, agents, the collector and the sink: whether data arrive, whole and in time.",
        [
            variables.values_of("node", "Node", "Nodes that are shown.", "node", "node", every=True),
        ],
        from_time="now-6h",
        refresh="30s",
    )
    made.section("Nodes")
    _nodes(made)
    _sensors(made)
    _clocks(made)
    _agents(made)
    _collector(made)
    return made
