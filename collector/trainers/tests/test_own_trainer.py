"""The example of a trainer of one's own keeps the contract."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import Done, digits, job_members

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_trainer.py"


def run(folder: Path, **members: object) -> tuple[Done, str]:
    job = {**job_members(folder, "train", {}, digits()), **members}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    # -I -S: nothing but the standard library can be found.
    command = [sys.executable, "-I", "-S", str(EXAMPLE), str(folder / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, folder), done.stderr


def test_the_example_learns_the_digits(tmp_path: Path) -> None:
    done, log = run(tmp_path / "job")
    assert (done.code, log) == (0, "")
    assert done.accuracy > 0.85
    assert done.result["parameter_count"] == 640
    assert [phase["phase"] for phase in done.result["phases"]] == ["train", "evaluate"]
    for artifact in done.result["artifacts"]:
        assert (done.folder / "out" / artifact["file"]).stat().st_size > 0
    assert len((done.folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()) == 10
    assert not (done.folder / "result.json.part").exists()


def test_the_example_refuses_a_changed_input_in_one_line(tmp_path: Path) -> None:
    inputs = {role: {"path": str(path), "sha256": "0" * 64} for role, path in digits().items()}
    done, log = run(tmp_path / "job", inputs=inputs)
    assert done.code == 1
    assert log.startswith("error: ")
    assert log.count("\n") == 1
    assert not (tmp_path / "job" / "result.json").exists()


def test_the_example_does_only_what_it_can(tmp_path: Path) -> None:
    done, log = run(tmp_path / "job", kind="optimise")
    assert done.code == 1
    assert "kind `train`" in log
