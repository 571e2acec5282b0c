"""A neutral architecture as a Keras model, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tinywatt_trainers.architecture import (
    INPUT_ID,
    Add,
    Architecture,
    BatchNorm,
    Conv2d,
    Dense,
    DepthwiseConv2d,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    Relu,
)
from tinywatt_trainers.seeds import initial_weights

# What TensorFlow gives has no types.
Tensor = Any
Model = Any
Observer = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True)
class Network:
    """A Keras model and where the layers of its architecture are in it.

    Attributes:
        architecture: What it was built from.
        model: Takes channels-last reals, gives logits.
        layers: Keras layers by the ids of the architecture.
    """

    architecture: Architecture
    model: Model
    layers: dict[str, Any]

    def kernel(self, layer: Layer) -> Any:  # noqa: ANN401 - a Keras variable
        """The weights of a convolution or dense layer, without its bias."""
        return self.layers[layer.id].weights[0]

    def weighted(self) -> list[Layer]:
        """The layers with a kernel, in order."""
        return [layer for layer in self.architecture.layers if isinstance(layer.op, Conv2d | DepthwiseConv2d | Dense)]


def build(
    architecture: Architecture, seed: int = 0, batch_size: int | None = None, observer: Observer | None = None
) -> Network:
    """Builds the network with the initial weights of a seed.

    Args:
        architecture: What to build.
        seed: The job's.
        batch_size: A fixed number of inputs per call, which LiteRT needs, or none.
        observer: Given each layer's id and output, returns what goes on in its stead.
    """
    source = tf.keras.Input(batch_shape=(batch_size, *architecture.input_shape), name=INPUT_ID)
    observe = observer or (lambda _, tensor: tensor)
    tensors: dict[str, Tensor] = {INPUT_ID: observe(INPUT_ID, source)}
    layers: dict[str, Any] = {}
    for index, layer in enumerate(architecture.layers):
        keras_layer = _keras_layer(layer, index, seed)
        sources = [tensors[identity] for identity in layer.sources]
        tensors[layer.id] = observe(layer.id, keras_layer(sources if isinstance(layer.op, Add) else sources[0]))
        layers[layer.id] = keras_layer
    model = tf.keras.Model(source, tensors[architecture.layers[-1].id], name="network")
    for identity, kernel in initial_weights(architecture, seed).items():
        variable = layers[identity].weights[0]
        variable.assign(np.reshape(kernel, variable.shape))
    return Network(architecture, model, layers)


def _keras_layer(layer: Layer, index: int, seed: int) -> Any:  # noqa: ANN401 - a Keras layer
    # An id may hold characters that a name in Keras may not.
    name = f"layer_{index}"
    keras = tf.keras.layers
    match layer.op:
        case Conv2d(filters, kernel, stride, bias):
            return keras.Conv2D(filters, kernel, stride, padding="same", use_bias=bias, name=name)
        case DepthwiseConv2d(kernel, stride, bias):
            return keras.DepthwiseConv2D(kernel, stride, padding="same", use_bias=bias, name=name)
        case BatchNorm():
            return keras.BatchNormalization(momentum=BatchNorm.MOMENTUM, epsilon=BatchNorm.EPSILON, name=name)
        case Relu():
            return keras.ReLU(name=name)
        case MaxPool(size):
            return keras.MaxPooling2D(size, padding="valid", name=name)
        case GlobalAveragePool():
            return keras.GlobalAveragePooling2D(name=name)
        case Flatten():
            return keras.Flatten(name=name)
        case Dense(units, bias):
            return keras.Dense(units, use_bias=bias, name=name)
        case Dropout(rate):
            return keras.Dropout(rate, seed=(seed + index) % 2**31, name=name)
        case Add():
            return keras.Add(name=name)


def copied(network: Network, batch_size: int | None) -> Network:
    """The same network with the same weights, for another batch size."""
    copy = build(network.architecture, batch_size=batch_size)
    copy.model.set_weights(network.model.get_weights())
    return copy


def without_batch_norm(network: Network) -> Network:
    """The network that answers the same with each normalisation folded into the layer before it.

    Runtimes fold them anyway; what is done to weights afterwards (clustering, rounding) then stays as it was done.
    A normalisation that does not directly follow a convolution or dense layer of its own stays.
    """
    readers: dict[str, list[Layer]] = {}
    by_id = {layer.id: layer for layer in network.architecture.layers}
    for layer in network.architecture.layers:
        for source in layer.sources:
            readers.setdefault(source, []).append(layer)
    folds: dict[str, Layer] = {}
    for layer in network.architecture.layers:
        before = by_id.get(layer.sources[0])
        if (
            isinstance(layer.op, BatchNorm)
            and before is not None
            and isinstance(before.op, Conv2d | DepthwiseConv2d | Dense)
            and len(readers[before.id]) == 1
        ):
            folds[before.id] = layer
    renamed = {norm.id: identity for identity, norm in folds.items()}
    kept: list[Layer] = []
    for layer in network.architecture.layers:
        if layer.id in renamed:
            continue
        op = layer.op
        if layer.id in folds:
            op = _with_bias(op)
        sources = tuple(renamed.get(source, source) for source in layer.sources)
        kept.append(Layer(layer.id, op, sources, layer.input_shape, layer.output_shape))
    whole = network.architecture
    architecture = Architecture(whole.name, whole.about, whole.input_shape, whole.class_count, tuple(kept))
    folded = build(architecture)
    for layer in kept:
        weights = network.layers[layer.id].get_weights()
        if layer.id in folds:
            norm = network.layers[folds[layer.id].id].get_weights()
            weights = _folded(layer, weights, norm)
        folded.layers[layer.id].set_weights(weights)
    return folded


def _with_bias(op: Any) -> Any:  # noqa: ANN401 - one of three ops
    match op:
        case Conv2d(filters, kernel, stride, _):
            return Conv2d(filters, kernel, stride, bias=True)
        case DepthwiseConv2d(kernel, stride, _):
            return DepthwiseConv2d(kernel, stride, bias=True)
        case Dense(units, _):
            return Dense(units, bias=True)
        case _:
            return op


def _folded(layer: Layer, weights: list[Any], norm: list[Any]) -> list[Any]:
    gamma, beta, mean, variance = (part.astype(np.float64) for part in norm)
    scale = gamma / np.sqrt(variance + BatchNorm.EPSILON)
    kernel = weights[0].astype(np.float64)
    bias = weights[1].astype(np.float64) if len(weights) == 2 else np.zeros_like(mean)
    # A depthwise kernel has the channel last but one, with one filter per channel.
    kernel *= scale[:, np.newaxis] if isinstance(layer.op, DepthwiseConv2d) else scale
    return [kernel.astype(np.float32), ((bias - mean) * scale + beta).astype(np.float32)]
