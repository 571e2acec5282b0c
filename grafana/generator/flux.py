"""Flux queries from a series and its columns: every one has a bucket and a range, and names declared fields alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from generator.series import Series, series

RANGE = "range(start: v.timeRangeStart, stop: v.timeRangeStop)"

# What is chosen by its run is found by its run: whoever looks at the power of ten seconds still sees all attempts
# beside it, and a run of last year is no other than one of today. It has an end because it would
# else be now, and a recording that was replayed faster than it was taken reaches beyond.
EVER = "range(start: 0, stop: 2200-01-01T00:00:00Z)"

# The datasource's own bucket holds the results. Raw samples lie in another one, because they expire; the dashboard that
# needs it has a variable for its name.
RESULTS = "v.defaultBucket"
SAMPLES = '"${samples}"'

QUOTED_TIME = '"_time"'
QUOTED_VALUE = '"_value"'

# Whether an attempt counts: the variable's value is `true` or `true|false`.
VALID = "r.valid =~ /^(${valid})$/"


@dataclass(frozen=True)
class Column:
    """One column of a table: a tag or field, or a formula over some, with the words above it.

    `unit` overrides that of the series file, and must be given for a formula that is a number. `link` is the address
    that a click leads to, with its words. `good` and `bad` are the values that are shown in green and orange; `bad` is
    `*` for all others.
    """

    name: str
    title: str
    formula: str = ""
    unit: str = ""
    width: int = 0
    decimals: int | None = None
    link: tuple[str, str] | None = None
    wrap: bool = False
    colour: str = ""
    good: str = ""
    bad: str = ""


def source(declared: Series, where: Iterable[str] = ()) -> str:
    """Begins a query on a series: in the time that is shown, or ever when a run is chosen."""
    bucket = SAMPLES if declared.bucket == "samples" else RESULTS
    time = EVER if any('r.run == "${' in condition for condition in where) else RANGE
    return f'from(bucket: {bucket})\n  |> {time}\n  |> filter(fn: (r) => r._measurement == "{declared.name}")'


def names_in(formula: str) -> list[str]:
    """The tags and fields that a formula reads."""
    return re.findall(r"\br\.(\w+)", formula)


def wanted_fields(declared: Series, columns: Iterable[Column], also: Iterable[str] = ()) -> list[str]:
    """The fields that must be read for these columns, in the order of the series file.

    Raises:
        ValueError: A column or formula names what the series does not declare.
    """
    named: set[str] = set()
    for column in columns:
        named.update(names_in(column.formula) if column.formula else [column.name])
    named.update(also)
    computed = {column.name for column in columns if column.formula}
    unknown = named - declared.tags - declared.fields.keys() - {"_time"} - computed
    if unknown:
        raise ValueError(f"series {declared.name} declares no {', '.join(sorted(unknown))}")
    return [field for field in declared.fields if field in named]


def any_of(field: str, values: Sequence[str]) -> str:
    """A filter's words for "one of these"."""
    return " or ".join(f'r.{field} == "{value}"' for value in values)


def filters(conditions: Iterable[str]) -> str:
    """One line for each condition, so that a person can read which rows count."""
    return "".join(f"\n  |> filter(fn: (r) => {condition})" for condition in conditions)


def pivoted(name: str, columns: Sequence[Column], where: Sequence[str], also: Sequence[str] = ()) -> str:
    """Points of a series as rows, one table, before any formula; `where` may name tags alone."""
    declared = series(name)
    tags = [condition for condition in where if set(names_in(condition)) <= declared.tags]
    later = [condition for condition in where if condition not in tags]
    read = [name for condition in later for name in names_in(condition)]
    fields = wanted_fields(declared, columns, [*also, *read])
    query = source(declared, tags) + filters([*tags, any_of("_field", fields)])
    query += '\n  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")\n  |> group()'
    return query + filters(later)


def computed(columns: Iterable[Column]) -> str:
    """Adds the columns that are formulas."""
    parts = ", ".join(f"{column.name}: {column.formula}" for column in columns if column.formula)
    return f"\n  |> map(fn: (r) => ({{r with {parts}}}))" if parts else ""


def kept(columns: Iterable[Column]) -> str:
    """Leaves nothing but the columns."""
    return "\n  |> keep(columns: [" + ", ".join(f'"{column.name}"' for column in columns) + "])"


def ordered(by: Sequence[str], descending: bool = False) -> str:
    """Sorts rows."""
    if not by:
        return ""
    direction = ", desc: true" if descending else ""
    return "\n  |> sort(columns: [" + ", ".join(f'"{name}"' for name in by) + f"]{direction})"


def rows(
    name: str,
    columns: Sequence[Column],
    where: Sequence[str] = (),
    by: Sequence[str] = (),
    descending: bool = False,
    limit: int = 0,
) -> str:
    """A table of points, one row each."""
    query = pivoted(name, columns, where, by) + computed(columns) + ordered(by, descending)
    if limit:
        query += f"\n  |> limit(n: {limit})"
    return query + kept(columns)


def curve(name: str, field: str, labels: Sequence[str], function: str = "mean", where: Sequence[str] = ()) -> str:
    """A field over time, one curve for each set of labels, thinned to what a panel can show.

    Where nothing was written the curve has no value, so that it is not drawn across.
    """
    declared = series(name)
    wanted_fields(declared, [Column(field, field)], labels)
    keys = [f'"{label}"' for label in labels]
    query = source(declared) + filters([*where, f'r._field == "{field}"'])
    return (
        f"{query}\n  |> group(columns: [{', '.join(keys)}])"
        f"\n  |> aggregateWindow(every: v.windowPeriod, fn: {function}, createEmpty: true)"
        f"\n  |> keep(columns: [{', '.join([*keys, QUOTED_TIME, QUOTED_VALUE])}])"
    )


def with_facts(name: str, state: Sequence[Column], facts: Sequence[Column], key: str, where: Sequence[str]) -> str:
    """The last row for each value of a tag, and beside it what is written once, when it changes, whenever that was."""
    declared = series(name)
    known = ", ".join(f"{column.name}: r.{column.name}" for column in facts)
    fields = wanted_fields(declared, facts)
    bucket = SAMPLES if declared.bucket == "samples" else RESULTS
    return f"""import "join"

states = {latest(name, state, key, where)}

facts = from(bucket: {bucket})
  |> {EVER}
  |> filter(fn: (r) => r._measurement == "{name}"){filters([*where, any_of("_field", fields)])}
  |> group(columns: ["{key}", "_field"])
  |> last()
  |> group()
  |> pivot(rowKey: ["{key}"], columnKey: ["_field"], valueColumn: "_value")

join.left(
    left: states,
    right: facts,
    on: (l, r) => l.{key} == r.{key},
    as: (l, r) => ({{l with {known}}}),
){ordered([key])}{kept([*state, *facts])}"""


def latest(name: str, columns: Sequence[Column], key: str, where: Sequence[str] = ()) -> str:
    """The last row for each value of a tag."""
    query = pivoted(name, columns, where) + computed(columns)
    query += (
        f'\n  |> group(columns: ["{key}"])\n  |> sort(columns: ["_time"])\n  |> last(column: "_time")\n  |> group()'
    )
    return query + ordered([key]) + kept(columns)
