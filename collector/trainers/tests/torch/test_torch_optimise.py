"""Optimised models answer nearly as their parent, and say what they need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

pytest.importorskip("torch", reason="the environment of the torch trainer is not installed")

import torch

from tests.conftest import DIGITS, DIGITS_CONFIG, Done, digits
from tinywatt_trainers import inputs as input_sets
from tinywatt_trainers.architecture import architecture_from
from tinywatt_trainers.job import Scaling
from tinywatt_trainers.torch import checkpoint, quantise, runtime, torchscript
from tinywatt_trainers.torch.network import build
from tinywatt_trainers.torch.trainer import TECHNIQUES
from tinywatt_trainers.torch.training import confusion_of, logits_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Do = Callable[..., Done]

pytestmark = pytest.mark.filterwarnings("ignore")

# A quantised model further below its parent than this is a broken pipeline, not a property of the technique.
QUALITY_LOSS_MAX: Final = 0.03
SCALING: Final = Scaling(0.0625, 0.0)
CPU: Final = torch.device("cpu")


def optimised(do: Do, trained: Done, technique: str, **more: float | str) -> tuple[Done, Path, float]:
    """What was done, the file, and what was lost of the parent's accuracy."""
    config = {**DIGITS_CONFIG, "technique": technique, **more}
    done = do("optimise", config, parent=trained.folder / "out" / checkpoint.FILE)
    (artifact,) = done.result["artifacts"]
    assert artifact["role"] == "model"
    assert [phase["phase"] for phase in done.result["phases"]] == ["optimise", "evaluate"]
    return done, done.folder / "out" / artifact["file"], trained.accuracy - done.accuracy


def digits_for_tests() -> input_sets.InputSet:
    return input_sets.parse((DIGITS / "test.twin").read_bytes(), "test.twin")


@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_a_static_model_stays_close_to_its_parent_and_names_its_engine(do: Do, trained: Done, engine: str) -> None:
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"torch has no {engine} on this machine")
    done, path, lost = optimised(do, trained, f"static-{engine}")
    assert lost <= QUALITY_LOSS_MAX
    described = torchscript.description(path)
    assert (described["engine"], described["technique"]) == (engine, f"static-{engine}")
    runtime.use_engine(engine)
    test = digits_for_tests()
    assert [list(row) for row in confusion_of(torchscript.read(path), test, SCALING, CPU)] == done.result["confusion"]


def test_nothing_in_a_static_model_is_computed_in_reals(do: Do, trained: Done) -> None:
    _, path, _ = optimised(do, trained, "static-qnnpack")
    code = str(torchscript.read(path).inlined_graph)
    assert code.count("aten::quantize_per_tensor") == 1
    assert code.count("aten::dequantize") == 1
    assert "aten::conv2d" not in code
    assert "batch_norm" not in code


def test_padding_before_a_stride_stays_in_bytes() -> None:
    architecture = architecture_from("resnet8", "test")
    network = build(architecture, 1).eval()
    batch = torch.randn(4, *architecture.input_shape)
    quantised = quantise.static(network, "qnnpack", (batch,))
    code = str(torchscript.scripted(quantised).inlined_graph)
    assert code.count("aten::quantize_per_tensor") == 1
    with torch.no_grad():
        assert (quantised(batch) - network(batch)).abs().max() < 0.1 * network(batch).abs().max()


def test_a_model_for_the_other_engine_is_not_the_same_model(do: Do, trained: Done) -> None:
    if not {"fbgemm", "qnnpack"} <= set(torch.backends.quantized.supported_engines):
        pytest.skip("torch has one engine on this machine")
    _, path, _ = optimised(do, trained, "static-qnnpack")
    test = digits_for_tests()
    answers = {}
    for engine in ("qnnpack", "fbgemm"):
        runtime.use_engine(engine)
        answers[engine] = logits_of(torchscript.read(path), test, SCALING, CPU)
    assert not torch.equal(answers["qnnpack"], answers["fbgemm"])


@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_a_dynamic_model_has_its_dense_layers_in_bytes(do: Do, trained: Done, engine: str) -> None:
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"torch has no {engine} on this machine")
    done, path, lost = optimised(do, trained, "dynamic", engine=engine)
    assert lost <= QUALITY_LOSS_MAX
    assert torchscript.description(path)["engine"] == engine
    assert "quantized::linear_dynamic" in str(torchscript.read(path).inlined_graph)
    assert "hold 65.5% of the parameters" in done.result["notes"][0]


def test_a_pruned_model_has_the_zeros_that_were_asked_for(do: Do, trained: Done) -> None:
    done, path, lost = optimised(
        do, trained, "pruned", sparsity=0.5, fine_tune_epochs=4, learning_rate=2e-3, batch_size=32
    )
    assert lost <= QUALITY_LOSS_MAX
    assert done.result["notes"][0].startswith("50.0% of the weights are zero")
    assert torchscript.description(path)["engine"] == "none"


def test_an_executorch_program_stays_close_to_its_parent(do: Do, trained: Done) -> None:
    pytest.importorskip("executorch")
    done, path, lost = optimised(do, trained, "executorch-int8", calibration_count=60)
    assert path.name == "model.pte"
    assert path.read_bytes()[4:8] == b"ET12"
    assert lost <= QUALITY_LOSS_MAX
    assert "torchao" in done.result["notes"][0]
    assert done.result["notes"][1].endswith("aten.view_copy.default")


def test_an_unknown_technique_names_the_known_ones(run_job: Do, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job("torch", "optimise", {**DIGITS_CONFIG, "technique": "full-integer"}).code == 1
    told = capsys.readouterr().err
    assert "`technique` is `full-integer`" in told
    assert all(f"`{technique}`" in told for technique in TECHNIQUES)


def test_an_unknown_engine_is_refused(run_job: Do, trained: Done, capsys: pytest.CaptureFixture[str]) -> None:
    config = {**DIGITS_CONFIG, "technique": "dynamic", "engine": "warp"}
    parent = trained.folder / "out" / checkpoint.FILE
    assert run_job("torch", "optimise", config, digits(parent=parent)).code == 1
    assert "`engine` is `warp`, and must be one of `fbgemm`, `qnnpack`" in capsys.readouterr().err


def test_a_missing_parent_is_told(run_job: Do, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job("torch", "optimise", {**DIGITS_CONFIG, "technique": "dynamic"}).code == 1
    assert "`parent` is missing" in capsys.readouterr().err


def test_a_key_that_nobody_reads_is_noted(do: Do, trained: Done) -> None:
    done, _, _ = optimised(do, trained, "dynamic", warmth=3)
    assert "`warmth` is not known to this trainer" in done.result["notes"][0]
