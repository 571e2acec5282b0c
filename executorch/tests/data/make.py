"""Makes the programs in this folder, and what they answer in ExecuTorch's own Python runtime.

Run with the Python of an environment that has `collector/trainers/requirements-torch.txt`:
    PYTHONPATH=collector/trainers/src OMP_NUM_THREADS=1 python executorch/tests/data/make.py
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.exir import to_edge_transform_and_lower
from tinywatt_trainers.inputs import parse
from tinywatt_trainers.torch import pte

HERE = Path(__file__).parent
# The modules of the torch runtime are made by the same jobs.
TORCH = runpy.run_path(str(HERE.parents[2] / "torch" / "tests" / "data" / "make.py"))


class Flat(torch.nn.Module):
    """Shares of the first ten pixels: nothing that XNNPACK is given, all for ExecuTorch's own kernels."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.softmax(pixels.flatten(1)[:, :10], dim=1)


class Pair(torch.nn.Module):
    """Two inputs."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left + right


def answers(path: Path) -> dict[str, object]:
    """What Python's runtime gives for every test input, one by one, as a device is asked."""
    run = pte.loaded(path)
    inputs = parse((TORCH["DIGITS"] / "test.twin").read_bytes(), "test.twin")
    digest, correct = hashlib.sha256(), 0
    for pixels, label in zip(inputs.data, inputs.labels, strict=True):
        real = (pixels.astype(np.float64) * TORCH["SCALE"] + TORCH["OFFSET"]).astype(np.float32)
        output = run(torch.from_numpy(real[None])).contiguous().numpy()
        digest.update(output.tobytes())
        correct += int(output.argmax() == label)
    return {"correct_count": correct, "outputs_sha256": digest.hexdigest()}


def write(name: str, module: torch.nn.Module, *example: torch.Tensor) -> Path:
    """Exports a module as it is."""
    path = HERE / name
    path.write_bytes(to_edge_transform_and_lower(torch.export.export(module, example)).to_executorch().buffer)
    return path


def main() -> None:
    """Writes every program, and `expected.json`."""
    pte._name_schema_compiler()
    training: dict[str, Any] = TORCH["TRAINING"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        trained = TORCH["run"](root / "train", "train", training)
        config = training | {"technique": "executorch-int8", "calibration_count": 300}
        out = TORCH["run"](root / "optimise", "optimise", config, trained / "checkpoint.pt")
        shutil.copy(out / pte.FILE, HERE / "digits-int8.pte")
    image = torch.zeros(1, 8, 8, 1)
    write("portable.pte", Flat(), image)
    # Each of these must be refused.
    write("batch-of-two.pte", Flat(), image.repeat(2, 1, 1, 1))
    write("doubles.pte", Flat(), image.to(torch.float64))
    write("two-inputs.pte", Pair(), image, image)
    expected: dict[str, object] = {"executorch": importlib.metadata.version("executorch")}
    for name in ["digits-int8", "portable"]:
        expected[name] = answers(HERE / f"{name}.pte")
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
