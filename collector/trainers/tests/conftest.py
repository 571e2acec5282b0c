"""Jobs as the agent writes them, on the digits that the repository carries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tinywatt_trainers.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DIGITS: Final = Path(__file__).parents[2] / "data" / "digits"
# Pixels of the digits run from 0 to 16.
DIGITS_CONFIG: Final[dict[str, Any]] = {"architecture": "digits-tiny", "input_scale": 0.0625, "input_offset": 0.0}
TRAIN_CONFIG: Final[dict[str, Any]] = {**DIGITS_CONFIG, "epochs": 8, "batch_size": 32, "learning_rate": 0.005}


@dataclass(frozen=True)
class Done:
    """A job that ran in this process.

    Attributes:
        code: Its exit code.
        folder: Where its files are.
    """

    code: int
    folder: Path

    @property
    def result(self) -> dict[str, Any]:
        """What it wrote."""
        members: dict[str, Any] = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        return members

    @property
    def model(self) -> bytes:
        """The deployable file."""
        return (self.folder / "out" / "model.tflite").read_bytes()

    @property
    def accuracy(self) -> float:
        """Share of right answers on the test inputs."""
        counts: list[list[int]] = self.result["confusion"]
        return sum(row[label] for label, row in enumerate(counts)) / sum(map(sum, counts))


def job_members(folder: Path, kind: str, config: Mapping[str, Any], inputs: Mapping[str, Path]) -> dict[str, Any]:
    """A job's object, with its folders made."""
    (folder / "out").mkdir(parents=True)
    return {
        "schema": "tinywatt.job.v1",
        "kind": kind,
        "seed": 7,
        "thread_count": 1,
        "device": "cpu",
        "config": dict(config),
        "inputs": {
            role: {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for role, path in inputs.items()
        },
        "output_dir": str(folder / "out"),
        "result": str(folder / "result.json"),
        "progress": str(folder / "progress.jsonl"),
    }


def digits(**more: Path) -> dict[str, Path]:
    """The digits as a job's inputs."""
    return {"train": DIGITS / "train.twin", "test": DIGITS / "test.twin", **more}


@pytest.fixture(scope="session")
def run_job(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """Runs a job in this process."""

    def run(
        framework: str,
        kind: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Path] | None = None,
        **members: object,
    ) -> Done:
        folder = tmp_path_factory.mktemp("job")
        job = job_members(folder / "job", kind, config, digits() if inputs is None else inputs)
        path = folder / "job" / "job.json"
        path.write_text(json.dumps({**job, **members}), encoding="utf-8")
        return Done(main([framework, str(path)]), folder / "job")

    return run
