"""Writes and reads TorchScript files that say for which quantised engine they are made.

A model that was quantised for one engine runs under another without an error and answers wrongly; the description
inside the file is how whoever loads it can tell.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.jit import _builtins

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from tinywatt_trainers.architecture import Architecture

FILE: Final = "model.pt"
DESCRIPTION_FILE: Final = "tinywatt.json"
SCHEMA: Final = "tinywatt.model.v1"
ENGINE_NONE: Final = "none"


def scripted(network: nn.Module) -> torch.jit.ScriptModule:
    """The network as it is: parameters stay, batch normalisation and dropout follow `train()` and `eval()`."""
    _forget_reused_addresses(network)
    return torch.jit.script(network)


def frozen(network: nn.Module) -> torch.jit.ScriptModule:
    """The network for inference alone, in evaluation mode, with batch normalisation folded into convolutions."""
    return torch.jit.freeze(scripted(network.eval()))


def write(
    path: Path, module: torch.jit.ScriptModule, architecture: Architecture, technique: str, engine: str = ENGINE_NONE
) -> None:
    """Writes a TorchScript file with its description.

    Args:
        path: The file.
        module: Takes [input][row][column][channel] of 32-bit floats, gives [input][logit].
        architecture: What it was built from.
        technique: What was done to it.
        engine: Quantised engine that it needs.
    """
    description = {
        "schema": SCHEMA,
        "runtime": "torchscript",
        "engine": engine,
        "technique": technique,
        "input_shape": [1, *architecture.input_shape],
        "input_dtype": "float32",
        "class_count": architecture.class_count,
        "parameter_count": architecture.parameter_count,
        "mac_count": architecture.mac_count,
    }
    # Written by Python, whose errors name the file and the reason.
    content = io.BytesIO()
    torch.jit.save(module, content, _extra_files={DESCRIPTION_FILE: json.dumps(description)})
    path.write_bytes(content.getbuffer())


def read(path: Path) -> torch.jit.ScriptModule:
    """Loads a TorchScript file as a device does; the engine must be chosen before."""
    return torch.jit.load(str(path), map_location="cpu")


def description(path: Path) -> dict[str, Any]:
    """What a TorchScript file says of itself."""
    files: dict[str, Any] = {DESCRIPTION_FILE: ""}
    torch.jit.load(str(path), map_location="cpu", _extra_files=files)
    members: dict[str, Any] = json.loads(files[DESCRIPTION_FILE])
    return members


def _forget_reused_addresses(network: nn.Module) -> None:
    """Keeps the compiler from taking a number for a function.

    torch 2.11 knows its operators by their address in memory and never forgets one that is gone, so a tuple that came
    to lie there later is taken for it ("builtin cannot be used as a value"): rare, and gone at the next start.
    """
    table = _builtins._get_builtin_table()
    for module in network.modules():
        for value in vars(module).values():
            if not callable(value):
                table.pop(id(value), None)
