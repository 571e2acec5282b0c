"""Chance: all of it comes from the job's seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinywatt_trainers.architecture import Conv2d, Dense, DepthwiseConv2d

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinywatt_trainers.architecture import Architecture


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


def initial_weights(architecture: Architecture, seed: int) -> dict[str, NDArray[np.float32]]:
    """The kernels that training starts from, the same in every framework.

    He's normal distribution: variance 2 / fan in. Biases start at 0, scales of batch normalisation at 1.

    Args:
        architecture: The network.
        seed: The job's.

    Returns:
        By layer id: [row][column][channel in][filter] of a convolution, [row][column][channel] of a depthwise one,
        [input][unit] of a dense layer.
    """
    kernels: dict[str, NDArray[np.float32]] = {}
    for index, layer in enumerate(architecture.layers):
        channels = layer.input_shape[-1]
        match layer.op:
            case Conv2d(filters, kernel, _, _):
                shape: tuple[int, ...] = (kernel, kernel, channels, filters)
                fan_in = kernel * kernel * channels
            case DepthwiseConv2d(kernel, _, _):
                shape = (kernel, kernel, channels)
                fan_in = kernel * kernel
            case Dense(units, _):
                shape = (channels, units)
                fan_in = channels
            case _:
                continue
        # The second word keeps these apart from the orders of epochs.
        generator = np.random.Generator(np.random.PCG64([seed, 2**32 + index]))
        kernels[layer.id] = generator.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(2.0 / fan_in))
    return kernels
