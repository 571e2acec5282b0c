"""The Keras trainer, on the digits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the environment of the Keras trainer is not installed")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["OMP_NUM_THREADS"] = "1"

import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tests.conftest import DIGITS, DIGITS_CONFIG, TRAIN_CONFIG, Done, digits
from tinywatt_trainers import inputs as input_sets
from tinywatt_trainers import seeds
from tinywatt_trainers.architecture import architecture_from, parse, shipped_names
from tinywatt_trainers.job import Scaling
from tinywatt_trainers.keras.convert import answers
from tinywatt_trainers.keras.fine_tune import nearest_centroids, quantisation_aware
from tinywatt_trainers.keras.network import Network, build, without_batch_norm
from tinywatt_trainers.keras.trainer import TECHNIQUES
from tinywatt_trainers.keras.training import distillation_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    RunJob = Callable[..., Done]

# TensorFlow takes these once; jobs in this process must ask for the same.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

SCALING: Final = Scaling(0.0625, 0.0)
# A quantised model further below its parent than this is a broken pipeline, not a property of the technique.
QUALITY_LOSS_MAX: Final = 0.03


@pytest.fixture(scope="module")
def parent(run_job: RunJob) -> Done:
    done = run_job("keras", "train", TRAIN_CONFIG, digits(validation=DIGITS / "test.twin"))
    assert done.code == 0
    return done


@pytest.fixture(scope="module")
def optimised(run_job: RunJob, parent: Done) -> Callable[[str], Done]:
    finished: dict[str, Done] = {}

    def of(technique: str) -> Done:
        if technique not in finished:
            config = {**DIGITS_CONFIG, "technique": technique, "batch_size": 32, "learning_rate": 0.001}
            config |= {"fine_tune_epochs": 3}
            finished[technique] = run_job("keras", "optimise", config, digits(parent=checkpoint_of(parent)))
        return finished[technique]

    return of


def checkpoint_of(done: Done) -> Path:
    return done.folder / "out" / "checkpoint.keras"


def network_of(done: Done) -> Network:
    network = build(architecture_from("digits-tiny", ""))
    network.model.set_weights(tf.keras.models.load_model(checkpoint_of(done)).get_weights())
    return network


def interpreter_of(model: bytes) -> Any:  # noqa: ANN401 - it has no types
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def kernels_of(model: bytes) -> list[NDArray[Any]]:
    """The weights of a `.tflite` file's layers, without the biases."""
    interpreter = interpreter_of(model)
    tensors = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "FULLY_CONNECTED"):
            tensors.append(interpreter.get_tensor(operator["inputs"][1]))
    return tensors


@pytest.mark.parametrize("name", shipped_names())
def test_keras_counts_the_parameters_that_the_description_says(name: str) -> None:
    architecture = architecture_from(name, "")
    model = build(architecture).model
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == architecture.parameter_count
    assert model.count_params() == architecture.parameter_count + architecture.statistic_count
    assert model.output_shape == (None, architecture.class_count)


def test_all_ops_compute_the_shapes_that_the_description_infers() -> None:
    layers = [
        {"id": "a", "op": "conv2d", "filters": 4, "kernel": 3, "stride": 2, "bias": False},
        {"op": "batch_norm"},
        {"op": "relu"},
        {"id": "b", "op": "depthwise_conv2d", "kernel": 3, "stride": 1},
        {"op": "add", "from": ["a", "b"]},
        {"op": "dropout", "rate": 0.5},
        {"op": "max_pool", "size": 2},
        {"id": "c", "op": "depthwise_conv2d", "kernel": 2, "stride": 3, "bias": False},
        {"op": "global_average_pool"},
        {"op": "dense", "units": 5},
    ]
    description = {"name": "own", "input": [9, 8, 3], "class_count": 5, "parameter_count": 197, "layers": layers}
    architecture = parse(description, "own")
    network = build(architecture)
    for layer in architecture.layers:
        assert network.layers[layer.id].output.shape[1:] == layer.output_shape, layer


