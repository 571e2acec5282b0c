"""Counts which label got which answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Confusion = tuple[tuple[int, ...], ...]


def confusion(labels: NDArray[np.int64], answers: NDArray[np.int64], class_count: int) -> Confusion:
    """Counts per label (row) and answer (column).

    Args:
        labels: The right class of each input.
        answers: The class that the model gave.
        class_count: Number of classes; both are below it.
    """
    counts = np.bincount(labels * class_count + answers, minlength=class_count**2)
    return tuple(tuple(int(count) for count in row) for row in counts.reshape(class_count, class_count))


def accuracy(counts: Confusion) -> float:
    """Share of right answers."""
    right = sum(row[label] for label, row in enumerate(counts))
    return right / sum(map(sum, counts))
