"""Draws a panel from its JSON and its answers: no copy of Grafana's look, but the same marks from the same options."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ask import Cell, Column, Frame, Json
from units import clock, instant, text, ticks

PALETTE = ["#7EB26D", "#EAB839", "#6ED0E0", "#EF843C", "#E24D42", "#1F78C1", "#BA43A9", "#705DA0", "#508642", "#CCA300"]
COLOURS = {
    "green": "#73BF69",
    "blue": "#5794F2",
    "orange": "#FF9830",
    "purple": "#B877D9",
    "red": "#F2495C",
    "yellow": "#FADE2A",
    "transparent": "transparent",
    "text": "#d5d7da",
}
AXIS = "#9aa0a6"


@dataclass
class Curve:
    """Points that are joined, or not."""

    name: str
    xs: list[float]
    ys: list[float]
    colour: str
    dashed: bool = False
    bars: bool = False
    points: bool = False
    breaks: frozenset[int] = frozenset()
    """Points that the line does not reach from the one before."""


def _escape(words: object) -> str:
    return html.escape(str(words))


def properties(panel: Json, name: str, shown: str = "", query: str = "") -> dict[str, Any]:
    """The settings of a column: defaults, changed by what its name or its query matches."""
    config = panel["fieldConfig"]
    found: dict[str, Any] = {key: value for key, value in config["defaults"].items() if key != "custom"}
    found.update({f"custom.{key}": value for key, value in config["defaults"].get("custom", {}).items()})
    for changed in config["overrides"]:
        matcher = changed["matcher"]
        is_named = matcher["id"] == "byName" and matcher["options"] in (name, shown)
        is_like = matcher["id"] == "byRegexp" and re.search(matcher["options"].strip("/"), name)
        is_of_query = matcher["id"] == "byFrameRefID" and matcher["options"] == query
        if is_named or is_like or is_of_query:
            found.update({entry["id"]: entry["value"] for entry in changed["properties"]})
    return found


def _colour(found: dict[str, Any], index: int) -> str:
    fixed = found.get("color", {})
    if isinstance(fixed, dict) and fixed.get("mode") == "fixed":
        return COLOURS.get(fixed["fixedColor"], str(fixed["fixedColor"]))
    return PALETTE[index % len(PALETTE)]


def _number(value: Cell) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _name(template: str, column: Column) -> str:
    named = re.sub(r"\$\{__field\.labels\.(\w+)\}", lambda found: column.labels.get(found.group(1), ""), template)
    return named.replace("${__field.name}", column.name)


def mapped(mappings: list[Json], words: str) -> tuple[str, str]:
    """What a value is shown as, and its colour; none where it is as any other."""
    for mapping in mappings:
        options = mapping["options"]
        if mapping["type"] == "value" and words in options:
            found = options[words]
        elif mapping["type"] == "regex" and re.search(options["pattern"].strip("/"), words):
            found = options["result"]
        else:
            continue
        return found.get("text", words), COLOURS.get(found.get("color", ""), "")
    return words, ""


def cell(value: Cell, column: Column, found: dict[str, Any]) -> str:
    """A table's cell as text."""
    if column.kind.startswith("dateTime") and isinstance(value, str):
        return clock(instant(value))
    return text(value, found.get("unit"), found.get("decimals"))


def table(panel: Json, frames: list[Frame], height: int) -> str:
    """A table; rows that do not fit are cut off as they would be below the edge."""
    frame = frames[0]
    order: dict[str, int] = {}
    for change in panel["transformations"]:
        order = change["options"].get("indexByName", {})
    columns = sorted(frame.columns, key=lambda column: order.get(column.name, 999))
    if not len(frame):
        return '<div class="none">No data</div>'
    heads, rows = [], []
    settings = [properties(panel, column.name) for column in columns]
    for column, found in zip(columns, settings, strict=True):
        width = found.get("custom.width")
        style = f' style="width:{width}px"' if width else ""
        heads.append(f"<th{style}>{_escape(found.get('displayName', column.name))}</th>")
    for index in range(len(frame)):
        cells = []
        for column, found in zip(columns, settings, strict=True):
            value = column.values[index]
            shown = cell(value, column, found)
            classes = ["wrap"] if found.get("custom.cellOptions", {}).get("wrapText") else []
            if _number(value) is not None:
                classes.append("number")
            colour = ""
            colour = mapped(found.get("mappings", []), shown)[1]
            if not colour and found.get("custom.cellOptions", {}).get("type") == "color-text":
                colour = _colour(found, 0)
            if found.get("links"):
                classes.append("link")
            style = f' style="color:{colour}"' if colour else ""
            cells.append(f'<td class="{" ".join(classes)}"{style}>{_escape(shown)}</td>')
        rows.append("<tr>" + "".join(cells) + "</tr>")
    return f'<div class="table"><table><tr>{"".join(heads)}</tr>{"".join(rows)}</table></div>'


