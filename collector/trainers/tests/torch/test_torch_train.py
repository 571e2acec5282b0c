"""Training is a function of data and seed, and what it saves is what it trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from conftest import CONFIG, DIGITS, TRAIN_CONFIG, Workshop

from tinywatt_trainers import inputs
from tinywatt_trainers.__main__ import main
from tinywatt_trainers.architecture import architecture_from
from tinywatt_trainers.confusion import accuracy
from tinywatt_trainers.job import InputFile, Scaling
from tinywatt_trainers.torch import checkpoint, torchscript
from tinywatt_trainers.torch.network import build
from tinywatt_trainers.torch.training import logits_of

if TYPE_CHECKING:
    from torch import fx

SHORT = TRAIN_CONFIG | {"epochs": 2}
SCALING = Scaling(CONFIG["input_scale"], CONFIG["input_offset"])  # type: ignore[arg-type]
# Folding batch normalisation into convolutions moves the last bits.
TOLERANCE = 1e-4


def digest(output_dir: Path) -> str:
    """Of all weights and of the optimiser's state."""
    state = torch.load(output_dir / checkpoint.FILE, weights_only=True)
    total = hashlib.sha256()
    for key, value in sorted(state["model"].items()):
        total.update(key.encode() + value.contiguous().numpy().tobytes())
    for moments in state["optimiser"]["state"].values():
        total.update(moments["exp_avg"].contiguous().numpy().tobytes())
    return total.hexdigest()


def restored(output_dir: Path) -> fx.GraphModule:
    path = output_dir / checkpoint.FILE
    architecture = architecture_from("digits-tiny", "test")
    network = build(architecture, 99)
    file = InputFile(path, hashlib.sha256(path.read_bytes()).hexdigest())
    checkpoint.restore(file, architecture, network)
    return network.eval()


