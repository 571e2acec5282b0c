"""Optimised models answer nearly as their parent, and say what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CONFIG, DIGITS, Workshop

from tinywatt_trainers import inputs
from tinywatt_trainers.__main__ import main
from tinywatt_trainers.confusion import accuracy
from tinywatt_trainers.job import Scaling
from tinywatt_trainers.torch import checkpoint, runtime, torchscript
from tinywatt_trainers.torch.training import confusion_of, logits_of

# DESIGN: an optimised model that loses more than three points is suspect.
LOSS_MAX = 0.03
SCALING = Scaling(CONFIG["input_scale"], CONFIG["input_offset"])  # type: ignore[arg-type]
CPU = torch.device("cpu")


def optimised(
    workshop: Workshop, trained: tuple[dict[str, Any], Path], technique: str, **more: float | str
) -> tuple[dict[str, Any], Path, float]:
    """Result, file, and what was lost of the parent's accuracy."""
    config = {**CONFIG, "technique": technique, **more}
    result, output_dir = workshop.do("optimise", config, parent=trained[1] / checkpoint.FILE)
    assert [artifact["role"] for artifact in result["artifacts"]] == ["model"]
    assert [phase["phase"] for phase in result["phases"]] == ["optimise", "evaluate"]
    lost = accuracy(trained[0]["confusion"]) - accuracy(result["confusion"])
    return result, output_dir / result["artifacts"][0]["file"], lost


@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_a_static_model_stays_close_to_its_parent_and_names_its_engine(
    workshop: Workshop, trained: tuple[dict[str, Any], Path], engine: str
) -> None:
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"torch has no {engine} on this machine")
    result, path, lost = optimised(workshop, trained, f"static-{engine}")
    assert lost <= LOSS_MAX
    described = torchscript.description(path)
    assert (described["engine"], described["technique"]) == (engine, f"static-{engine}")
    runtime.use_engine(engine)
    test = inputs.parse((DIGITS / "test.twin").read_bytes(), "test.twin")
    assert [list(row) for row in confusion_of(torchscript.read(path), test, SCALING, CPU)] == result["confusion"]


def test_nothing_in_a_static_model_is_computed_in_reals(
    workshop: Workshop, trained: tuple[dict[str, Any], Path]
) -> None:
    _, path, _ = optimised(workshop, trained, "static-qnnpack")
    code = str(torchscript.read(path).inlined_graph)
    assert code.count("aten::quantize_per_tensor") == 1
    assert code.count("aten::dequantize") == 1
    assert "aten::conv2d" not in code
    assert "batch_norm" not in code


def test_padding_before_a_stride_stays_in_bytes(workshop: Workshop, trained: tuple[dict[str, Any], Path]) -> None:
    from tinywatt_trainers.architecture import architecture_from
    from tinywatt_trainers.torch import quantise
    from tinywatt_trainers.torch.network import build

    architecture = architecture_from("resnet8", "test")
    network = build(architecture, 1).eval()
    batch = torch.randn(4, *architecture.input_shape)
    quantised = quantise.static(network, "qnnpack", (batch,))
    code = str(torchscript.scripted(quantised).inlined_graph)
    assert code.count("aten::quantize_per_tensor") == 1
    with torch.no_grad():
        assert (quantised(batch) - network(batch)).abs().max() < 0.1 * network(batch).abs().max()


def test_a_model_for_the_other_engine_is_not_the_same_model(
    workshop: Workshop, trained: tuple[dict[str, Any], Path]
) -> None:
    if not {"fbgemm", "qnnpack"} <= set(torch.backends.quantized.supported_engines):
        pytest.skip("torch has one engine on this machine")
    _, path, _ = optimised(workshop, trained, "static-qnnpack")
    test = inputs.parse((DIGITS / "test.twin").read_bytes(), "test.twin")
    answers = {}
    for engine in ("qnnpack", "fbgemm"):
        runtime.use_engine(engine)
        answers[engine] = logits_of(torchscript.read(path), test, SCALING, CPU)
    assert not torch.equal(answers["qnnpack"], answers["fbgemm"])


@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_a_dynamic_model_has_its_dense_layers_in_bytes(
    workshop: Workshop, trained: tuple[dict[str, Any], Path], engine: str
) -> None:
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"torch has no {engine} on this machine")
    result, path, lost = optimised(workshop, trained, "dynamic", engine=engine)
    assert lost <= LOSS_MAX
    assert torchscript.description(path)["engine"] == engine
    assert "quantized::linear_dynamic" in str(torchscript.read(path).inlined_graph)
    assert "hold 65.5% of the parameters" in result["notes"][0]


def test_a_pruned_model_has_the_zeros_that_were_asked_for(
    workshop: Workshop, trained: tuple[dict[str, Any], Path]
) -> None:
    result, path, lost = optimised(
        workshop, trained, "pruned", sparsity=0.5, fine_tune_epochs=4, learning_rate=2e-3, batch_size=32
    )
    assert lost <= LOSS_MAX
    assert result["notes"][0].startswith("50.0% of the weights are zero")
    assert torchscript.description(path)["engine"] == "none"


def test_an_executorch_program_stays_close_to_its_parent(
    workshop: Workshop, trained: tuple[dict[str, Any], Path]
) -> None:
    pytest.importorskip("executorch")
    result, path, lost = optimised(workshop, trained, "executorch-int8", calibration_count=60)
    assert path.name == "model.pte"
    assert path.read_bytes()[4:8] == b"ET12"
    assert lost <= LOSS_MAX
    assert "torchao" in result["notes"][0]
    assert result["notes"][1].endswith("aten.view_copy.default")


def test_an_unknown_technique_names_the_known_ones(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = workshop.job("optimise", {**CONFIG, "technique": "full-integer"})
    assert main(["torch", str(path)]) == 1
    told = capsys.readouterr().err
    assert "`technique` is `full-integer`" in told
    for technique in ("static-fbgemm", "static-qnnpack", "dynamic", "pruned", "executorch-int8"):
        assert f"`{technique}`" in told


def test_an_unknown_engine_is_refused(
    workshop: Workshop, trained: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config = {**CONFIG, "technique": "dynamic", "engine": "warp"}
    path, _ = workshop.job("optimise", config, parent=trained[1] / checkpoint.FILE)
    assert main(["torch", str(path)]) == 1
    assert "`engine` is `warp`, and must be one of `fbgemm`, `qnnpack`" in capsys.readouterr().err


def test_a_missing_parent_is_told(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = workshop.job("optimise", {**CONFIG, "technique": "dynamic"})
    assert main(["torch", str(path)]) == 1
    assert "`parent` is missing" in capsys.readouterr().err


def test_a_key_that_nobody_reads_is_noted(workshop: Workshop, trained: tuple[dict[str, Any], Path]) -> None:
    result, _, _ = optimised(workshop, trained, "static-fbgemm", warmth=3)
    assert "`warmth` is not known to the torch trainer" in result["notes"][0]
