"""Reads JSON objects of others: every mistake is collected, none stops the reading."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def listed(names: Sequence[str]) -> str:
    """Names for a message: `a`, `b`, `c`."""
    return ", ".join(f"`{name}`" for name in names)


@dataclass(frozen=True)
class Fields:
    """The members of one JSON object.

    A member that is missing or wrong adds to `problems` and reads as a harmless value of its type, so that one look
    finds all mistakes. Whoever reads must check `problems` before using anything.

    Attributes:
        members: The object.
        place: Where the object stands, for messages, such as `job.json: config`.
        problems: What was found wrong, shared by all readers of a file.
    """

    members: Mapping[str, Any]
    place: str
    problems: list[str]
    seen: set[str] = field(default_factory=set)

    def problem(self, key: str, what: str) -> None:
        """Notes a mistake at `key`."""
        self.problems.append(f"{self.place}: `{key}` {what}")

    def _value(self, key: str, *, required: bool) -> Any:  # noqa: ANN401 - JSON is whatever it is
        self.seen.add(key)
        value = self.members.get(key)
        if value is None and required:
            self.problem(key, "is missing")
        return value

    def text(self, key: str, known: Sequence[str] | None = None) -> str:
        """A string, one of `known` where given."""
        value = self._value(key, required=True)
        if value is None:
            return ""
        if not isinstance(value, str) or not value:
            self.problem(key, f"must be a text, and is {value!r}")
            return ""
        if known is not None and value not in known:
            self.problem(key, f"is `{value}`, and must be one of {listed(known)}")
        return value

    def whole(self, key: str, minimum: int, maximum: int, default: int | None = None) -> int:
        """A whole number from `minimum` to `maximum`."""
        value = self._value(key, required=default is None)
        if value is None:
            return minimum if default is None else default
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            self.problem(key, f"must be a whole number from {minimum} to {maximum}, and is {value!r}")
            return minimum
        return value

    def real(self, key: str, minimum: float, maximum: float, default: float | None = None) -> float:
        """A finite number from `minimum` to `maximum`."""
        value = self._value(key, required=default is None)
        if value is None:
            return minimum if default is None else default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not minimum <= value <= maximum:
            self.problem(key, f"must be a number from {minimum:g} to {maximum:g}, and is {value!r}")
            return minimum
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._value(key, required=False)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.problem(key, f"must be true or false, and is {value!r}")
            return default
        return value

    def nested(self, key: str) -> Fields:
        """An object inside this one."""
        value = self._value(key, required=True)
        place = f"{self.place}: {key}"
        if isinstance(value, dict):
            return Fields(value, place, self.problems)
        if value is not None:
            self.problem(key, f"must be an object, and is {value!r}")
        # What is missing below is not to be said again.
        return Fields({}, place, [])

    def unknown(self) -> list[str]:
        """The members that nobody asked for."""
        return sorted(set(self.members) - self.seen)
