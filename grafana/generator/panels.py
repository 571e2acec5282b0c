"""Panels: each kind of picture once, with the rules that hold for all of them.

A panel has a description and units. One that shows energy or power says where its figures come from: `kind` is a column of
a table, a part of a curve's name, or the name of a column of points or bars, and figures of two kinds are never one mark.
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
    """Properties of all columns or curves whose name matches."""
    changed = override("", **properties)
    changed["matcher"] = {"id": "byRegexp", "options": pattern}
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
    others = {"pattern": f"^(?!{good}$).+", "result": {"color": "orange", "index": 2}}
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


def curves(
    title: str,
    description: str,
    queries: Sequence[str],
    unit: str,
    name: str,
    axis: str = "",
    from_zero: bool = True,
    steps: bool = False,
    overrides: Sequence[Json] = (),
    points: int = 0,
    thin: str = "",
) -> Panel:
    """Curves over time, each named by its labels; `name` holds them as `${__field.labels.node}`.

    Raises:
        ValueError: It shows energy or power and the names of the curves lack the kind.
    """
    if unit in ENERGY and "labels.kind" not in name:
        raise ValueError(f"{title}: shows energy or power without its kind")
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 0,
        "showPoints": "auto",
        "pointSize": 4,
        "spanNulls": False,
        "lineInterpolation": "stepAfter" if steps else "linear",
        "axisLabel": axis,
    }
    defaults: Json = {"unit": unit, "displayName": name, "custom": custom}
    if from_zero:
        defaults["min"] = 0
    changed = list(overrides)
    if thin:
        changed.append(matching(thin, custom_lineStyle={"fill": "dash", "dash": [4, 4]}, custom_lineWidth=1))
    return Panel(
        "timeseries",
        title,
        description,
        list(queries),
        {
            "legend": {"showLegend": True, "displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        defaults,
        changed,
        further={"maxDataPoints": points} if points else {},
    )


@dataclass(frozen=True)
class Marks:
    """Points of one frame of an XY chart, a column of them for each kind; with `ring`, rings around other points."""

    frame: int
    name: str
    shape: str = "circle"
    ring: bool = False

    @property
    def sign(self) -> str:
        """What the legend calls the marks: it shows colours, and those are the kinds'."""
        return {("circle", False): "●", ("square", False): "■", ("circle", True): "○", ("square", True): "□"}[
            self.shape, self.ring
        ]


def scatter(
    title: str,
    description: str,
    queries: Sequence[str],
    x: tuple[str, str, str],
    y: tuple[str, str],
    marks: Sequence[Marks],
    links: Sequence[Json] = (),
) -> Panel:
    """Points of one figure over another. Every query answers one wide frame: `x`, and one column for each kind.

    `x` is the column, its unit and its words; `y` the unit and the words. A column is called by its marks and its kind.
    """
    x_name, x_unit, x_words = x
    y_unit, y_words = y
    chosen: list[Json] = []
    overrides = [
        override(x_name, unit=x_unit, min=0, displayName=x_words, custom_axisLabel=x_words),
    ]
    for mark in marks:
        for kind in KINDS:
            chosen.append(
                {
                    "name": {"fixed": f"{mark.name} {mark.sign}, {kind}"},
                    "frame": {"matcher": {"id": "byIndex", "options": mark.frame}},
                    "x": {"matcher": {"id": "byName", "options": x_name}},
                    "y": {"matcher": {"id": "byName", "options": f"{mark.name}, {kind}"}},
                }
            )
            style: Json = {
                "custom_pointShape": mark.shape,
                "color": {"mode": "fixed", "fixedColor": KINDS[kind]},
            }
            if mark.ring:
                style |= {"custom_pointSize": {"fixed": 17}, "custom_fillOpacity": 0, "custom_pointStrokeWidth": 2}
            else:
                style["links"] = list(links)
            overrides.append(override(f"{mark.name}, {kind}", **style))
    custom = {
        "show": "points",
        "pointSize": {"fixed": 9},
        "pointStrokeWidth": 1,
        "fillOpacity": 60,
        "axisLabel": y_words,
    }
    return Panel(
        "xychart",
        title,
        description,
        list(queries),
        {
            "mapping": "manual",
            "series": chosen,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        {"unit": y_unit, "custom": custom},
        overrides,
    )


def bars(
    title: str,
    description: str,
    query: str,
    x: str,
    unit: str,
    axis: str,
    overrides: Sequence[Json] = (),
    from_zero: bool = True,
    decimals: int | None = None,
) -> Panel:
    """Bars side by side: `x` is the column of words below them, every other column a set of bars.

    Raises:
        ValueError: It shows energy and its columns are not the kinds.
    """
    if unit in ENERGY and 'columnKey: ["kind"' not in query:
        raise ValueError(f"{title}: shows energy or power without its kind")
    defaults: Json = {"unit": unit, "custom": {"fillOpacity": 80, "lineWidth": 1, "axisLabel": axis}}
    if decimals is not None or unit in DECIMALS:
        defaults["decimals"] = DECIMALS[unit] if decimals is None else decimals
    if from_zero:
        defaults["min"] = 0
    return Panel(
        "barchart",
        title,
        description,
        [query],
        {
            "xField": x,
            "orientation": "horizontal",
            "showValue": "always",
            # Every bar has words of its own, with its kind among them: nothing is ever added up.
            "stacking": "normal",
            "groupWidth": 0.8,
            "barWidth": 0.9,
            "fullHighlight": False,
            "xTickLabelMaxLength": 60,
            "xTickLabelRotation": 0,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        defaults,
        [*kind_colours(), *overrides],
    )


def trend(
    title: str,
    description: str,
    query: str,
    x: tuple[str, str, str],
    unit: str,
    axis: str,
    from_zero: bool = True,
    overrides: Sequence[Json] = (),
    style: str = "line",
) -> Panel:
    """Curves over a number other than time: `x` is the column, its unit and its words.

    Raises:
        ValueError: It shows energy or power and the names of the curves lack the kind.
    """
    if unit in ENERGY and "r.kind" not in query:
        raise ValueError(f"{title}: shows energy or power without its kind")
    name, x_unit, words = x
    custom = {
        "drawStyle": style,
        "lineWidth": 2 if style == "line" else 1,
        "fillOpacity": 0 if style == "line" else 70,
        "showPoints": "auto",
        "pointSize": 5,
        "axisLabel": axis,
    }
    defaults: Json = {"unit": unit, "custom": custom}
    if from_zero:
        defaults["min"] = 0
    return Panel(
        "trend",
        title,
        description,
        [query],
        {
            "xField": name,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
        defaults,
        [override(name, unit=x_unit, displayName=words, min=None), *overrides],
    )


def states(title: str, description: str, query: str, name: str, mappings: list[Json]) -> Panel:
    """Words over time, one line for each set of labels."""
    return Panel(
        "state-timeline",
        title,
        description,
        [query],
        {
            "mergeValues": True,
            "showValue": "auto",
            "alignValue": "left",
            "rowHeight": 0.85,
            "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        {
            "displayName": name,
            "mappings": mappings,
            "custom": {"fillOpacity": 75, "lineWidth": 0},
            "color": {"mode": "palette-classic"},
        },
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
