"""A dashboard: its variables, its rows of panels in a grid of 24 columns, its links, and its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from generator.panels import DATASOURCE, Panel

Json = dict[str, Any]

WIDTH = 24

# The dashboards that every other one leads to, with what they are told: B goes nowhere but to Compare.
NEIGHBOURS = [
    ("tinywatt-compare", "Compare"),
    ("tinywatt-techniques", "Techniques"),
    ("tinywatt-training", "Training"),
    ("tinywatt-trial", "Trial"),
    ("tinywatt-fleet", "Fleet"),
    ("tinywatt-mcu", "Microcontrollers"),
]


@dataclass
class Board:
    """A dashboard under construction; panels flow from left to right and begin anew where a line is full."""

    name: str
    title: str
    description: str
    variables: list[Json]
    from_time: str = "now-1y"
    annotations: list[Json] = field(default_factory=list)
    refresh: str = ""
    is_timeless: bool = False
    _panels: list[Json] = field(default_factory=list)
    _x: int = 0
    _y: int = 0
    _line_height: int = 0

    @property
    def uid(self) -> str:
        """The name in addresses; links of other dashboards hold it."""
        return f"tinywatt-{self.name}"

    @property
    def file(self) -> str:
        """File name of its JSON."""
        return f"{self.name}.json"

    def _end_line(self) -> None:
        self._y += self._line_height
        self._x, self._line_height = 0, 0

    def section(self, title: str) -> None:
        """Begins a section with a heading over the whole width."""
        self._end_line()
        place = {"x": 0, "y": self._y, "w": WIDTH, "h": 1}
        self._panels.append(
            {
                "id": len(self._panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        self._y += 1

    def add(self, panel: Panel, width: int, height: int) -> None:
        """Places a panel to the right of the last one, or below where there is no room."""
        if self._x + width > WIDTH:
            self._end_line()
        place = {"x": self._x, "y": self._y, "w": width, "h": height}
        self._panels.append({"id": len(self._panels) + 1, "gridPos": place, **panel.json()})
        self._x += width
        self._line_height = max(self._line_height, height)

    def json(self) -> Json:
        """The dashboard as Grafana's file provisioning reads it."""
        return {
            "uid": self.uid,
            "title": f"tinywatt: {self.title}",
            "description": self.description,
            "tags": ["tinywatt"],
            "schemaVersion": 39,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "time": {"from": self.from_time, "to": "now"},
            "timepicker": {"hidden": self.is_timeless},
            "refresh": self.refresh,
            "annotations": {"list": self.annotations},
            "templating": {"list": self.variables},
            "links": [
                {
                    "type": "link",
                    "title": title,
                    "url": f"/d/{uid}",
                    "icon": "dashboard",
                    "tooltip": "",
                    "tags": [],
                    "asDropdown": False,
                    "targetBlank": False,
                    "includeVars": False,
                    "keepTime": False,
                }
                for uid, title in NEIGHBOURS
                if uid != self.uid
            ],
            "panels": self._panels,
        }


def annotation(name: str, colour: str, query: str) -> Json:
    """An annotation query: rows with `time`, `timeEnd` and `text`."""
    return {
        "name": name,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "datasource": DATASOURCE,
        "target": {"refId": "Anno", "datasource": DATASOURCE, "query": query},
        "mappings": {
            "time": {"source": "field", "value": "time"},
            "timeEnd": {"source": "field", "value": "timeEnd"},
            "text": {"source": "field", "value": "text"},
            "tags": {"source": "field", "value": "tags"},
        },
    }


def text_of(board: Board) -> str:
    """The JSON as it lies in the file."""
    return json.dumps(board.json(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
