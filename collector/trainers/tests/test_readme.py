"""What README.md shows works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import digits, job_members
from tinywatt_trainers.architecture import OPS, architecture_from, shipped_names
from tinywatt_trainers.job import Job, TrainConfig

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_job_and_the_architecture_that_it_shows_are_accepted(tmp_path: Path) -> None:
    objects: list[dict[str, Any]] = [json.loads(block) for block in blocks("json")]
    (job,) = (members for members in objects if members.get("schema") == "tinywatt.job.v1")
    for entry in job["inputs"].values():
        entry["sha256"] = entry["sha256"].ljust(64, "0")
    read = Job.from_members({**job, "output_dir": str(tmp_path)}, "job.json")
    assert TrainConfig.of(read).extra_keys == ()
    (architecture,) = (members for members in objects if "layers" in members)
    assert architecture_from(architecture, "README.md").name == "two-branches"


def test_it_knows_every_op_and_every_shipped_architecture() -> None:
    text = README.read_text(encoding="utf-8")
    for name in shipped_names():
        assert re.search(rf"^\| `{name}`.* {architecture_from(name, '').parameter_count:,} ", text, re.MULTILINE), name
    for op in OPS:
        assert f"`{op}`" in text


@pytest.mark.skipif(shutil.which("jq") is None, reason="the example in a shell needs jq")
def test_the_trainer_in_a_shell_does_its_job(tmp_path: Path) -> None:
    script = tmp_path / "constant.sh"
    script.write_text(next(block for block in blocks("sh") if block.startswith("#!")), encoding="utf-8")

    def run(folder: Path, config: dict[str, Any], **members: object) -> subprocess.CompletedProcess[str]:
        job = {**job_members(folder, "train", config, digits()), **members}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = ["sh", str(script), str(folder / "job.json")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(tmp_path / "good", {"answer": 3})
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "good" / "out" / "model.txt").read_text(encoding="utf-8") == "3\n"
    result = json.loads((tmp_path / "good" / "result.json").read_text(encoding="utf-8"))
    assert result["artifacts"] == [{"role": "model", "file": "model.txt"}]
    assert run(tmp_path / "other", {"answer": 3}, schema="tinywatt.job.v2").returncode == 1
    assert "error: " in run(tmp_path / "missing", {}).stderr
    assert not (tmp_path / "missing" / "result.json").exists()
