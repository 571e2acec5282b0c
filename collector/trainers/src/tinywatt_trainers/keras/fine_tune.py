"""Techniques that train a little more: pruning, weight clustering, quantisation-aware training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from tinywatt_trainers.architecture import (
    INPUT_ID,
    Add,
    BatchNorm,
    Conv2d,
    Dense,
    DepthwiseConv2d,
    GlobalAveragePool,
    Relu,
)
from tinywatt_trainers.keras.network import Network, build
from tinywatt_trainers.keras.training import EVALUATION_BATCH_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinywatt_trainers.architecture import Layer
    from tinywatt_trainers.keras.network import Tensor
    from tinywatt_trainers.keras.training import Forward

# The last quarter of fine tuning keeps the pattern that it ends with.
PRUNING_RAMP_SHARE: Final = 0.75
PRUNING_UPDATES: Final = 20
KMEANS_ROUNDS_MAX: Final = 50


@dataclass
class Pruning:
    """Sets the smallest weights of each layer to zero, more and more of them while the rest learns to make up for it.

    The share follows a cubic ramp, steep first (Zhu and Gupta, "To prune, or not to prune", 2017). Depthwise
    kernels, few and sensitive, stay whole.

    Attributes:
        network: What is pruned in place.
        sparsity: Share of zeros in the end.
    """

    network: Network
    sparsity: float

    def __post_init__(self) -> None:
        layers = [layer for layer in self.network.weighted() if not isinstance(layer.op, DepthwiseConv2d)]
        self._kernels = [self.network.kernel(layer) for layer in layers]
        self._masks = [tf.ones(kernel.shape) for kernel in self._kernels]

    def after_step(self, done: int, step_count: int) -> None:
        """Prunes what is due, and undoes what the step did to pruned weights."""
        ramp = max(1, int(step_count * PRUNING_RAMP_SHARE))
        period = max(1, ramp // PRUNING_UPDATES)
        if done == ramp or (done < ramp and done % period == 0):
            share = self.sparsity * (1.0 - (1.0 - done / ramp) ** 3)
            self._masks = [tf.constant(_mask(kernel.numpy(), share)) for kernel in self._kernels]
        for kernel, mask in zip(self._kernels, self._masks, strict=True):
            kernel.assign(kernel * mask)

    def zero_share(self) -> float:
        """Share of zeros among the weights of all kernels of the network, depthwise ones included."""
        kernels = [self.network.kernel(layer).numpy() for layer in self.network.weighted()]
        zero_count = sum(int((kernel == 0).sum()) for kernel in kernels)
        return zero_count / sum(int(kernel.size) for kernel in kernels)


def _mask(kernel: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """1 where a weight stays, 0 at the given share of the smallest ones."""
    mask = np.ones(kernel.size, dtype=np.float32)
    zero_count = round(share * kernel.size)
    mask[np.argpartition(np.abs(kernel), zero_count, axis=None)[:zero_count]] = 0.0
    return mask.reshape(kernel.shape)


@dataclass
class Clustering:
    """Leaves each layer a few different weights, found by k-means, and lets these learn.

    Attributes:
        network: What is clustered in place.
        cluster_count: Different weights per layer.
    """

    network: Network
    cluster_count: int

    def __post_init__(self) -> None:
        self._kernels = [self.network.kernel(layer) for layer in self.network.weighted()]
        self._clusters = [nearest_centroids(kernel.numpy(), self.cluster_count) for kernel in self._kernels]
        self.after_step(0, 0)

    def after_step(self, _done: int, _step_count: int) -> None:
        """Sets every weight to the mean of its cluster."""
        for kernel, clusters in zip(self._kernels, self._clusters, strict=True):
            means = tf.math.unsorted_segment_mean(tf.reshape(kernel, [-1]), clusters, self.cluster_count)
            kernel.assign(tf.reshape(tf.gather(means, clusters), kernel.shape))


def nearest_centroids(kernel: NDArray[np.float32], cluster_count: int) -> NDArray[np.int64]:
    """The cluster of each weight, flattened, by k-means on a line.

    Centroids start at equal distances over the range, which keeps the large weights; then each is the mean of the
    weights nearest to it, until none moves.
    """
    values = kernel.reshape(-1).astype(np.float64)
    centroids = np.linspace(values.min(), values.max(), cluster_count)
    clusters = np.zeros(values.size, dtype=np.int64)
    for _ in range(KMEANS_ROUNDS_MAX):
        clusters = np.searchsorted((centroids[1:] + centroids[:-1]) / 2.0, values)
        counts = np.bincount(clusters, minlength=cluster_count)
        sums = np.bincount(clusters, weights=values, minlength=cluster_count)
        # A centroid without weights stays where it is; order is kept, since means lie within their borders.
        moved = np.where(counts > 0, sums / np.maximum(counts, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return clusters


def quantisation_aware(network: Network, calibration: NDArray[np.float32]) -> Forward:
    """A forward pass that rounds weights and activations as the int8 runtime will, for training through it.

    Weights are rounded per output channel, activations per tensor in the range that they take on the calibration
    inputs; gradients pass as if nothing were rounded.

    Args:
        network: What learns; normalisations are folded.
        calibration: Training inputs in the model's own scaling.
    """
    observed = _observed(network)
    spans = _spans(network, observed, calibration)

    def rounded(identity: str, tensor: Tensor) -> Tensor:
        if identity not in spans:
            return tensor
        low, high = spans[identity]
        return tf.keras.layers.Lambda(lambda value: tf.quantization.fake_quant_with_min_max_args(value, low, high))(
            tensor
        )

    twin = build(network.architecture, observer=rounded)
    twin.model.set_weights(network.model.get_weights())
    kernels = {id(network.kernel(layer)): layer for layer in network.weighted()}

    def forward(batch: Tensor) -> Tensor:
        trainable = [
            _rounded_kernel(variable.value, kernels[id(variable)]) if id(variable) in kernels else variable.value
            for variable in network.model.trainable_variables
        ]
        fixed = [variable.value for variable in network.model.non_trainable_variables]
        logits, _ = twin.model.stateless_call(trainable, fixed, batch, training=False)
        return logits

    return forward


def _rounded_kernel(kernel: Tensor, layer: Layer) -> Tensor:
    # The op rounds per last dimension; a depthwise kernel has its channels last but one.
    shape = kernel.shape
    flat = tf.reshape(kernel, [-1, shape[-2] if isinstance(layer.op, DepthwiseConv2d) else shape[-1]])
    limit = tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(flat), axis=0), 1e-8))
    rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(flat, -limit, limit, narrow_range=True)
    return tf.reshape(rounded, shape)


def _observed(network: Network) -> set[str]:
    """Ids of what the runtime rounds: inputs, and outputs that no activation is fused into."""
    readers: dict[str, list[Layer]] = {}
    for layer in network.architecture.layers:
        for source in layer.sources:
            readers.setdefault(source, []).append(layer)
    observed = {INPUT_ID}
    for layer in network.architecture.layers:
        if isinstance(layer.op, Relu | GlobalAveragePool | BatchNorm):
            observed.add(layer.id)
        if isinstance(layer.op, Conv2d | DepthwiseConv2d | Dense | Add):
            after = readers.get(layer.id, [])
            if not (len(after) == 1 and isinstance(after[0].op, Relu)):
                observed.add(layer.id)
    return observed


def _spans(network: Network, observed: set[str], calibration: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    """Least and largest value of each observed tensor; 0 is always within."""
    tensors: dict[str, Any] = {}

    def note(identity: str, tensor: Tensor) -> Tensor:
        if identity in observed:
            tensors[identity] = tensor
        return tensor

    twin = build(network.architecture, observer=note)
    twin.model.set_weights(network.model.get_weights())
    observer = tf.keras.Model(twin.model.input, tensors)
    spans = dict.fromkeys(tensors, (0.0, 0.0))
    for start in range(0, len(calibration), EVALUATION_BATCH_SIZE):
        values = observer(calibration[start : start + EVALUATION_BATCH_SIZE], training=False)
        for identity, value in values.items():
            low, high = spans[identity]
            spans[identity] = min(low, float(tf.reduce_min(value))), max(high, float(tf.reduce_max(value)))
    # A tensor that is always 0 has no step to round to.
    return {identity: (low, high) for identity, (low, high) in spans.items() if high > low}
