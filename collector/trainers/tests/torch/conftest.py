"""Jobs on the digits, small enough for one core and a second."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Frameworks read it when they load.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

pytest.importorskip("torch", reason="the torch environment is not installed")

DIGITS = Path(__file__).parents[3] / "data" / "digits"
CONFIG = {"architecture": "digits-tiny", "input_scale": 1 / 8, "input_offset": -1.0}
TRAIN_CONFIG = CONFIG | {"epochs": 8, "batch_size": 32, "learning_rate": 3e-3}


def entry(path: Path) -> dict[str, str]:
    """An input of a job."""
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


@dataclass
class Workshop:
    """Does jobs, each in a folder of its own."""

    root: Path
    count: int = field(default=0)

    def job(self, kind: str, config: dict[str, Any], seed: int = 1, **inputs: Path) -> tuple[Path, Path]:
        """Writes a job; gives its file and its output folder."""
        self.count += 1
        folder = self.root / f"{self.count}"
        (folder / "out").mkdir(parents=True)
        files = {"train": DIGITS / "train.twin", "test": DIGITS / "test.twin"} | inputs
        members = {
            "schema": "tinywatt.job.v1",
            "kind": kind,
            "seed": seed,
            "thread_count": 1,
            "device": "cpu",
            "config": config,
            "inputs": {role: entry(path) for role, path in files.items()},
            "output_dir": str(folder / "out"),
            "result": str(folder / "result.json"),
            "progress": str(folder / "progress.jsonl"),
        }
        (folder / "job.json").write_text(json.dumps(members))
        return folder / "job.json", folder / "out"

    def do(self, kind: str, config: dict[str, Any], seed: int = 1, **inputs: Path) -> tuple[dict[str, Any], Path]:
        """Does a job; gives its result and its output folder."""
        from tinywatt_trainers.__main__ import main

        path, output_dir = self.job(kind, config, seed, **inputs)
        assert main(["torch", str(path)]) == 0
        result: dict[str, Any] = json.loads((path.parent / "result.json").read_text())
        for artifact in result["artifacts"]:
            assert (output_dir / artifact["file"]).is_file()
        return result, output_dir


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """An empty one."""
    return Workshop(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The result and the output folder of one training that all tests share."""
    return Workshop(tmp_path_factory.mktemp("trained")).do("train", TRAIN_CONFIG)