def test_a_network_learns_the_digits(trained: tuple[dict[str, Any], Path]) -> None:
    result, output_dir = trained
    assert accuracy(result["confusion"]) > 0.93
    assert result["framework"] == {"name": "torch", "version": torch.__version__}
    assert [phase["phase"] for phase in result["phases"]] == ["train", "evaluate"]
    assert result["artifacts"] == [
        {"role": "model", "file": "model.pt"},
        {"role": "checkpoint", "file": "checkpoint.pt"},
    ]
    assert len(result["epochs"]) == TRAIN_CONFIG["epochs"]
    assert result["parameter_count"] == 3682
    lines = [json.loads(line) for line in (output_dir.parent / "progress.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line.get("text")] == list(range(1, 9))


def test_the_saved_model_answers_as_the_network_does(trained: tuple[dict[str, Any], Path]) -> None:
    result, output_dir = trained
    test = inputs.parse((DIGITS / "test.twin").read_bytes(), "test.twin")
    cpu = torch.device("cpu")
    eager = logits_of(restored(output_dir), test, SCALING, cpu)
    saved = logits_of(torchscript.read(output_dir / torchscript.FILE), test, SCALING, cpu)
    assert torch.allclose(eager, saved, atol=TOLERANCE)
    right_count = int((saved.argmax(dim=1) == torch.from_numpy(test.labels)).sum())
    assert right_count / len(test) == accuracy(result["confusion"])


def test_the_saved_model_describes_itself(trained: tuple[dict[str, Any], Path]) -> None:
    assert torchscript.description(trained[1] / torchscript.FILE) == {
        "schema": "tinywatt.model.v1",
        "runtime": "torchscript",
        "engine": "none",
        "technique": "float32",
        "input_shape": [1, 8, 8, 1],
        "input_dtype": "float32",
        "class_count": 10,
        "parameter_count": 3682,
        "mac_count": 25408,
    }


def test_a_seed_decides_everything(workshop: Workshop) -> None:
    digests = [digest(workshop.do("train", SHORT, seed)[1]) for seed in (5, 5, 6)]
    assert digests[0] == digests[1] != digests[2]


def test_training_goes_on_where_a_checkpoint_ends(workshop: Workshop) -> None:
    _, whole = workshop.do("train", SHORT)
    _, half = workshop.do("train", SHORT | {"epochs": 1})
    result, resumed = workshop.do("train", SHORT, parent=half / checkpoint.FILE)
    assert [epoch["epoch"] for epoch in result["epochs"]] == [2]
    assert digest(resumed) == digest(whole) != digest(half)


def test_validation_inputs_are_asked_after_each_epoch(workshop: Workshop) -> None:
    result, _ = workshop.do("train", SHORT, validation=DIGITS / "test.twin")
    assert all({"validation_loss", "validation_accuracy"} <= epoch.keys() for epoch in result["epochs"])
    assert result["epochs"][-1]["validation_accuracy"] == pytest.approx(accuracy(result["confusion"]))


def test_a_teacher_changes_what_is_learned(workshop: Workshop, trained: tuple[dict[str, Any], Path]) -> None:
    taught = SHORT | {"teacher": "digits-tiny", "alpha": 0.1}
    result, with_teacher = workshop.do("train", taught, teacher=trained[1] / checkpoint.FILE)
    _, alone = workshop.do("train", SHORT)
    assert digest(with_teacher) != digest(alone)
    assert accuracy(result["confusion"]) > 0.5


def test_a_built_module_is_untrained_and_switches_between_training_and_evaluation(workshop: Workshop) -> None:
    layers: list[dict[str, Any]] = [
        {"op": "conv2d", "filters": 4, "kernel": 3, "bias": False},
        {"op": "batch_norm"},
        {"op": "relu"},
        {"op": "global_average_pool"},
        {"op": "dropout", "rate": 0.5},
        {"op": "dense", "units": 10, "bias": True},
    ]
    own = {"name": "own", "input": [8, 8, 1], "class_count": 10, "parameter_count": 94, "layers": layers}
    result, output_dir = workshop.do("build", SHORT | {"architecture": own})
    assert result["artifacts"] == [{"role": "model", "file": "model.pt"}]
    assert torchscript.description(output_dir / torchscript.FILE)["technique"] == "untrained"
    module = torchscript.read(output_dir / torchscript.FILE)
    assert module.training
    assert sum(parameter.numel() for parameter in module.parameters()) == 94
    batch = torch.randn(16, 8, 8, 1)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert not torch.equal(module(batch), module(batch)), "dropout is off in training"
    assert not torch.equal(before["layer_1.running_mean"], module.state_dict()["layer_1.running_mean"])
    module.eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    assert torch.equal(module(batch), module(batch)), "dropout is on in evaluation"
    assert torch.equal(before["layer_1.running_mean"], module.state_dict()["layer_1.running_mean"])
    # Convolutions run channels last for whoever loads the file, which trains faster.
    assert module.state_dict()["layer_0.weight"].is_contiguous(memory_format=torch.channels_last)


def test_a_checkpoint_of_another_architecture_is_refused(
    workshop: Workshop, trained: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**SHORT, "architecture": "resnet8", "technique": "dynamic"}
    path, _ = workshop.job("optimise", config, parent=trained[1] / checkpoint.FILE)
    assert main(["torch", str(path)]) == 1
    assert "holds the weights of `digits-tiny`, which do not fit `resnet8`" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_checkpoint_is_refused(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    other = tmp_path / "checkpoint.pt"
    other.write_bytes(content)
    path, _ = workshop.job("optimise", {**CONFIG, "technique": "dynamic"}, parent=other)
    assert main(["torch", str(path)]) == 1
    assert "is no checkpoint of torch" in capsys.readouterr().err


def test_a_missing_gpu_is_told(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = workshop.job("train", SHORT)
    path.write_text(path.read_text().replace('"cpu"', '"gpu"'))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["torch", str(path)]) == 1
    assert "`device` is `gpu`, and torch" in capsys.readouterr().err