def test_training_learns_and_says_what_the_contract_asks(parent: Done) -> None:
    result = parent.result
    assert result["schema"] == "tinywatt.result.v1"
    assert result["framework"] == {"name": "tensorflow", "version": tf.__version__}
    assert result["artifacts"] == [
        {"role": "model", "file": "model.tflite"},
        {"role": "checkpoint", "file": "checkpoint.keras"},
    ]
    assert sorted(file.name for file in (parent.folder / "out").iterdir()) == ["checkpoint.keras", "model.tflite"]
    assert [phase["phase"] for phase in result["phases"]] == ["train", "evaluate"]
    assert (result["parameter_count"], result["mac_count"]) == (3682, 25408)
    assert len(result["epochs"]) == TRAIN_CONFIG["epochs"]
    assert result["epochs"][-1]["train_loss"] < result["epochs"][0]["train_loss"] / 4
    # Validation was on the test inputs here, so the last one is what was counted.
    assert result["epochs"][-1]["validation_accuracy"] == pytest.approx(parent.accuracy)
    assert parent.accuracy > 0.9
    assert result["memory_bytes_peak"] > 50e6
    lines = (parent.folder / "progress.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum("on the validation inputs" in line for line in lines) == TRAIN_CONFIG["epochs"]


def test_the_deployable_file_takes_one_input_and_answers_as_the_model_did(parent: Done) -> None:
    interpreter = interpreter_of(parent.model)
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 8, 8, 1]
    assert interpreter.get_output_details()[0]["shape"].tolist() == [1, 10]
    # Normalisations are folded, and weights lie in the file as constants.
    operators = [
        operator["op_name"] for operator in interpreter._get_ops_details() if operator["op_name"] != "DELEGATE"
    ]
    pooled = ["CONV_2D", "MAX_POOL_2D", "CONV_2D", "MAX_POOL_2D"]
    assert operators == [*pooled, "RESHAPE", "FULLY_CONNECTED", "FULLY_CONNECTED"]
    assert len(parent.model) > 4 * 3682
    test = input_sets.parse((DIGITS / "test.twin").read_bytes(), "test.twin")
    right = answers(parent.model, test, SCALING, 1) == test.labels
    assert float(right.mean()) == pytest.approx(parent.accuracy, abs=1 / 450)


