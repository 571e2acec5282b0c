"""Builds an architecture as a graph of torch modules.

The network takes [input][row][column][channel] and gives [input][logit]. It is an `fx.GraphModule`, because that one
form can be trained, scripted, quantised and exported.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from tinywatt_trainers.architecture import (
    INPUT_ID,
    Add,
    BatchNorm,
    Conv2d,
    Dense,
    DepthwiseConv2d,
    Dropout,
    Flatten,
    GlobalAveragePool,
    MaxPool,
    Relu,
    same_padding,
)
from tinywatt_trainers.seeds import initial_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinywatt_trainers.architecture import Architecture, Layer


def build(architecture: Architecture, seed: int) -> fx.GraphModule:
    """The untrained network, in training mode, its kernels drawn from the seed.

    Args:
        architecture: The network.
        seed: The job's.
    """
    modules: dict[str, nn.Module] = {}
    graph = fx.Graph()
    asked = graph.placeholder("inputs")
    # Bytes arrive channels last, so this only renames dimensions: convolutions see torch's `channels_last`.
    values = {INPUT_ID: graph.call_method("permute", (asked, 0, 3, 1, 2))}
    for index, layer in enumerate(architecture.layers):
        sources = [values[source] for source in layer.sources]
        values[layer.id] = _node(graph, modules, f"layer_{index}", layer, sources)
    graph.output(values[architecture.layers[-1].id])
    network = fx.GraphModule(modules, graph, class_name="Network")
    assert parameter_count(network) == architecture.parameter_count
    _set_initial_weights(network, architecture, seed)
    return network.to(memory_format=torch.channels_last)


def parameter_count(network: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(parameter.numel() for parameter in network.parameters())


def _node(
    graph: fx.Graph, modules: dict[str, nn.Module], name: str, layer: Layer, sources: Sequence[fx.Node]
) -> fx.Node:
    """Adds a layer to the graph; ids are the user's and may be no Python names, so modules go by their number."""

    def call(module: nn.Module, value: fx.Node, suffix: str = "") -> fx.Node:
        modules[name + suffix] = module
        return graph.call_module(name + suffix, (value,))

    value = sources[0]
    channels = layer.input_shape[-1]
    match layer.op:
        case Conv2d(_, kernel, stride, _) | DepthwiseConv2d(kernel, stride, _):
            rows = same_padding(layer.input_shape[0], kernel, stride)
            columns = same_padding(layer.input_shape[1], kernel, stride)
            padding = (rows[0], columns[0])
            if rows[0] != rows[1] or columns[0] != columns[1]:
                value = call(nn.ZeroPad2d((*columns, *rows)), value, "_pad")
                padding = (0, 0)
            groups = channels if isinstance(layer.op, DepthwiseConv2d) else 1
            filters = layer.output_shape[-1]
            return call(nn.Conv2d(channels, filters, kernel, stride, padding, groups=groups, bias=layer.op.bias), value)
        case BatchNorm(EPSILON=epsilon, MOMENTUM=momentum):
            kind = nn.BatchNorm2d if len(layer.input_shape) == 3 else nn.BatchNorm1d
            return call(kind(channels, eps=epsilon, momentum=1.0 - momentum), value)
        case Relu():
            return call(nn.ReLU(), value)
        case MaxPool(size):
            return call(nn.MaxPool2d(size), value)
        case GlobalAveragePool():
            # `AdaptiveAvgPool2d` has no deterministic gradient on a GPU; the mean has.
            mean = graph.call_method("mean", (value, (-2, -1)), {"keepdim": True})
            return graph.call_function(torch.flatten, (mean, 1))
        case Flatten() if len(layer.input_shape) == 3:
            return graph.call_function(torch.flatten, (graph.call_method("permute", (value, 0, 2, 3, 1)), 1))
        case Flatten():
            return value
        case Dense(units, bias):
            return call(nn.Linear(channels, units, bias=bias), value)
        case Dropout(rate):
            return call(nn.Dropout(rate), value)
        case Add():
            return reduce(lambda left, right: graph.call_function(operator.add, (left, right)), sources)


def _set_initial_weights(network: fx.GraphModule, architecture: Architecture, seed: int) -> None:
    kernels = initial_weights(architecture, seed)
    with torch.no_grad():
        for index, layer in enumerate(architecture.layers):
            if layer.id not in kernels:
                continue
            module: Any = network.get_submodule(f"layer_{index}")
            kernel = torch.from_numpy(kernels[layer.id])
            match layer.op:
                case Conv2d():
                    kernel = kernel.permute(3, 2, 0, 1)
                case DepthwiseConv2d():
                    kernel = kernel.permute(2, 0, 1).unsqueeze(1)
                case _:
                    kernel = kernel.t()
            module.weight.copy_(kernel)
            if module.bias is not None:
                module.bias.zero_()
