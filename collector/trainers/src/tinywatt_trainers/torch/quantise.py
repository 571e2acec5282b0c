"""Turns weights and activations into bytes, after training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import fx, nn
from torch.ao.quantization import get_default_qconfig_mapping, quantize_dynamic
from torch.ao.quantization.backend_config import (
    BackendPatternConfig,
    DTypeConfig,
    ObservationType,
    get_native_backend_config,
)
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from tinywatt_trainers.torch import runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.ao.quantization.backend_config import BackendConfig


def static(network: fx.GraphModule, engine: str, calibration: Sequence[torch.Tensor]) -> fx.GraphModule:
    """Quantises weights and activations to 8 bits, with ranges seen on calibration inputs.

    Batch normalisation and ReLU are fused into convolutions first. Observers are the engine's own defaults: fbgemm
    sums pairs of products in 16 bits and so keeps activations to 7 bits, qnnpack uses all 8.

    Args:
        network: Trained, in evaluation mode, on the CPU.
        engine: `fbgemm` or `qnnpack`.
        calibration: Batches of training inputs, scaled as in training.
    """
    runtime.use_engine(engine)
    backend = _backend()
    prepared = prepare_fx(network, get_default_qconfig_mapping(engine), (calibration[0],), backend_config=backend)
    with torch.no_grad():
        for batch in calibration:
            prepared(batch)
    quantised: fx.GraphModule = convert_fx(prepared, backend_config=backend)
    _pad_bytes(quantised)
    return quantised


def dynamic(network: fx.GraphModule, engine: str) -> fx.GraphModule:
    """Quantises the weights of dense layers to 8 bits; activations are quantised as they come.

    torch has no dynamic kernels for convolutions, so these stay as they are.
    """
    runtime.use_engine(engine)
    quantised: fx.GraphModule = quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)
    return quantised


def _backend() -> BackendConfig:
    """Torch's own kernels; padding keeps the quantisation of what it pads."""
    bytes_in_and_out = DTypeConfig(input_dtype=torch.quint8, output_dtype=torch.quint8)
    padding = (
        BackendPatternConfig(nn.ZeroPad2d)
        .set_observation_type(ObservationType.OUTPUT_SHARE_OBSERVER_WITH_INPUT)
        .set_dtype_configs([bytes_in_and_out])
    )
    return get_native_backend_config().set_backend_pattern_config(padding)


def _pad_bytes(network: fx.GraphModule) -> None:
    """Takes dequantise, pad, quantise together to a padding of bytes, which torch can do but does not choose."""
    modules = dict(network.named_modules())
    for node in network.graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], nn.ZeroPad2d):
            continue
        real = node.args[0]
        if real.op != "call_method" or real.target != "dequantize":
            continue
        quantisations = [user for user in node.users if user.target is torch.quantize_per_tensor]
        if len(quantisations) != len(node.users):
            continue
        node.args = (real.args[0],)
        for quantisation in quantisations:
            quantisation.replace_all_uses_with(node)
            network.graph.erase_node(quantisation)
    network.graph.eliminate_dead_code()
    network.delete_all_unused_submodules()
    network.recompile()
