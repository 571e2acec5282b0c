"""Writes and runs ExecuTorch programs (`.pte`) with XNNPACK's 8-bit kernels."""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.resources
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import nn

    from tinywatt_trainers.architecture import Architecture
    from tinywatt_trainers.torch.training import Network

FILE: Final = "model.pte"
# Calls in a program's graph that compute nothing.
GLUE: Final = ("executorch_call_delegate", "getitem")
PACKAGES: Final = ("torch", "torchao", "executorch")


@dataclass(frozen=True)
class Program:
    """An ExecuTorch program.

    Attributes:
        content: The file's bytes.
        remaining_ops: Operators that XNNPACK did not take; ExecuTorch's portable kernels do them.
    """

    content: bytes
    remaining_ops: tuple[str, ...]


def quantised(network: nn.Module, architecture: Architecture, calibration: Sequence[torch.Tensor]) -> Program:
    """Quantises to 8 bits, symmetric, kernels per channel, and compiles for one input at a time.

    Args:
        network: Trained, in evaluation mode, on the CPU.
        architecture: What it was built from.
        calibration: Batches of training inputs, scaled as in training.
    """
    _name_schema_compiler()
    example = (torch.zeros(1, *architecture.input_shape),)
    # XNNPACK's compiler orders dimensions itself, and stumbles over constants that are `channels_last` already.
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    quantiser = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared: Any = prepare_pt2e(torch.export.export(plain, example).module(), quantiser)
    with torch.no_grad():
        for batch in calibration:
            for one in batch.split(1):
                prepared(one)
    converted = convert_pt2e(prepared)
    edge = to_edge_transform_and_lower(torch.export.export(converted, example), partitioner=[XnnpackPartitioner()])
    remaining = {
        node.target.__name__
        for node in edge.exported_program().graph.nodes
        if node.op == "call_function" and node.target.__name__ not in GLUE
    }
    return Program(bytes(edge.to_executorch().buffer), tuple(sorted(remaining)))


def loaded(path: Path) -> Network:
    """Loads a program as a function of batches; it is run once per input."""
    method = Runtime.get().load_program(str(path)).load_method("forward")

    def run(inputs: torch.Tensor) -> torch.Tensor:
        # The program owns its output and writes over it at the next call.
        return torch.cat([method.execute([one.contiguous()])[0].clone() for one in inputs.split(1)])

    return run


def versions() -> str:
    """The packages that made the program, for the report."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


def _name_schema_compiler() -> None:
    """Tells ExecuTorch where its own schema compiler is, which it seeks in the PATH only."""
    with importlib.resources.as_file(importlib.resources.files("executorch.data.bin") / "flatc") as compiler:
        if compiler.is_file():
            os.environ.setdefault("FLATC_EXECUTABLE", str(compiler))
