"""Training is a function of data and seed, and what it saves is what it trained."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import TYPE_CHECKING, Final

import pytest

pytest.importorskip("torch", reason="the environment of the torch trainer is not installed")

import torch

from tests.conftest import DIGITS, DIGITS_CONFIG, TRAIN_CONFIG, Done, digits
from tinywatt_trainers import inputs as input_sets
from tinywatt_trainers.architecture import architecture_from
from tinywatt_trainers.job import InputFile, Scaling
from tinywatt_trainers.torch import checkpoint, torchscript
from tinywatt_trainers.torch.network import build
from tinywatt_trainers.torch.training import logits_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import fx

    Do = Callable[..., Done]

pytestmark = pytest.mark.filterwarnings("ignore")

SHORT: Final = {**TRAIN_CONFIG, "epochs": 2}
SCALING: Final = Scaling(0.0625, 0.0)
# Folding batch normalisation into convolutions moves the last bits.
TOLERANCE: Final = 1e-4


# Small, with everything that behaves otherwise in training.
WITH_DROPOUT: Final = {
    "name": "with-dropout",
    "input": [8, 8, 1],
    "class_count": 10,
    "parameter_count": 94,
    "layers": [
        {"op": "conv2d", "filters": 4, "kernel": 3, "bias": False},
        {"op": "batch_norm"},
        {"op": "relu"},
        {"op": "global_average_pool"},
        {"op": "dropout", "rate": 0.5},
        {"op": "dense", "units": 10, "bias": True},
    ],
}


def checkpoint_of(done: Done) -> Path:
    return done.folder / "out" / checkpoint.FILE


def model_of(done: Done) -> Path:
    return done.folder / "out" / torchscript.FILE


def digest(done: Done) -> str:
    """Of all weights and of the optimiser's state."""
    state = torch.load(checkpoint_of(done), weights_only=True)
    total = hashlib.sha256()
    for key, value in sorted(state["model"].items()):
        total.update(key.encode() + value.contiguous().numpy().tobytes())
    for moments in state["optimiser"]["state"].values():
        total.update(moments["exp_avg"].contiguous().numpy().tobytes())
    return total.hexdigest()


def restored(done: Done) -> fx.GraphModule:
    path = checkpoint_of(done)
    architecture = architecture_from("digits-tiny", "test")
    network = build(architecture, 99)
    checkpoint.restore(InputFile(path, hashlib.sha256(path.read_bytes()).hexdigest()), architecture, network)
    return network.eval()


