"""Keeps all that training needs to go on: weights, the optimiser's memory, the random state.

The file holds tensors, numbers and texts only, so that reading one runs no code of whoever wrote it.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, Final

import torch

from tinywatt_trainers.errors import JobError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from tinywatt_trainers.architecture import Architecture
    from tinywatt_trainers.job import InputFile

FILE: Final = "checkpoint.pt"
SCHEMA: Final = "tinywatt.torch-checkpoint.v1"


def write(
    path: Path, architecture: Architecture, network: nn.Module, optimiser: torch.optim.Optimizer, epochs_done: int
) -> None:
    """Writes a checkpoint."""
    state = {
        "schema": SCHEMA,
        "architecture": architecture.name,
        "epochs_done": epochs_done,
        "model": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random_state": torch.get_rng_state(),
        "random_state_gpu": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    # Written by Python, whose errors name the file and the reason.
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(content.getbuffer())


def restore(
    file: InputFile, architecture: Architecture, network: nn.Module, optimiser: torch.optim.Optimizer | None = None
) -> int:
    """Puts a checkpoint's weights into a network that was built for the same architecture.

    Args:
        file: The checkpoint.
        architecture: What the network is built for.
        network: The network.
        optimiser: Given, training goes on: its memory and the random state are restored, too, its step size is kept.

    Returns:
        Epochs that the checkpoint was trained for.

    Raises:
        JobError: When the file is no checkpoint of ours or of another architecture.
    """
    content = file.read()
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        raise JobError(
            f"{file.path}: is no checkpoint of torch: name a `train` job of this framework as the parent"
        ) from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise JobError(f"{file.path}: is no checkpoint of this trainer ({SCHEMA}): train the parent with it")
    try:
        network.load_state_dict(state["model"])
    except RuntimeError as error:
        raise JobError(
            f"{file.path}: holds the weights of `{state['architecture']}`, which do not fit `{architecture.name}`: "
            "name the parent's own architecture"
        ) from error
    if optimiser is not None:
        rates = [group["lr"] for group in optimiser.param_groups]
        optimiser.load_state_dict(state["optimiser"])
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        torch.set_rng_state(state["random_state"])
        if torch.cuda.is_available() and state["random_state_gpu"] is not None:
            torch.cuda.set_rng_state(state["random_state_gpu"])
    return int(state["epochs_done"])