def stat(panel: Json, frames: list[Frame]) -> str:
    """Large numbers."""
    order: dict[str, int] = panel["transformations"][0]["options"]["indexByName"] if panel["transformations"] else {}
    shown = []
    for column in sorted(frames[0].columns, key=lambda column: order.get(column.name, 999)):
        found = properties(panel, column.name)
        value = next((one for one in reversed(column.values) if one is not None), None)
        name = _escape(found.get("displayName", column.name))
        shown.append(f'<div class="stat"><small>{name}</small><b>{_escape(cell(value, column, found))}</b></div>')
    return '<div class="stats">' + "".join(shown) + "</div>"


def rectangle(left: float, top: float, width: float, height: float, colour: str) -> str:
    """A bar."""
    place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{colour}" opacity="0.8"/>'


def axes(
    width: int,
    height: int,
    x: tuple[float, float],
    y: tuple[float, float],
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    words: tuple[str, str],
) -> tuple[list[str], Callable[[float], float], Callable[[float], float]]:
    """The frame of a chart: its lines and texts, and how numbers become places."""
    left, right, top, bottom = 78, 14, 8, 40
    x_low, x_high = x if x[1] > x[0] else (x[0] - 0.5, x[0] + 0.5)
    y_low, y_high = y if y[1] > y[0] else (y[0] - 0.5, y[0] + 0.5)

    def to_x(value: float) -> float:
        return left + (value - x_low) / (x_high - x_low) * (width - left - right)

    def to_y(value: float) -> float:
        return height - bottom - (value - y_low) / (y_high - y_low) * (height - top - bottom)

    drawn = []
    for tick in ticks(y_low, y_high, 5):
        drawn.append(
            f'<line x1="{left}" x2="{width - right}" y1="{to_y(tick):.1f}" y2="{to_y(tick):.1f}" class="grid"/>'
        )
        drawn.append(f'<text x="{left - 6}" y="{to_y(tick) + 4:.1f}" class="right">{_escape(y_text(tick))}</text>')
    for tick in ticks(x_low, x_high, 7):
        drawn.append(
            f'<line y1="{top}" y2="{height - bottom}" x1="{to_x(tick):.1f}" x2="{to_x(tick):.1f}" class="grid"/>'
        )
        drawn.append(
            f'<text x="{to_x(tick):.1f}" y="{height - bottom + 15}" class="mid">{_escape(x_text(tick))}</text>'
        )
    drawn.append(f'<text x="{(left + width) / 2}" y="{height - 8}" class="mid">{_escape(words[0])}</text>')
    middle = (top + height - bottom) / 2
    drawn.append(
        f'<text x="12" y="{middle}" class="mid" transform="rotate(-90 12 {middle})">{_escape(words[1])}</text>'
    )
    return drawn, to_x, to_y


def _span(values: Iterable[float], least: float | None, most: float | None = None) -> tuple[float, float]:
    known = list(values)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    pad = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return (least if least is not None else low - pad), (most if most is not None else high + pad)