def test_the_checkpoint_holds_the_optimisers_state(parent: Done) -> None:
    loaded = tf.keras.models.load_model(checkpoint_of(parent))
    step_count = TRAIN_CONFIG["epochs"] * -(-1347 // TRAIN_CONFIG["batch_size"])
    assert int(loaded.optimizer.iterations) == step_count
    assert checkpoint_of(parent).stat().st_size > 3 * 4 * 3682


def test_one_seed_gives_one_model_and_another_seed_another(run_job: RunJob) -> None:
    # Dropout and a last, smaller batch are where chance could come in.
    layers = [
        {"op": "conv2d", "filters": 4, "kernel": 3, "stride": 2, "bias": False},
        {"op": "batch_norm"},
        {"op": "relu"},
        {"op": "dropout", "rate": 0.5},
        {"op": "flatten"},
        {"op": "dense", "units": 10},
    ]
    own = {"name": "own", "input": [8, 8, 1], "class_count": 10, "parameter_count": 694, "layers": layers}
    config = {**TRAIN_CONFIG, "architecture": own, "epochs": 2}
    first, again, other = (run_job("keras", "train", config, seed=seed) for seed in (11, 11, 12))
    assert (first.code, again.code, other.code) == (0, 0, 0)
    weights = [tf.keras.models.load_model(checkpoint_of(done)).get_weights() for done in (first, again, other)]
    assert all(np.array_equal(one, two) for one, two in zip(weights[0], weights[1], strict=True))
    assert not np.array_equal(weights[0][0], weights[2][0])
    assert first.model == again.model
    assert first.model != other.model
    assert first.result["epochs"] == again.result["epochs"]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_technique_keeps_the_parents_quality(
    technique: str, parent: Done, optimised: Callable[[str], Done]
) -> None:
    done = optimised(technique)
    assert done.code == 0
    assert done.result["artifacts"] == [{"role": "model", "file": "model.tflite"}]
    assert done.result["phases"][0]["phase"] == "optimise"
    test = input_sets.parse((DIGITS / "test.twin").read_bytes(), "test.twin")
    right = answers(done.model, test, SCALING, 1) == test.labels
    assert float(right.mean()) >= parent.accuracy - QUALITY_LOSS_MAX
    if technique != "int16x8":
        assert done.accuracy == pytest.approx(float(right.mean()))


def test_techniques_do_what_they_are_called(parent: Done, optimised: Callable[[str], Done]) -> None:
    def io_types(technique: str) -> tuple[str, str]:
        interpreter = interpreter_of(optimised(technique).model)
        details = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        return details[0]["dtype"].__name__, details[1]["dtype"].__name__

    assert optimised("float32").model == parent.model
    for technique in ("full-integer", "qat"):
        assert io_types(technique) == ("int8", "int8")
        assert {kernel.dtype.name for kernel in kernels_of(optimised(technique).model)} == {"int8"}
    assert io_types("dynamic-range") == ("float32", "float32")
    assert "int8" in {kernel.dtype.name for kernel in kernels_of(optimised("dynamic-range").model)}
    assert io_types("int16x8") == ("float32", "float32")
    assert len(optimised("float16").model) < 0.75 * len(parent.model)
    assert len(optimised("full-integer").model) < 0.6 * len(parent.model)


def test_pruning_leaves_zeros_and_says_that_the_file_stays_large(
    parent: Done, optimised: Callable[[str], Done]
) -> None:
    kernels = kernels_of(optimised("pruned").model)
    for kernel in kernels:
        assert float((kernel == 0).mean()) == pytest.approx(0.5, abs=0.02)
    assert len(optimised("pruned").model) == len(parent.model)
    (note,) = optimised("pruned").result["notes"]
    assert note.startswith("50.0% of the weights are zero; the file keeps its 17844 bytes")


def test_clustering_leaves_few_different_weights_in_the_file(optimised: Callable[[str], Done]) -> None:
    for kernel in kernels_of(optimised("clustered").model):
        assert 2 < len(np.unique(kernel)) <= 16
    assert "at most 16 different weights" in optimised("clustered").result["notes"][0]


def test_kmeans_finds_the_clusters_that_are_there() -> None:
    generator = np.random.default_rng(7)
    centres = np.array([-3.0, -1.0, 0.0, 2.0])
    labels = generator.integers(0, 4, size=400)
    values = (centres[labels] + generator.normal(0, 0.05, size=400)).astype(np.float32)
    assert nearest_centroids(values.reshape(20, 20), 4).tolist() == labels.tolist()


def test_folding_normalisations_changes_no_answer(parent: Done) -> None:
    network = network_of(parent)
    folded = without_batch_norm(network)
    assert "batch_normalization" not in str([type(layer).__name__ for layer in folded.model.layers]).lower()
    test = input_sets.parse((DIGITS / "test.twin").read_bytes(), "test.twin").reals(slice(0, 50), SCALING)
    np.testing.assert_allclose(folded.model(test).numpy(), network.model(test).numpy(), rtol=1e-4, atol=1e-4)


def test_folding_knows_depthwise_kernels_and_leaves_what_others_read() -> None:
    layers = [
        {"id": "shared", "op": "conv2d", "filters": 3, "kernel": 1},
        {"id": "norm", "op": "batch_norm"},
        {"id": "sum", "op": "add", "from": ["shared", "norm"]},
        {"op": "depthwise_conv2d", "kernel": 3, "bias": False},
        {"op": "batch_norm"},
        {"op": "flatten"},
        {"op": "dense", "units": 10},
    ]
    count = 6 + 6 + 27 + 6 + 1930
    description = {"name": "own", "input": [8, 8, 1], "class_count": 10, "parameter_count": count, "layers": layers}
    network = build(parse(description, "own"))
    generator = np.random.default_rng(7)
    network.model.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in network.model.get_weights()])
    folded = without_batch_norm(network)
    norms = [layer for layer in folded.model.layers if isinstance(layer, tf.keras.layers.BatchNormalization)]
    assert len(norms) == 1
    batch = generator.uniform(size=(4, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(folded.model(batch).numpy(), network.model(batch).numpy(), rtol=1e-4)


def test_training_for_int8_rounds_as_the_runtime_does(parent: Done, optimised: Callable[[str], Done]) -> None:
    network = without_batch_norm(network_of(parent))
    training = input_sets.parse((DIGITS / "train.twin").read_bytes(), "train.twin")
    calibration = training.reals(seeds.calibration_choice(7, len(training), 300), SCALING)
    batch = training.reals(slice(0, 40), SCALING)
    rounded = quantisation_aware(network, calibration)(tf.constant(batch)).numpy()
    interpreter = interpreter_of(optimised("full-integer").model)
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    runtime = []
    for real in batch:
        scale, zero_point = source["quantization"]
        interpreter.set_tensor(source["index"], (np.round(real / scale) + zero_point).astype(np.int8)[np.newaxis])
        interpreter.invoke()
        scale, zero_point = target["quantization"]
        runtime.append((interpreter.get_tensor(target["index"])[0].astype(np.float32) - zero_point) * scale)
    plain = network.model(batch).numpy()
    # What training sees must be nearer to the device than the float model is.
    assert np.abs(rounded - runtime).mean() < 0.5 * np.abs(plain - runtime).mean()


def test_distillation_mixes_labels_and_the_teachers_answers() -> None:
    generator = np.random.default_rng(7)
    teacher_logits, logits = generator.normal(size=(2, 6, 4)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 0, 1])

    def softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
        powers = np.exp(values)
        shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return shares

    loss = distillation_loss(lambda _inputs, training: tf.constant(teacher_logits), temperature=2.0, alpha=0.3)
    soft, own = softmax(teacher_logits / 2), softmax(logits / 2)
    divergence = (soft * np.log(soft / own)).sum(axis=1).mean()
    cross_entropy = -np.log(softmax(logits)[np.arange(6), labels]).mean()
    expected = 0.3 * cross_entropy + 0.7 * 4 * divergence
    assert float(loss(None, labels, tf.constant(logits))) == pytest.approx(expected, rel=1e-5)


def test_a_student_learns_from_a_teacher(run_job: RunJob, parent: Done) -> None:
    layers = [{"op": "flatten"}, {"op": "dense", "units": 10}]
    student = {"name": "student", "input": [8, 8, 1], "class_count": 10, "parameter_count": 650, "layers": layers}
    config = {**TRAIN_CONFIG, "architecture": student, "teacher": "digits-tiny", "alpha": 0.0}
    done = run_job("keras", "train", config, digits(teacher=checkpoint_of(parent)))
    # No label goes into the loss: what it knows it has from the teacher.
    assert done.code == 0
    assert done.accuracy > 0.8
    assert done.result["parameter_count"] == 650


def test_keys_that_change_nothing_are_noted(run_job: RunJob) -> None:
    done = run_job("keras", "train", {**TRAIN_CONFIG, "epochs": 1, "momentum": 0.5})
    assert done.result["notes"] == ["the configuration's `momentum` is not known to this trainer and changed nothing"]


def test_what_cannot_be_done_is_refused_and_leaves_no_result(
    run_job: RunJob, parent: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optimise = {**DIGITS_CONFIG, "technique": "full-integer"}
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"PK\x03\x04 no checkpoint")
    another: dict[str, Any] = {"name": "own", "input": [8, 8, 1], "class_count": 10, "parameter_count": 650}
    another |= {"layers": [{"op": "flatten"}, {"op": "dense", "units": 10}]}
    deep = {**another, "parameter_count": 1200}
    deep["layers"] = [{"op": "flatten"}, *({"op": "dense", "units": 10} for _ in range(6))]
    diverging = {**TRAIN_CONFIG, "architecture": deep, "learning_rate": 1e3, "input_scale": 1e6}
    cases: list[tuple[str, dict[str, Any], dict[str, Path], dict[str, Any], str]] = [
        ("build", TRAIN_CONFIG, digits(), {}, "the Keras trainer knows `train` and `optimise`"),
        ("train", TRAIN_CONFIG, digits(), {"device": "gpu"}, "`device` is `gpu`, and TensorFlow sees none"),
        ("train", diverging, digits(), {}, "the loss of epoch 1 is not a number: take a smaller `learning_rate`"),
        ("train", {**TRAIN_CONFIG, "architecture": "resnet8"}, digits(), {}, "do not fit the architecture `resnet8`"),
        ("train", {**TRAIN_CONFIG, "teacher": "digits-tiny"}, digits(), {}, "inputs: `teacher` is missing"),
        ("optimise", optimise, digits(), {}, "inputs: `parent` is missing"),
        ("optimise", optimise, digits(parent=garbage), {}, "garbage: is no Keras checkpoint"),
        (
            "optimise",
            {**optimise, "architecture": another},
            digits(parent=checkpoint_of(parent)),
            {},
            "the checkpoint was not trained as architecture `own`",
        ),
        (
            "optimise",
            {**optimise, "technique": "static-fbgemm"},
            digits(parent=checkpoint_of(parent)),
            {},
            "one of `float32`, `dynamic-range`, `full-integer`, `float16`, `int16x8`, `pruned`, `clustered`, `qat`",
        ),
    ]
    for kind, config, inputs, members, told in cases:
        done = run_job("keras", kind, config, inputs, **members)
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert done.code == 1, told
        assert [told in line for line in errors] == [True], errors
        assert not (done.folder / "result.json").exists()


def test_the_command_does_a_job_in_a_process_of_its_own(run_job: RunJob, parent: Done) -> None:
    job = parent.folder / "job.json"
    (parent.folder / "result.json").rename(parent.folder / "result-before.json")
    model_before = parent.model
    source = Path(__file__).parents[1] / "src"
    command = [sys.executable, "-m", "tinywatt_trainers", "keras", str(job)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert parent.accuracy > 0.9
    # The same job in another process: the same bytes.
    assert parent.model == model_before
