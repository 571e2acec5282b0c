"""Numbers as Grafana writes them, for the units that the dashboards use."""

from __future__ import annotations

import math
from datetime import UTC, datetime

SI = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")]
SYMBOLS = {
    "joule": "J",
    "watt": "W",
    "watth": "Wh",
    "volt": "V",
    "amp": "A",
    "massg": "g",
    "hertz": "Hz",
    "si:Js": "Js",
}
SHORT = [(1e12, " Tri"), (1e9, " Bil"), (1e6, " Mil"), (1e3, " K"), (1.0, "")]
BYTES = [(2.0**40, " TiB"), (2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1.0, " B")]
TIMES = [
    (86400.0, " days"),
    (3600.0, " hours"),
    (60.0, " mins"),
    (1.0, " s"),
    (1e-3, " ms"),
    (1e-6, " µs"),
    (1e-9, " ns"),
]
SECONDS_OF = {"s": 1.0, "ms": 1e-3, "ns": 1e-9}


def plain(value: float, decimals: int | None = None) -> str:
    """A number with as many digits as Grafana gives it: about three."""
    if decimals is None:
        if value == 0 or value == int(value):
            decimals = 0
        else:
            power = math.floor(math.log10(abs(value)))
            decimals = 1 - power + (1 if abs(value) / 10.0 ** (power - 1) > 22.5 else 0)
    return f"{value:.{max(0, min(decimals, 12))}f}"


def scaled(value: float, steps: list[tuple[float, str]], decimals: int | None) -> str:
    """A number with the prefix that makes it readable."""
    for size, name in steps:
        if abs(value) >= size:
            return plain(value / size, decimals) + name
    size, name = steps[-1]
    return plain(value / size, decimals) + (name if value else steps[0][1] and name)


def text(value: object, unit: str | None = None, decimals: int | None = None) -> str:
    """What a cell or an axis shows."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, int | float):
        return str(value)
    if unit in SYMBOLS:
        if value == 0:
            return f"0 {SYMBOLS[unit]}"
        return scaled(value, [(size, f" {prefix}{SYMBOLS[unit]}") for size, prefix in SI], decimals)
    if unit in SECONDS_OF:
        return "0 s" if value == 0 else scaled(value * SECONDS_OF[unit], TIMES, decimals)
    if unit == "bytes":
        return scaled(value, BYTES, decimals)
    if unit == "short":
        return scaled(value, SHORT, decimals)
    if unit == "percentunit":
        return plain(value * 100, decimals) + "%"
    if unit == "celsius":
        return plain(value, decimals) + " °C"
    if unit == "conppb":
        return plain(value, decimals) + " ppb"
    if unit and unit.startswith("suffix:"):
        return plain(value, decimals) + unit.removeprefix("suffix:")
    return plain(value, decimals)


def instant(stamp: str) -> float:
    """Seconds since 1970 of a time as InfluxDB writes it."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() + (float(f"0.{rest}") if rest else 0.0)


def clock(seconds: float, with_day: bool = True) -> str:
    """A time for people."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if with_day else "%H:%M:%S")


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers between two."""
    if high <= low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / count))
    step *= next((many for many in (1, 2, 5, 10) if (high - low) / (step * many) <= count), 10)
    first = math.ceil(low / step - 1e-9) * step
    found = []
    while first <= high + step * 1e-9:
        found.append(round(first, 15))
        first += step
    return found