def chart(panel: Json, found: list[Curve], width: int, height: int, is_time: bool, x: Json, regions: list[Json]) -> str:
    """Curves with their axes and their legend."""
    if not any(curve.xs for curve in found):
        return '<div class="none">No data</div>'
    defaults = panel["fieldConfig"]["defaults"]
    calcs = panel["options"]["legend"].get("calcs", [])
    legend_height = (
        20 * len(found) + 20 if calcs else 22 * (1 + sum(len(curve.name) * 7 + 30 for curve in found) // width)
    )
    legend_height = min(legend_height, height // 3)
    unit = defaults.get("unit")
    xs = [value for curve in found for value in curve.xs]
    span = (min(xs), max(xs)) if is_time else _span(xs, x.get("min"))
    is_log = defaults.get("custom", {}).get("scaleDistribution", {}).get("type") == "log"
    if is_log:
        for curve in found:
            curve.ys = [math.log10(value) for value in curve.ys]
    drawn, to_x, to_y = axes(
        width,
        height - legend_height,
        span,
        _span((value for curve in found for value in curve.ys), defaults.get("min")),
        (lambda value: clock(value, False)) if is_time else (lambda value: text(value, x.get("unit"))),
        lambda value: text(10**value if is_log else value, unit),
        ("" if is_time else x.get("displayName", ""), defaults.get("custom", {}).get("axisLabel", "")),
    )
    for region in regions:
        begin, end = (max(span[0], min(span[1], moment)) for moment in (region["start"], region["end"]))
        colour = COLOURS[region["colour"]]
        drawn.append(
            f'<rect x="{to_x(begin):.1f}" width="{max(1.0, to_x(end) - to_x(begin)):.1f}" y="8" '
            f'height="{height - legend_height - 48}" fill="{colour}" opacity="{0.12 if end > begin else 0.7}"/>'
        )
    for curve in found:
        places = [(to_x(one), to_y(other)) for one, other in zip(curve.xs, curve.ys, strict=True)]
        dash = ' stroke-dasharray="4 3"' if curve.dashed else ""
        if curve.bars:
            base = to_y(0)
            drawn += [rectangle(one - 2, other, 4, max(0.5, base - other), curve.colour) for one, other in places]
            continue
        begins = [0, *sorted(curve.breaks)]
        for begin, end in zip(begins, [*begins[1:], len(places)], strict=True):
            line = " ".join(f"{one:.1f},{other:.1f}" for one, other in places[begin:end])
            drawn.append(f'<polyline points="{line}" fill="none" stroke="{curve.colour}" stroke-width="1.2"{dash}/>')
        if curve.points or len(places) < 40:
            drawn += [
                f'<circle cx="{one:.1f}" cy="{other:.1f}" r="2.6" fill="{curve.colour}"/>' for one, other in places
            ]
    legend = []
    for curve in found:
        numbers = ""
        if calcs and curve.ys:
            mean = sum(curve.ys) / len(curve.ys)
            numbers = f" <i>mean {_escape(text(mean, unit))}, max {_escape(text(max(curve.ys), unit))}</i>"
        legend.append(f'<span><b style="background:{curve.colour}"></b>{_escape(curve.name)}{numbers}</span>')
    kind = "legend lines" if calcs else "legend"
    svg = f'<svg width="{width}" height="{height - legend_height}">{"".join(drawn)}</svg>'
    return f'{svg}<div class="{kind}" style="height:{legend_height}px">{"".join(legend)}</div>'


def timeseries(panel: Json, frames: list[Frame], width: int, height: int, regions: list[Json]) -> str:
    """Curves over time."""
    found: list[Curve] = []
    for frame in frames:
        when = frame.column("_time")
        for column in frame.columns:
            if when is None or column is when or column.kind == "string":
                continue
            name = _name(panel["fieldConfig"]["defaults"].get("displayName", column.name), column)
            settings = properties(panel, column.name, name, frame.query)
            pairs: list[tuple[float, float]] = []
            breaks: set[int] = set()
            was_empty = False
            for moment, value in zip(when.values, column.values, strict=True):
                if (number := _number(value)) is None:
                    was_empty = True
                    continue
                at = instant(str(moment))
                # As Grafana does: points without an empty one between them are joined, however far apart.
                if was_empty and pairs and at - pairs[-1][0] > settings["custom.spanNulls"] / 1000:
                    breaks.add(len(pairs))
                pairs.append((at, number))
                was_empty = False
            found.append(
                Curve(
                    name,
                    [one for one, _ in pairs],
                    [other for _, other in pairs],
                    _colour(settings, len(found)),
                    "custom.lineStyle" in settings,
                    points=settings.get("custom.showPoints") == "always",
                    breaks=frozenset(breaks),
                )
            )
    return chart(panel, found, width, height, True, {}, regions)


def trend(panel: Json, frames: list[Frame], width: int, height: int) -> str:
    """Curves over a number."""
    x_name = panel["options"]["xField"]
    x_column = frames[0].column(x_name)
    if x_column is None:
        return '<div class="none">No data</div>'
    found: list[Curve] = []
    for column in frames[0].columns:
        if column is x_column or column.kind == "string":
            continue
        settings = properties(panel, column.name)
        pairs = [
            (one, other)
            for x_value, value in zip(x_column.values, column.values, strict=True)
            if (one := _number(x_value)) is not None and (other := _number(value)) is not None
        ]
        found.append(
            Curve(
                settings.get("displayName", column.name),
                [one for one, _ in pairs],
                [other for _, other in pairs],
                _colour(settings, len(found)),
                bars=settings.get("custom.drawStyle") == "bars",
            )
        )
    return chart(panel, found, width, height, False, properties(panel, x_name), [])


def xychart(panel: Json, frames: list[Frame], width: int, height: int) -> str:
    """Points of one figure over another; series whose column is not there are not drawn, and have no legend."""
    defaults = panel["fieldConfig"]["defaults"]
    marks: list[tuple[str, float, float, dict[str, Any]]] = []
    named: dict[str, dict[str, Any]] = {}
    x_settings: dict[str, Any] = {}
    for series in panel["options"]["series"]:
        index = series["frame"]["matcher"]["options"]
        frame = frames[index] if index < len(frames) else Frame([])
        x_column = frame.column(series["x"]["matcher"]["options"])
        y_column = frame.column(series["y"]["matcher"]["options"])
        if x_column is None or y_column is None:
            continue
        x_settings = properties(panel, x_column.name)
        settings = properties(panel, y_column.name)
        named[series["name"]["fixed"]] = settings
        for one, other in zip(x_column.values, y_column.values, strict=True):
            x_value, y_value = _number(one), _number(other)
            if x_value is not None and y_value is not None:
                marks.append((series["name"]["fixed"], x_value, y_value, settings))
    if not marks:
        return '<div class="none">No data</div>'
    legend_height = 24
    drawn, to_x, to_y = axes(
        width,
        height - legend_height,
        _span((mark[1] for mark in marks), x_settings.get("min")),
        _span((mark[2] for mark in marks), defaults.get("min"), defaults.get("max")),
        lambda value: text(value, x_settings.get("unit")),
        lambda value: text(value, defaults.get("unit")),
        (x_settings.get("custom.axisLabel", ""), defaults["custom"]["axisLabel"]),
    )
    for _, x_value, y_value, settings in marks:
        size = settings["custom.pointSize"]["fixed"] / 2
        colour = _colour(settings, 0)
        fill = f'fill="{colour}" fill-opacity="{settings["custom.fillOpacity"] / 100}" stroke="{colour}"'
        stroke = f'stroke-width="{settings["custom.pointStrokeWidth"]}"'
        if settings.get("custom.pointShape") == "square":
            side = f'width="{2 * size}" height="{2 * size}"'
            drawn.append(
                f'<rect x="{to_x(x_value) - size:.1f}" y="{to_y(y_value) - size:.1f}" {side} {fill} {stroke}/>'
            )
        else:
            drawn.append(f'<circle cx="{to_x(x_value):.1f}" cy="{to_y(y_value):.1f}" r="{size}" {fill} {stroke}/>')
    legend = "".join(
        f'<span><b style="background:{_colour(settings, 0)}"></b>{_escape(name)}</span>'
        for name, settings in named.items()
    )
    return (
        f'<svg width="{width}" height="{height - legend_height}">{"".join(drawn)}</svg>'
        f'<div class="legend" style="height:{legend_height}px">{legend}</div>'
    )


def barchart(panel: Json, frames: list[Frame], width: int, height: int) -> str:
    """Horizontal bars, one set for each column."""
    frame = frames[0]
    words = frame.column(panel["options"]["xField"])
    if words is None or not len(frame):
        return '<div class="none">No data</div>'
    defaults = panel["fieldConfig"]["defaults"]
    sets = [column for column in frame.columns if column is not words and column.kind != "string"]
    known = [number for column in sets for value in column.values if (number := _number(value)) is not None]
    low, high = min([0.0, *known]), max([0.0, *known]) * 1.0
    left, right, legend_height, bottom = 330, 80, 24, 34
    line = (height - legend_height - bottom) / len(frame)
    # One on the other: of our bars one alone is there.
    beside = 1 if panel["options"]["stacking"] == "normal" else max(1, len(sets))
    bar = min(18.0, line * 0.85 / beside)
    drawn = []

    def to_x(value: float) -> float:
        return left + (value - low) / ((high - low) or 1.0) * (width - left - right)

    for tick in ticks(low, high, 6):
        x = to_x(tick)
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - legend_height - bottom}" class="grid"/>')
        label = _escape(text(tick, defaults.get("unit")))
        drawn.append(f'<text x="{x:.1f}" y="{height - legend_height - bottom + 14}" class="mid">{label}</text>')
    axis = _escape(defaults["custom"]["axisLabel"])
    drawn.append(f'<text x="{(left + width) / 2}" y="{height - legend_height - 4}" class="mid">{axis}</text>')
    legend = []
    for place, column in enumerate(sets):
        settings = properties(panel, column.name)
        colour = _colour(settings, place)
        name = _escape(settings.get("displayName", column.name))
        legend.append(f'<span><b style="background:{colour}"></b>{name}</span>')
        for index, value in enumerate(column.values):
            number = _number(value)
            if number is None:
                continue
            y = line * index + (line - bar * beside) / 2 + bar * (place % beside)
            begin, end = sorted((to_x(0), to_x(number)))
            drawn.append(rectangle(begin, y, end - begin, bar, colour))
            label = _escape(text(number, settings.get("unit"), settings.get("decimals")))
            drawn.append(f'<text x="{end + 4:.1f}" y="{y + bar / 2 + 4:.1f}">{label}</text>')
    for index, word in enumerate(words.values):
        y = line * index + line / 2 + 4
        drawn.append(f'<text x="{left - 8}" y="{y:.1f}" class="right">{_escape(str(word)[:56])}</text>')
    return (
        f'<svg width="{width}" height="{height - legend_height}">{"".join(drawn)}</svg>'
        f'<div class="legend" style="height:{legend_height}px">{"".join(legend)}</div>'
    )


def state_timeline(panel: Json, frames: list[Frame], width: int, height: int, stop: float) -> str:
    """Words over time, a line for each frame."""
    lines = []
    for frame in frames:
        when = frame.column("_time")
        state = next((column for column in frame.columns if column is not when), None)
        if when is not None and state is not None:
            lines.append((_name(panel["fieldConfig"]["defaults"]["displayName"], state), when, state))
    if not lines:
        return '<div class="none">No data</div>'
    begin = min(instant(str(when.values[0])) for _, when, _ in lines)
    last = max(instant(str(when.values[-1])) for _, when, _ in lines)
    stop = min(stop, last + (last - begin) * 0.02)
    mappings = panel["fieldConfig"]["defaults"]["mappings"]
    left, line = 110, (height - 26) / len(lines)

    def to_x(moment: float) -> float:
        return left + (moment - begin) / ((stop - begin) or 1.0) * (width - left - 10)

    drawn = []
    colours: dict[str, str] = {}
    for index, (name, when, state) in enumerate(lines):
        drawn.append(f'<text x="{left - 6}" y="{line * index + line / 2 + 4:.1f}" class="right">{_escape(name)}</text>')
        moments = [*(instant(str(moment)) for moment in when.values), stop]
        merged: list[tuple[float, float, str]] = []
        for place, value in enumerate(state.values):
            words = str(value)
            if merged and merged[-1][2] == words:
                merged[-1] = (merged[-1][0], moments[place + 1], words)
            else:
                merged.append((moments[place], moments[place + 1], words))
        for start, end, words in merged:
            shown, colour = mapped(mappings, words)
            colour = colour or colours.setdefault(words, PALETTE[1 + len(colours) % 9])
            drawn.append(rectangle(to_x(start), line * index + 2, max(0.5, to_x(end) - to_x(start)), line - 4, colour))
            if to_x(end) - to_x(start) > len(shown) * 7 and colour != "transparent":
                middle = line * index + line / 2 + 4
                drawn.append(f'<text x="{to_x(start) + 4:.1f}" y="{middle:.1f}" class="dark">{_escape(shown)}</text>')
    for tick in ticks(begin, stop, 7):
        drawn.append(f'<text x="{to_x(tick):.1f}" y="{height - 8}" class="mid">{clock(tick, False)}</text>')
    return f'<svg width="{width}" height="{height}">{"".join(drawn)}</svg>'
