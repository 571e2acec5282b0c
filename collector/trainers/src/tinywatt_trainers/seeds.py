"""Chance: all of it comes from the job's seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def order_of_epoch(seed: int, epoch: int, input_count: int) -> NDArray[np.int64]:
    """The order in which an epoch takes its inputs, the same in every framework.

    Args:
        seed: The job's.
        epoch: Number of the epoch, from 1.
        input_count: Number of training inputs.
    """
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(input_count)


def calibration_choice(seed: int, input_count: int, chosen_count: int) -> NDArray[np.int64]:
    """Which training inputs quantisation looks at, the same in every framework.

    Args:
        seed: The job's.
        input_count: Number of training inputs.
        chosen_count: How many are wanted; no more than there are.
    """
    generator = np.random.Generator(np.random.PCG64([seed, 0]))
    return np.sort(generator.permutation(input_count)[:chosen_count])
