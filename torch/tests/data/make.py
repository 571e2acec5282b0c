"""Makes the modules in this folder with the trainers in `collector/trainers`, and what they answer in Python torch.

Run with the Python of an environment that has `collector/trainers/requirements-torch.txt`:
    PYTHONPATH=collector/trainers/src OMP_NUM_THREADS=1 python torch/tests/data/make.py
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from tinywatt_trainers.inputs import parse

HERE = Path(__file__).parent
DIGITS = HERE.parents[2] / "collector" / "data" / "digits"
SCALE, OFFSET = 0.125, -1.0
CONFIG = {"architecture": "digits-tiny", "input_scale": SCALE, "input_offset": OFFSET}
TRAINING: dict[str, object] = {"epochs": 8, "batch_size": 32, "learning_rate": 0.003}


def file(path: Path) -> dict[str, str]:
    """A file as a job names it."""
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def run(folder: Path, kind: str, config: dict[str, object], parent: Path | None = None) -> Path:
    """Executes a job and gives the folder of its artifacts."""
    out = folder / "out"
    out.mkdir(parents=True)
    test = file(DIGITS / "test.twin")
    inputs = {"train": file(DIGITS / "train.twin"), "validation": test, "test": test}
    if parent is not None:
        inputs["parent"] = file(parent)
    job = {
        "schema": "tinywatt.job.v1", "kind": kind, "seed": 7, "thread_count": 1, "device": "cpu",
        "config": CONFIG | config, "inputs": inputs, "output_dir": str(out),
        "result": str(folder / "result.json"), "progress": str(folder / "progress.jsonl"),
    }
    (folder / "job.json").write_text(json.dumps(job))
    subprocess.run([sys.executable, "-m", "tinywatt_trainers", "torch", str(folder / "job.json")], check=True)
    return out


def answers(path: Path, engine: str) -> dict[str, object]:
    """What Python torch gives for every test input, one by one, as a device is asked."""
    if engine != "none":
        torch.backends.quantized.engine = engine
    torch.set_num_threads(1)
    module = torch.jit.load(str(path)).eval()
    inputs = parse((DIGITS / "test.twin").read_bytes(), "test.twin")
    digest, correct = hashlib.sha256(), 0
    with torch.no_grad():
        for pixels, label in zip(inputs.data, inputs.labels, strict=True):
            real = (pixels.astype(np.float64) * SCALE + OFFSET).astype(np.float32)
            output = module(torch.from_numpy(real[None])).contiguous().numpy()
            digest.update(output.tobytes())
            correct += int(output.argmax() == label)
    return {"correct_count": correct, "outputs_sha256": digest.hexdigest()}


def main() -> None:
    """Writes every module, and `expected.json`."""
    expected = {"torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copy(run(root / "build", "build", TRAINING) / "model.pt", HERE / "digits-untrained.pt")
        trained = run(root / "train", "train", TRAINING)
        made = {"float32": (trained / "model.pt", "none")}
        for technique, engine in [("static-fbgemm", "fbgemm"), ("static-qnnpack", "qnnpack"), ("dynamic", "fbgemm")]:
            config = TRAINING | {"technique": technique, "calibration_count": 300}
            out = run(root / technique, "optimise", config, trained / "checkpoint.pt")
            made[technique] = (out / "model.pt", engine)
        for technique, (path, engine) in made.items():
            target = HERE / f"digits-{technique}.pt"
            shutil.copy(path, target)
            expected[technique] = {"engine": engine} | answers(target, engine)
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