def test_a_network_learns_the_digits(trained: Done) -> None:
    assert trained.accuracy > 0.93
    result = trained.result
    assert result["framework"] == {"name": "torch", "version": torch.__version__}
    assert [phase["phase"] for phase in result["phases"]] == ["train", "evaluate"]
    assert result["artifacts"] == [
        {"role": "model", "file": "model.pt"},
        {"role": "checkpoint", "file": "checkpoint.pt"},
    ]
    assert result["parameter_count"] == 3682
    assert [epoch["epoch"] for epoch in result["epochs"]] == list(range(1, TRAIN_CONFIG["epochs"] + 1))
    lines = [json.loads(line) for line in (trained.folder / "progress.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "accuracy" in line] == list(range(1, TRAIN_CONFIG["epochs"] + 1))


def test_the_saved_model_answers_as_the_network_does(trained: Done) -> None:
    test = input_sets.parse((DIGITS / "test.twin").read_bytes(), "test.twin")
    cpu = torch.device("cpu")
    eager = logits_of(restored(trained), test, SCALING, cpu)
    saved = logits_of(torchscript.read(model_of(trained)), test, SCALING, cpu)
    assert torch.allclose(eager, saved, atol=TOLERANCE)
    right_count = int((saved.argmax(dim=1) == torch.from_numpy(test.labels)).sum())
    assert right_count / len(test) == trained.accuracy


def test_the_saved_model_describes_itself(trained: Done) -> None:
    assert torchscript.description(model_of(trained)) == {
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


def test_the_description_is_where_a_reader_of_zips_finds_it(trained: Done) -> None:
    with zipfile.ZipFile(model_of(trained)) as archive:
        (name,) = (
            name for name in archive.namelist() if name.count("/") == 2 and name.endswith("/extra/tinywatt.json")
        )
        assert json.loads(archive.read(name)) == torchscript.description(model_of(trained))


def test_a_seed_decides_everything(do: Do) -> None:
    first, second, other = (do("train", SHORT, seed=seed) for seed in (5, 5, 6))
    assert digest(first) == digest(second) != digest(other)


def test_training_goes_on_where_a_checkpoint_ends(do: Do) -> None:
    config = {**SHORT, "architecture": WITH_DROPOUT}
    whole = do("train", config)
    half = do("train", {**config, "epochs": 1})
    resumed = do("train", config, parent=checkpoint_of(half))
    assert [epoch["epoch"] for epoch in resumed.result["epochs"]] == [2]
    assert digest(resumed) == digest(whole) != digest(half)


def test_a_checkpoint_beyond_the_epochs_is_refused(
    run_job: Do, trained: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job("torch", "train", SHORT, digits(parent=checkpoint_of(trained))).code == 1
    assert "`epochs` is 2, and the parent was trained for 8" in capsys.readouterr().err


def test_validation_inputs_are_asked_after_each_epoch(do: Do) -> None:
    done = do("train", SHORT, validation=DIGITS / "test.twin")
    assert all({"validation_loss", "validation_accuracy"} <= epoch.keys() for epoch in done.result["epochs"])
    assert done.result["epochs"][-1]["validation_accuracy"] == pytest.approx(done.accuracy)


def test_a_teacher_changes_what_is_learned(do: Do, trained: Done) -> None:
    taught = do("train", {**SHORT, "teacher": "digits-tiny", "alpha": 0.1}, teacher=checkpoint_of(trained))
    assert digest(taught) != digest(do("train", SHORT))
    assert taught.accuracy > 0.5


def test_a_loss_that_is_no_number_ends_training(run_job: Do, capsys: pytest.CaptureFixture[str]) -> None:
    steep = [{"op": "flatten"}, *({"op": "dense", "units": 10, "bias": False} for _ in range(12))]
    own = {"name": "own", "input": [8, 8, 1], "class_count": 10, "parameter_count": 1740, "layers": steep}
    config = {**SHORT, "architecture": own, "learning_rate": 1e3, "input_scale": 1e6}
    assert run_job("torch", "train", config).code == 1
    assert "is not a number: take a smaller `learning_rate`" in capsys.readouterr().err


def test_a_built_module_is_untrained_and_switches_between_training_and_evaluation(do: Do) -> None:
    done = do("build", {**SHORT, "architecture": WITH_DROPOUT})
    assert done.result["artifacts"] == [{"role": "model", "file": "model.pt"}]
    assert torchscript.description(model_of(done))["technique"] == "untrained"
    module = torchscript.read(model_of(done))
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
    run_job: Do, trained: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**DIGITS_CONFIG, "architecture": "resnet8", "technique": "dynamic"}
    assert run_job("torch", "optimise", config, digits(parent=checkpoint_of(trained))).code == 1
    assert "holds the weights of `digits-tiny`, which do not fit `resnet8`" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_checkpoint_is_refused(
    run_job: Do, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    other = tmp_path / "checkpoint.pt"
    other.write_bytes(content)
    config = {**DIGITS_CONFIG, "technique": "dynamic"}
    assert run_job("torch", "optimise", config, digits(parent=other)).code == 1
    assert "is no checkpoint of torch" in capsys.readouterr().err


def test_a_deployable_model_is_no_checkpoint(run_job: Do, trained: Done, capsys: pytest.CaptureFixture[str]) -> None:
    config = {**DIGITS_CONFIG, "technique": "dynamic"}
    assert run_job("torch", "optimise", config, digits(parent=model_of(trained))).code == 1
    assert "is no checkpoint of" in capsys.readouterr().err


def test_a_missing_gpu_is_told(
    run_job: Do, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_job("torch", "train", SHORT, device="gpu").code == 1
    assert "`device` is `gpu`, and torch" in capsys.readouterr().err
