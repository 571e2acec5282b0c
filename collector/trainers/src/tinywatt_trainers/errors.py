"""The one exception that is the user's to solve."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class JobError(Exception):
    """A job cannot be done as asked.

    Attributes:
        problems: One line each: the thing, where it stands, and the way out.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
