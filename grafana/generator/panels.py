"""Panels, tables and numbers, with the rules that hold for all of them.

A panel has a description and units. One that shows energy or power says where its figures come from: `kind` is a column
of a table, a part of a curve's name, or the name of a column of points or bars, and figures of two kinds are never one
mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from generator.flux import Column
from generator.series import DECIMALS, ENERGY, series

Json = dict[str, Any]

DATASOURCE = {"type": "influxdb", "uid": "tinywatt-influx"}

# One colour for each kind, everywhere: what was measured is green, what was not looks like a warning.
KINDS = {
    "measured": "green",
    "measured_elsewhere": "blue",
    "estimated": "orange",
    "simulated": "purple",
}


@dataclass
class Panel:
    """A panel without its place."""

    type: str
    title: str
    description: str
    queries: list[str]
    options: Json
    defaults: Json
    overrides: list[Json] = field(default_factory=list)
    transformations: list[Json] = field(default_factory=list)
    further: Json = field(default_factory=dict)

    def json(self) -> Json:
        """The panel as Grafana reads it."""
        return {
            "type": self.type,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "targets": [
                {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "query": query}
                for index, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": self.defaults, "overrides": self.overrides},
            "options": self.options,
            "transformations": self.transformations,
            **self.further,
        }


def override(name: str, **properties: object) -> Json:
    """Properties of one column; `custom.x` is written `custom_x`."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("custom_", "custom."), "value": value} for key, value in properties.items()],
    }


def matching(pattern: str, **properties: object) -> Json:
    """Properties of all columns whose own name matches.

    Not of curves, whose names are made of their labels, later. Without slashes Grafana would match whole names alone.
    """
    changed = override("", **properties)
    changed["matcher"] = {"id": "byRegexp", "options": f"/{pattern}/"}
    return changed


def kind_colours() -> list[Json]:
    """Marks, curves and bars of a kind have its colour."""
    fixed = [(kind, {"mode": "fixed", "fixedColor": colour}) for kind, colour in KINDS.items()]
    return [matching(rf"\b{kind}\b", color=colour) for kind, colour in fixed]


def kind_cell() -> Json:
    """The column `kind` of a table, in the kind's colour."""
    mapping = {kind: {"color": colour, "index": index} for index, (kind, colour) in enumerate(KINDS.items())}
    return override(
        "kind",
        displayName="Kind",
        mappings=[{"type": "value", "options": mapping}],
        custom_cellOptions={"type": "color-text"},
        custom_width=150,
    )


def judged(good: str, bad: str) -> list[Json]:
    """Mappings of values to green and orange; `bad` is `*` for whatever is not good."""
    values = {
        value: {"color": colour, "index": index}
        for index, (value, colour) in enumerate([(good, "green"), (bad, "orange")])
    }
    others = {"pattern": f"/^(?!{good}$).+/", "result": {"color": "orange", "index": 2}}
    known: Json = {
        "type": "value",
        "options": {value: found for value, found in values.items() if value not in ("", "*")},
    }
    return [known, {"type": "regex", "options": others}] if bad == "*" else [known]


def unit_of(column: Column, names: Sequence[str]) -> str | None:
    """The unit of a column: its own, or that of the one declared field that has its name."""
    if column.unit:
        return column.unit
    if column.formula:
        return None
    for name in names:
        declared = series(name)
        if column.name in declared.fields:
            return declared.fields[column.name].grafana_unit
    return None


def table(
    title: str,
    description: str,
    query: str,
    columns: Sequence[Column],
    names: Sequence[str],
    default_unit: str = "",
) -> Panel:
    """A table. `names` are the series that its columns come from; `default_unit` is for columns that data name.

    Raises:
        ValueError: It shows energy or power and has no column `kind`.
    """
    shown = {column.name for column in columns}
    overrides: list[Json] = []
    is_energy = default_unit in ENERGY
    for column in columns:
        unit = unit_of(column, names)
        is_energy = is_energy or unit in ENERGY
        properties: Json = {"displayName": column.title}
        if unit:
            properties["unit"] = unit
        decimals = column.decimals if column.decimals is not None else DECIMALS.get(unit or "")
        if decimals is not None:
            properties["decimals"] = decimals
        if column.width:
            properties["custom_width"] = column.width
        if column.link:
            properties["links"] = [{"title": column.link[0], "url": column.link[1], "targetBlank": False}]
        if column.colour:
            properties["color"] = {"mode": "fixed", "fixedColor": column.colour}
        if column.good or column.bad:
            properties["mappings"] = judged(column.good, column.bad)
            properties["color"] = {"mode": "fixed", "fixedColor": "text"}
        if column.wrap or column.colour or column.good or column.bad:
            is_coloured = column.colour or column.good or column.bad
            cell: Json = {"type": "color-text" if is_coloured else "auto"}
            properties["custom_cellOptions"] = {**cell, "wrapText": True} if column.wrap else cell
        overrides.append(kind_cell() if column.name == "kind" else override(column.name, **properties))
    if is_energy and "kind" not in shown:
        raise ValueError(f"{title}: shows energy or power without its kind")
    order = {column.name: index for index, column in enumerate(columns)}
    defaults: Json = {"custom": {"align": "auto", "filterable": True, "minWidth": 70}}
    if default_unit:
        defaults["unit"] = default_unit
        defaults["decimals"] = DECIMALS.get(default_unit, 2)
    return Panel(
        "table",
        title,
        description,
        [query],
        {"showHeader": True, "cellHeight": "sm"},
        defaults,
        overrides,
        [{"id": "organize", "options": {"excludeByName": {}, "indexByName": order, "renameByName": {}}}],
    )


def numbers(title: str, description: str, query: str, columns: Sequence[Column], names: Sequence[str]) -> Panel:
    """A few large numbers: the columns of a table of one row. None of energy, which needs its kind beside it.

    Raises:
        ValueError: It shows energy or power.
    """
    overrides = []
    for column in columns:
        unit = unit_of(column, names)
        if unit in ENERGY:
            raise ValueError(f"{title}: shows energy or power without its kind")
        properties: Json = {"displayName": column.title}
        if unit:
            properties["unit"] = unit
        overrides.append(override(column.name, **properties))
    order = {column.name: index for index, column in enumerate(columns)}
    return Panel(
        "stat",
        title,
        description,
        [query],
        {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/.*/", "values": False},
            "colorMode": "none",
            "graphMode": "none",
            "justifyMode": "auto",
            "textMode": "value_and_name",
            "orientation": "auto",
            "wideLayout": True,
        },
        {},
        overrides,
        [{"id": "organize", "options": {"excludeByName": {}, "indexByName": order, "renameByName": {}}}],
    )
