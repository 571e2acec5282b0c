"""Asks InfluxDB a panel's queries as Grafana's data source does: variables and macros replaced, answers as frames."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Cell = str | float | int | bool | None

# Characters that Grafana escapes in a value that becomes part of a regular expression.
REGEX_SPECIAL = re.compile(r"[\\^$.*+?()|\[\]{}/]")


@dataclass
class Column:
    """One field of a frame."""

    name: str
    kind: str
    values: list[Cell]
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Frame:
    """One table of an answer; what it is grouped by has become labels."""

    columns: list[Column]
    query: str = ""

    def column(self, name: str) -> Column | None:
        """The column of this name."""
        return next((column for column in self.columns if column.name == name), None)

    def __len__(self) -> int:
        """Count of rows."""
        return len(self.columns[0].values) if self.columns else 0


@dataclass
class Server:
    """Where to ask, and in which time."""

    url: str
    token: str
    org: str
    bucket: str
    start: str
    stop: str
    values: dict[str, str | list[str]]

    def text(self, query: str, window: str) -> str:
        """The query with everything replaced."""
        for name, value in self.values.items():
            every = value if isinstance(value, list) else [value]
            if every == [".*"]:
                pattern = ".*"
            else:
                escaped = [REGEX_SPECIAL.sub(lambda found: "\\" + found.group(0), one) for one in every]
                pattern = escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
            query = query.replace(f"${{{name}:regex}}", pattern)
            query = query.replace(f"${{{name}}}", every[0])
        query = query.replace("v.timeRangeStart", self.start).replace("v.timeRangeStop", self.stop)
        return query.replace("v.windowPeriod", window).replace("v.defaultBucket", f'"{self.bucket}"')

    def ask(self, query: str, window: str = "1s") -> list[Frame]:
        """The frames of an answer; at least one, as Grafana makes one without columns of an empty answer.

        Raises:
            ValueError: The server refuses the query.
        """
        dialect = {"annotations": ["datatype", "group", "default"], "header": True}
        body = json.dumps({"query": self.text(query, window), "type": "flux", "dialect": dialect}).encode()
        request = urllib.request.Request(
            f"{self.url}/api/v2/query?org={self.org}",
            data=body,
            headers={
                "Authorization": f"Token {self.token}",
                "Content-Type": "application/json",
                "Accept": "application/csv",
            },
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return frames(answer.read().decode()) or [Frame([])]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{error.read().decode()}\n{self.text(query, window)}") from error


def _cell(text: str, kind: str) -> Cell:
    if text == "":
        return None
    if kind == "double":
        return float(text)
    if kind in ("long", "unsignedLong", "duration"):
        return int(text)
    if kind == "boolean":
        return text == "true"
    return text


def frames(text: str) -> list[Frame]:
    """Annotated CSV as frames."""
    found: list[Frame] = []
    kinds: list[str] = []
    keys: list[str] = []
    names: list[str] = []
    group: tuple[str, ...] | None = None
    for row in csv.reader(io.StringIO(text)):
        if not row:
            continue
        if row[0] == "#datatype":
            kinds, names, group = row, [], None
        elif row[0] == "#group":
            keys = row
        elif row[0].startswith("#"):
            continue
        elif not names:
            names = row
        else:
            place = [index for index in range(3, len(names)) if keys[index] == "true"]
            named = tuple(row[index] for index in place)
            if group != named:
                group = named
                labels = {names[index]: row[index] for index in place if names[index] not in ("_start", "_stop")}
                found.append(
                    Frame(
                        [
                            Column(names[index], kinds[index], [], labels)
                            for index in range(3, len(names))
                            if index not in place
                        ]
                    )
                )
            rest = [index for index in range(3, len(names)) if index not in place]
            for column, index in zip(found[-1].columns, rest, strict=True):
                column.values.append(_cell(row[index], kinds[index]))
    return found


def choose(server: Server, variable: Json) -> None:
    """Gives a variable the value that it has when a dashboard is opened: the first, or all."""
    name = variable["name"]
    if variable["type"] != "query":
        server.values.setdefault(name, variable["current"]["value"])
        return
    if variable["includeAll"]:
        server.values.setdefault(name, [variable["allValue"]])
        return
    texts = [str(value) for column in server.ask(variable["query"])[0].columns[:1] for value in column.values]
    if variable["regex"]:
        pattern = re.compile(variable["regex"].strip("/").replace("(?<", "(?P<"))
        texts = [found.group("value") for text in texts if (found := pattern.match(text))]
    server.values.setdefault(name, texts[0] if texts else "")
