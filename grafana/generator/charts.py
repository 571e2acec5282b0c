"""Panels that draw: curves, points, bars and states, each kind of picture once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from generator.panels import KINDS, Json, Panel, kind_colours, override
from generator.series import DECIMALS, ENERGY


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
    gap_ms: int = 60_000,
) -> Panel:
    """Curves over time, each named by its labels; `name` holds them as `${__field.labels.node}`.

    Curves of the query `thin` are dashed. Where nothing is for longer than `gap_ms` the line is broken: it must not be
    drawn across what nobody has seen.

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
        "spanNulls": gap_ms,
        "lineInterpolation": "stepAfter" if steps else "linear",
        "axisLabel": axis,
    }
    defaults: Json = {"unit": unit, "displayName": name, "custom": custom}
    if from_zero:
        defaults["min"] = 0
    changed = list(overrides)
    if thin:
        dashed = override("", custom_lineStyle={"fill": "dash", "dash": [4, 4]}, custom_lineWidth=1)
        changed.append({**dashed, "matcher": {"id": "byFrameRefID", "options": thin}})
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
        {"unit": y_unit, "custom": custom, **({"max": 1} if y_unit == "percentunit" else {})},
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
    log: bool = False,
) -> Panel:
    """Curves over a number other than time: `x` is the column, its unit and its words.

    Raises:
        ValueError: It shows energy or power and the names of the curves lack the kind.
    """
    if unit in ENERGY and "r.kind" not in query:
        raise ValueError(f"{title}: shows energy or power without its kind")
    name, x_unit, words = x
    custom: Json = {
        "drawStyle": style,
        "lineWidth": 2 if style == "line" else 1,
        "fillOpacity": 0 if style == "line" else 70,
        "showPoints": "auto",
        "pointSize": 5,
        "axisLabel": axis,
    }
    if log:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
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
