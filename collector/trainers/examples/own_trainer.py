"""A trainer of one's own, with nothing but Python's standard library: README.md explains the files.

It learns the mean input of each class and answers with the class whose mean is nearest. Its model is no file that a
device of ours runs; energy, time and quality of the job are measured all the same.

    [[train]]
    command = ["python3", "own_trainer.py"]
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import time
from pathlib import Path
from typing import Any


def read_inputs(entry: dict[str, str]) -> tuple[int, tuple[int, ...], list[bytes]]:
    """Reads an input set: class count, labels, and the bytes of each input."""
    content = Path(entry["path"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        sys.exit(f"error: {entry['path']}: is another file than the job names; fetch it again")
    magic, _, _, class_count, count, rank = struct.unpack_from("<4s5I", content)
    if magic != b"TWIN":
        sys.exit(f"error: {entry['path']}: is no input set; `collector dataset` makes them")
    labels = struct.unpack_from(f"<{count}I", content, 24 + 4 * rank)
    data = content[24 + 4 * rank + 4 * count :]
    size = len(data) // count
    return class_count, labels, [data[size * index : size * (index + 1)] for index in range(count)]


def train(job: dict[str, Any]) -> tuple[list[list[float]], int]:
    """The mean input of each class, and how many classes there are."""
    class_count, labels, inputs = read_inputs(job["inputs"]["train"])
    means = []
    for label in range(class_count):
        own = [pixels for pixels, of in zip(inputs, labels, strict=True) if of == label]
        means.append([sum(column) / len(own) for column in zip(*own, strict=True)] if own else [])
        with Path(job["progress"]).open("a", encoding="utf-8") as progress:
            print(json.dumps({"phase": "train", "fraction": (label + 1) / class_count}), file=progress)
    return means, class_count


def evaluate(job: dict[str, Any], means: list[list[float]], class_count: int) -> list[list[int]]:
    """Counts the answers on the test inputs; a row per label."""
    confusion = [[0] * class_count for _ in range(class_count)]
    _, labels, inputs = read_inputs(job["inputs"]["test"])
    for pixels, label in zip(inputs, labels, strict=True):
        distances = [
            sum((a - b) ** 2 for a, b in zip(pixels, mean, strict=True)) if mean else float("inf") for mean in means
        ]
        confusion[label][distances.index(min(distances))] += 1
    return confusion


def main(path: str) -> None:
    """Does the job of a job file."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    if job["schema"] != "tinywatt.job.v1" or job["kind"] != "train":
        sys.exit("error: this trainer does jobs of kind `train`, schema `tinywatt.job.v1`")
    started = time.monotonic_ns()
    means, class_count = train(job)
    trained = time.monotonic_ns()
    confusion = evaluate(job, means, class_count)
    ended = time.monotonic_ns()
    (Path(job["output_dir"]) / "means.json").write_text(json.dumps(means), encoding="utf-8")
    result = {
        "schema": "tinywatt.result.v1",
        "framework": {"name": "nearest-mean", "version": "1"},
        "artifacts": [{"role": "model", "file": "means.json"}],
        "phases": [
            {"phase": "train", "start_mono_ns": started, "end_mono_ns": trained},
            {"phase": "evaluate", "start_mono_ns": trained, "end_mono_ns": ended},
        ],
        "parameter_count": sum(map(len, means)),
        "confusion": confusion,
    }
    # Whoever finds the result finds it whole.
    partial = Path(job["result"] + ".part")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.replace(job["result"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: own_trainer.py JOB.json")
    main(sys.argv[1])
