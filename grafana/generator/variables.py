"""Variables of dashboards. Each of them has a value on an empty bucket, so that no query is ever broken text."""

from __future__ import annotations

from typing import Any

from generator.flux import EVER, RESULTS, SAMPLES, any_of
from generator.panels import DATASOURCE

Json = dict[str, Any]

# Flux answers one column of text; the picker wants what is shown and what is filled in.
VALUE_AND_TEXT = r"/^(?<value>[^|]+)\|(?<text>.+)$/"


def _query(name: str, label: str, description: str, flux: str, **more: object) -> Json:
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "query",
        "datasource": DATASOURCE,
        "query": flux,
        "definition": flux,
        "refresh": 1,
        "regex": "",
        "sort": 0,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
        "current": {},
        **more,
    }


def run(name: str, label: str, description: str, or_none: bool = False) -> Json:
    """A picker of one run, the newest first."""
    runs = f"""from(bucket: {RESULTS})
  |> {EVER}
  |> filter(fn: (r) => r._measurement == "run" and r._field == "state")
  |> group()
  |> sort(columns: ["_time"], desc: true)
  |> map(fn: (r) => ({{text: r.run + "|" + r.run + " (" + r._value + ", " + string(v: r._time) + ")"}}))
  |> keep(columns: ["text"])"""
    if or_none:
        # A union has no order of its own; a time that no run has makes "none" the first.
        none = 'array.from(rows: [{text: "none|none", _time: 2200-01-01T00:00:00Z}])'
        timed = runs.replace("({text", "({_time: r._time, text").replace('  |> keep(columns: ["text"])', "")
        runs = f"""import "array"

runs = {timed.rstrip()}

union(tables: [{none}, runs])
  |> sort(columns: ["_time"], desc: true)
  |> keep(columns: ["text"])"""
        return _query(
            name,
            label,
            description,
            runs,
            regex=VALUE_AND_TEXT,
            current={"text": "none", "value": "none", "selected": True},
        )
    return _query(name, label, description, runs, regex=VALUE_AND_TEXT)


def values_of(
    name: str,
    label: str,
    description: str,
    series: str,
    tag: str,
    where: tuple[str, ...] = (),
    every: bool = False,
    samples: bool = False,
) -> Json:
    """A picker of the values of a tag; with `every`, several or all of them.

    The conditions name tags alone: so the server answers from its index and reads no points.
    """
    # Where samples are sent decimated alone, there are no others.
    read = [series, f"{series}_decimated"] if samples else [series]
    measurements = any_of("_measurement", read)
    conditions = "".join(f"\n  |> filter(fn: (r) => {condition})" for condition in where)
    flux = f"""from(bucket: {SAMPLES if samples else RESULTS})
  |> {EVER}
  |> filter(fn: (r) => {measurements}){conditions}
  |> keep(columns: ["{tag}"])
  |> group()
  |> distinct(column: "{tag}")
  |> sort()"""
    if every:
        chosen = {"text": ["All"], "value": ["$__all"], "selected": True}
        return _query(name, label, description, flux, multi=True, includeAll=True, allValue=".*", current=chosen)
    return _query(name, label, description, flux)


def nodes(name: str, label: str, description: str) -> Json:
    """A picker of one node: those of the chosen run come first, and all others can be chosen, too."""
    parts = []
    for order, (series, conditions) in enumerate([("trial", ' and r.run == "${run}"'), ("node", "")]):
        parts.append(f"""from(bucket: {RESULTS})
  |> {EVER}
  |> filter(fn: (r) => r._measurement == "{series}"{conditions})
  |> keep(columns: ["node"])
  |> group()
  |> distinct(column: "node")
  |> map(fn: (r) => ({{text: r._value, order: {order}}}))""")
    flux = f"""first = {parts[0]}

others = {parts[1]}

union(tables: [first, others])
  |> group(columns: ["text"])
  |> min(column: "order")
  |> group()
  |> sort(columns: ["order", "text"])
  |> keep(columns: ["text"])"""
    return _query(name, label, description, flux)


def numbers_of(name: str, label: str, description: str, flux: str) -> Json:
    """A picker of whole numbers, such as a trial of a run."""
    return _query(name, label, description, flux)


def choice(name: str, label: str, description: str, options: list[tuple[str, str]]) -> Json:
    """A picker of fixed words: what is shown, and what is filled in."""
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "custom",
        "query": ",".join(f"{text} : {value}" for text, value in options),
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [
            {"text": text, "value": value, "selected": index == 0} for index, (text, value) in enumerate(options)
        ],
        "current": {"text": options[0][0], "value": options[0][1], "selected": True},
    }


def valid() -> Json:
    """The switch that leaves out attempts that do not count."""
    return choice(
        "valid",
        "Attempts",
        "Whether attempts that count for nothing are shown, too.",
        [("valid only", "true"), ("all", "true|false")],
    )


def samples() -> Json:
    """The bucket of raw samples."""
    return {
        "name": "samples",
        "label": "Bucket of samples",
        "description": "The bucket that raw and decimated samples lie in. Change it where yours has another name.",
        "type": "textbox",
        "query": "tinywatt-samples",
        "hide": 0,
        "options": [{"text": "tinywatt-samples", "value": "tinywatt-samples", "selected": True}],
        "current": {"text": "tinywatt-samples", "value": "tinywatt-samples", "selected": True},
    }
