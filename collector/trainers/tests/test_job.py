"""The job's files."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DIGITS, TRAIN_CONFIG, digits, job_members
from tinywatt_trainers.__main__ import main
from tinywatt_trainers.errors import JobError
from tinywatt_trainers.job import Artifact, Epoch, Job, OptimiseConfig, Phase, PhaseTimer, Progress, Result, TrainConfig


def problems_of(path: Path, content: str | bytes) -> tuple[str, ...]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(JobError) as caught:
        Job.read(path)
    return caught.value.problems


@pytest.fixture
def members(tmp_path: Path) -> dict[str, Any]:
    return job_members(tmp_path / "job", "train", TRAIN_CONFIG, digits())


def test_a_job_is_read_as_it_was_written(members: dict[str, Any]) -> None:
    job = Job.from_members(members, "job.json")
    assert (job.kind, job.seed, job.thread_count, job.device) == ("train", 7, 1, "cpu")
    assert job.input_file("train").path == DIGITS / "train.twin"
    config = TrainConfig.of(job)
    assert (config.epochs, config.batch_size, config.learning_rate, config.extra_keys) == (8, 32, 0.005, ())
    assert config.architecture.name == "digits-tiny"


def test_all_mistakes_of_a_job_are_told_at_once(tmp_path: Path) -> None:
    problems = problems_of(tmp_path / "job.json", json.dumps({"schema": "tinywatt.job.v9", "seed": -1, "kind": "bake"}))
    told = "\n".join(problems)
    for key in ("schema", "kind", "seed", "thread_count", "device", "config", "inputs", "output_dir", "result"):
        assert told.count(f"job.json: `{key}`") == 1, told
    assert "`train`, `optimise`, `build`" in told


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"', b"\xff\xfe{}", "[" * 100_000])
def test_what_is_no_job_file_is_refused_in_one_line(tmp_path: Path, content: str | bytes) -> None:
    problems = problems_of(tmp_path / "job.json", content)
    assert len(problems) == 1
    assert str(tmp_path / "job.json") in problems[0]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("seed", 2**32, "`seed` must be a whole number"),
        ("seed", True, "`seed` must be a whole number"),
        ("thread_count", 0, "`thread_count` must be a whole number"),
        ("device", "tpu", "`device` is `tpu`, and must be one of `cpu`, `gpu`"),
        ("result", "result.json", "`result` must be an absolute path"),
        ("output_dir", "/no/such/folder", "/no/such/folder, which is no folder"),
        ("inputs", {"train": {"path": "train.twin", "sha256": "00"}}, "inputs: train: `path` must be an absolute"),
        ("inputs", {"train": {"path": "/x", "sha256": "00"}}, "inputs: train: `sha256` must be 64 hexadecimal"),
        ("inputs", {"train": "/x"}, "inputs: `train` must be an object"),
    ],
)
def test_a_wrong_member_is_named(members: dict[str, Any], key: str, value: object, told: str) -> None:
    with pytest.raises(JobError, match=r"job\.json") as caught:
        Job.from_members({**members, key: value}, "job.json")
    assert len([problem for problem in caught.value.problems if told in problem]) == 1, caught.value.problems


def test_all_mistakes_of_a_configuration_are_told_at_once(members: dict[str, Any]) -> None:
    config = {"architecture": "resnet9", "epochs": 0, "batch_size": 2.5, "input_scale": 0, "input_offset": "x"}
    with pytest.raises(JobError) as caught:
        TrainConfig.of(Job.from_members({**members, "config": config}, "job.json"))
    told = str(caught.value)
    for key in ("epochs", "batch_size", "learning_rate", "input_scale", "input_offset"):
        assert f"job.json: config: `{key}`" in told
    assert "no architecture `resnet9` is shipped; known are `cifar10-s" in told


def test_an_unknown_technique_is_answered_with_the_known_ones(members: dict[str, Any]) -> None:
    job = Job.from_members(
        {**members, "kind": "optimise", "config": {**TRAIN_CONFIG, "technique": "magic"}}, "job.json"
    )
    with pytest.raises(JobError, match="`technique` is `magic`, and must be one of `plain`, `fancy`"):
        OptimiseConfig.of(job, ("plain", "fancy"))


def test_keys_that_nobody_reads_are_known_as_such(members: dict[str, Any]) -> None:
    job = Job.from_members({**members, "config": {**TRAIN_CONFIG, "momentum": 0.5}}, "job.json")
    assert TrainConfig.of(job).extra_keys == ("momentum",)


def test_a_changed_input_is_refused(members: dict[str, Any]) -> None:
    members["inputs"]["train"]["sha256"] = "0" * 64
    job = Job.from_members(members, "job.json")
    with pytest.raises(JobError, match=r"train\.twin: its SHA-256 is [0-9a-f]{64}, and the job names 0000"):
        job.input_file("train").read()


def test_an_input_that_is_not_there_is_named(members: dict[str, Any]) -> None:
    members["inputs"]["train"]["path"] = "/no/such/file"
    job = Job.from_members(members, "job.json")
    with pytest.raises(JobError, match="/no/such/file: cannot be read: No such file"):
        job.input_file("train").read()
    with pytest.raises(JobError, match="inputs: `teacher` is missing"):
        job.input_file("teacher")


def a_result(loss: float = 0.5) -> Result:
    return Result(
        framework_name="own",
        framework_version="1",
        artifacts=(Artifact("model", "model.bin"),),
        phases=(Phase("train", 1, 2),),
        confusion=((1, 0), (2, 3)),
        epochs=(Epoch(1, loss, 0.75),),
    )


def test_a_result_appears_whole_and_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    a_result().write(path)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "schema": "tinywatt.result.v1",
        "framework": {"name": "own", "version": "1"},
        "artifacts": [{"role": "model", "file": "model.bin"}],
        "phases": [{"phase": "train", "start_mono_ns": 1, "end_mono_ns": 2}],
        "confusion": [[1, 0], [2, 3]],
        "epochs": [{"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.75}],
        "notes": [],
    }
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_result_that_json_cannot_hold_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="not finite"):
        a_result(loss=float("nan")).write(tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_appended_line_by_line_and_not_too_often(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "progress.jsonl")
    progress.occasionally(fraction=0.1)
    progress.occasionally(fraction=0.2)
    progress.line(phase="train", loss=float("inf"), epoch=1)
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == [{"fraction": 0.1}, {"phase": "train", "epoch": 1}]


def test_phases_follow_each_other() -> None:
    timer = PhaseTimer()
    with timer.measure("train"):
        pass
    with timer.measure("evaluate"):
        pass
    first, second = timer.phases
    assert first.start_mono_ns <= first.end_mono_ns <= second.start_mono_ns <= second.end_mono_ns
    assert (first.phase, second.phase) == ("train", "evaluate")


@pytest.mark.parametrize("arguments", [[], ["keras"], ["caffe", "job.json"], ["keras", "job.json", "more"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == "usage: python -m tinywatt_trainers keras|torch JOB.json\n"


def test_a_broken_job_ends_with_1_and_a_line_per_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.json").write_text("{}", encoding="utf-8")
    assert main(["keras", str(tmp_path / "job.json")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 5
    assert all(line.startswith("error: job.json: `") for line in lines)


def test_a_missing_framework_is_told_with_the_way_to_install_it(
    members: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib, "import_module", missing)
    (tmp_path / "job.json").write_text(json.dumps(members), encoding="utf-8")
    assert main(["torch", str(tmp_path / "job.json")]) == 1
    assert "`collector trainer install torch`" in capsys.readouterr().err


def test_a_full_disk_is_told_in_one_line(
    members: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full:
        @staticmethod
        def run(_job: Job, progress: Progress) -> Result:
            progress.line(phase="train")
            return a_result()

    monkeypatch.setattr(importlib, "import_module", lambda _name: Full)
    (tmp_path / "job.json").write_text(json.dumps({**members, "progress": "/dev/full"}), encoding="utf-8")
    assert main(["keras", str(tmp_path / "job.json")]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {tmp_path}: No space left on device"
