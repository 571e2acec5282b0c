"""The declared time series, from collector/series, and the Grafana unit of each declared unit."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "collector" / "series"

# Grafana scales joules, watts, bytes and seconds by itself, so that one unit serves from µJ to MJ. What is left to
# `none` is counted one by one: 1,003 lost readings are not "1 K".
UNITS = {
    "": "none",
    "J": "joule",
    "W": "watt",
    "Wh": "watth",
    "V": "volt",
    "A": "amp",
    "s": "s",
    "ms": "ms",
    "ns": "ns",
    "B": "bytes",
    "g": "massg",
    "Hz": "hertz",
    "°C": "celsius",
    "0-1": "percentunit",
    "1/s": "suffix: /s",
    "Js": "si:Js",
    "ppb": "conppb",
    "points": "suffix: points",
    "%, points": "none",
    "g/kWh": "suffix: g/kWh",
    "inferences": "short",
    "parameters": "short",
    "MACs": "short",
    "lines": "short",
    "records": "short",
}

# Grafana's own choice of digits leaves two of 1.1 mJ, too few for a score. Lengths keep one: 1.2 mins.
DECIMALS = {"joule": 2, "watt": 2, "watth": 2, "si:Js": 2, "massg": 2, "volt": 3, "amp": 2, "ms": 2, "s": 1}

# Figures of these units say where they come from, wherever they are shown.
ENERGY = frozenset({"joule", "watt", "watth", "massg", "si:Js"})


@dataclass(frozen=True)
class Field:
    """One declared field: its type in line protocol and its unit as declared."""

    kind: str
    unit: str

    @property
    def grafana_unit(self) -> str | None:
        """The unit that a panel shows it in; none for words and truth values."""
        if self.kind in ("string", "boolean"):
            return None
        return UNITS.get(self.unit, "none")


@dataclass(frozen=True)
class Series:
    """One declared series."""

    name: str
    bucket: str
    tags: frozenset[str]
    fields: dict[str, Field]


@cache
def series(name: str) -> Series:
    """Reads the declaration of a series."""
    declared = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    fields = {field["name"]: Field(field["type"], field["unit"]) for field in declared["field"]}
    tags = frozenset(tag["name"] for tag in declared.get("tag", []))
    return Series(declared["name"], declared["bucket"], tags, fields)
