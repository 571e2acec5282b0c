"""Networks are what the architecture says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="the environment of the torch trainer is not installed")

import torch
from torch.jit import _builtins
from torch.nn import functional

from tinywatt_trainers.architecture import architecture_from, parse, shipped_names
from tinywatt_trainers.seeds import initial_weights
from tinywatt_trainers.torch import torchscript
from tinywatt_trainers.torch.network import build, parameter_count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinywatt_trainers.architecture import Architecture

# TorchScript is deprecated, and here the subject.
pytestmark = pytest.mark.filterwarnings("ignore")


def described(layers: Sequence[Mapping[str, object]], shape: list[int], class_count: int, count: int) -> Architecture:
    members = {
        "name": "own",
        "input": shape,
        "class_count": class_count,
        "parameter_count": count,
        "layers": list(layers),
    }
    return parse(members, "own")


@pytest.mark.parametrize("name", shipped_names())
def test_a_shipped_architecture_has_the_parameters_that_are_announced(name: str) -> None:
    architecture = architecture_from(name, "test")
    network = build(architecture, 1)
    assert parameter_count(network) == architecture.parameter_count
    logits = network.eval()(torch.zeros(2, *architecture.input_shape))
    assert logits.shape == (2, architecture.class_count)


def test_a_seed_gives_the_weights_of_every_framework() -> None:
    architecture = architecture_from("resnet8", "test")
    first, second, other = (build(architecture, seed).state_dict() for seed in (7, 7, 8))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    kernel = initial_weights(architecture, 7)[architecture.layers[0].id]
    assert np.array_equal(first["layer_0.weight"].permute(2, 3, 1, 0).numpy(), kernel)


def test_padding_is_larger_behind_where_a_stride_makes_it_odd() -> None:
    layers: list[dict[str, object]] = [
        {"op": "conv2d", "filters": 1, "kernel": 3, "stride": 2, "bias": False},
        {"op": "global_average_pool"},
    ]
    network = build(described(layers, [4, 4, 1], 1, 9), 1).eval()
    inputs = torch.arange(16.0).reshape(1, 4, 4, 1)
    # With zeros behind only, the windows start at rows and columns 0 and 2.
    padded = functional.pad(inputs.permute(0, 3, 1, 2), (0, 1, 0, 1))
    expected = functional.conv2d(padded, network.state_dict()["layer_0.weight"], stride=2).mean()
    assert torch.allclose(network(inputs).squeeze(), expected)


def test_flattening_puts_channels_innermost() -> None:
    layers: list[dict[str, object]] = [{"op": "flatten"}, {"op": "dense", "units": 2, "bias": False}]
    network = build(described(layers, [2, 3, 4], 2, 48), 1).eval()
    inputs = torch.randn(5, 2, 3, 4)
    assert torch.allclose(network(inputs), inputs.reshape(5, 24) @ network.state_dict()["layer_1.weight"].t())


def test_a_depthwise_convolution_keeps_channels_apart() -> None:
    layers: list[dict[str, object]] = [
        {"op": "depthwise_conv2d", "kernel": 3, "bias": True},
        {"op": "global_average_pool"},
    ]
    network = build(described(layers, [4, 4, 2], 2, 20), 1).eval()
    inputs = torch.zeros(1, 4, 4, 2)
    inputs[..., 0] = 1.0
    assert network(inputs)[0, 1] == 0.0


def test_an_address_that_was_an_operator_once_does_not_stop_the_compiler() -> None:
    network = build(architecture_from("digits-tiny", "test"), 1)
    # What happens when an operator is freed and this tuple comes to lie in its place.
    reused = network.get_submodule("layer_0")._reversed_padding_repeated_twice
    _builtins._get_builtin_table()[id(reused)] = "aten::add"
    with pytest.raises(RuntimeError, match="builtin cannot be used as a value"):
        torch.jit.script(network)
    assert torchscript.scripted(network)(torch.zeros(2, 8, 8, 1)).shape == (2, 10)


def test_an_untrained_network_answers_as_in_keras() -> None:
    network = build(architecture_from("resnet8", "test"), 5).eval()
    inputs = (torch.arange(32.0 * 32 * 3).reshape(1, 32, 32, 3) % 17 - 8) / 8
    # What the Keras trainer's network of the same seed gives, with TensorFlow 2.21.
    keras = [1.07989, -0.53488, -2.33348, -0.64891, 0.41354, 0.2389, 2.78095, 0.57132, -0.59435, 0.80322]
    assert torch.allclose(network(inputs)[0], torch.tensor(keras), atol=1e-4)
