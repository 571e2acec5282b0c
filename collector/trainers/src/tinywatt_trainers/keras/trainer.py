"""A job in TensorFlow."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import tensorflow as tf

from tinywatt_trainers import inputs as input_sets
from tinywatt_trainers.confusion import confusion
from tinywatt_trainers.errors import JobError
from tinywatt_trainers.job import (
    Artifact,
    Job,
    OptimiseConfig,
    PhaseTimer,
    Progress,
    Result,
    TrainConfig,
    network_result,
)
from tinywatt_trainers.keras import convert
from tinywatt_trainers.keras.fine_tune import Clustering, Pruning, quantisation_aware
from tinywatt_trainers.keras.network import Model, Network, build, without_batch_norm
from tinywatt_trainers.keras.training import Course, LossOf, distillation_loss, inference, label_loss, train
from tinywatt_trainers.seeds import calibration_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinywatt_trainers.architecture import Architecture
    from tinywatt_trainers.inputs import InputSet

FINE_TUNED: Final = ("pruned", "clustered", "qat")
FRAMEWORK: Final = ("tensorflow", tf.__version__)
TECHNIQUES: Final = convert.CONVERSIONS + FINE_TUNED
MODEL_FILE: Final = "model.tflite"
CHECKPOINT_FILE: Final = "checkpoint.keras"


def run(job: Job, progress: Progress) -> Result:
    """Does the job.

    Raises:
        JobError: When it cannot be done as asked.
    """
    _set_up(job)
    match job.kind:
        case "train":
            return _train(job, progress)
        case "optimise":
            return _optimise(job, progress)
        case kind:
            raise JobError(f"job.json: `kind` is `{kind}`, and the Keras trainer knows `train` and `optimise`")


def _set_up(job: Job) -> None:
    if job.device == "gpu" and not tf.config.list_physical_devices("GPU"):
        raise JobError(
            "job.json: `device` is `gpu`, and TensorFlow sees none (the pinned `tensorflow-cpu` never does): "
            "take `cpu`, or install `tensorflow[and-cuda]` in an environment of your own"
        )
    tf.get_logger().setLevel("ERROR")
    # Keras prints a page per exported model otherwise.
    tf.keras.config.disable_interactive_logging()
    tf.config.threading.set_intra_op_parallelism_threads(job.thread_count)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(job.seed)
    tf.config.experimental.enable_op_determinism()


def _train(job: Job, progress: Progress) -> Result:
    config = TrainConfig.of(job)
    training = input_sets.read(job, "train", config.architecture)
    validation = input_sets.read(job, "validation", config.architecture) if "validation" in job.inputs else None
    test = input_sets.read(job, "test", config.architecture)
    loss_of: LossOf = label_loss
    if config.teacher is not None:
        teacher = _trained(job, "teacher", config.teacher)
        if (config.teacher.input_shape, config.teacher.class_count) != (training.shape, training.class_count):
            raise JobError(
                f"job.json: config: the teacher `{config.teacher.name}` does not take these inputs: "
                "teacher and student must be made for the same data set"
            )
        loss_of = distillation_loss(teacher.model, config.temperature, config.alpha)
    network = build(config.architecture, job.seed)
    course = Course(config.epochs, config.batch_size, config.learning_rate, job.seed, config.scaling)
    timer = PhaseTimer()
    with timer.measure("train"):
        epochs = train(network.model, course, training, validation, progress, phase="train", loss_of=loss_of)
    progress.line(phase="evaluate")
    ask = inference(network.model, test)
    # The first call compiles, which is no part of evaluating.
    ask(test.first(1), config.scaling)
    with timer.measure("evaluate"):
        answers = ask(test, config.scaling).argmax(axis=-1)
    counts = confusion(test.labels, answers, test.class_count)
    network.model.save(job.output_dir / CHECKPOINT_FILE)
    content = convert.converted(network, "float32", np.empty(0, dtype=np.float32))
    (job.output_dir / MODEL_FILE).write_bytes(content)
    artifacts = (Artifact("model", MODEL_FILE), Artifact("checkpoint", CHECKPOINT_FILE))
    return network_result(
        FRAMEWORK, config.architecture, artifacts, timer, counts, epochs=epochs, extra_keys=config.extra_keys
    )


def _optimise(job: Job, progress: Progress) -> Result:
    config = OptimiseConfig.of(job, TECHNIQUES)
    parent = _trained(job, "parent", config.architecture)
    training = _training_inputs(job, config)
    test = input_sets.read(job, "test", config.architecture) if "test" in job.inputs else None
    notes: tuple[str, ...] = ()
    timer = PhaseTimer()
    progress.line(phase="optimise", text=config.technique)
    with timer.measure("optimise"):
        calibration = _calibration(job, config, training)
        if config.technique in convert.CONVERSIONS:
            content = convert.converted(parent, config.technique, calibration)
        else:
            content, notes = _fine_tuned(job, config, parent, training, calibration, progress)
        (job.output_dir / MODEL_FILE).write_bytes(content)
    counts = None
    if test is not None and config.technique == "int16x8":
        notes += ("int16x8 has no fast kernels: its answers are only counted on the device",)
    elif test is not None:
        progress.line(phase="evaluate")
        with timer.measure("evaluate"):
            answers = convert.answers(content, test, config.scaling, job.thread_count)
        counts = confusion(test.labels, answers, test.class_count)
    artifacts = (Artifact("model", MODEL_FILE),)
    return network_result(
        FRAMEWORK, config.architecture, artifacts, timer, counts, notes=notes, extra_keys=config.extra_keys
    )


def _training_inputs(job: Job, config: OptimiseConfig) -> InputSet | None:
    """The training inputs, which only some techniques look at."""
    if config.technique in FINE_TUNED or config.technique in convert.CALIBRATED:
        return input_sets.read(job, "train", config.architecture)
    return None


def _calibration(job: Job, config: OptimiseConfig, training: InputSet | None) -> NDArray[np.float32]:
    if training is None:
        return np.empty(0, dtype=np.float32)
    chosen = calibration_choice(job.seed, len(training), config.calibration_count)
    return training.reals(chosen, config.scaling)


def _fine_tuned(
    job: Job,
    config: OptimiseConfig,
    parent: Network,
    training: InputSet | None,
    calibration: NDArray[np.float32],
    progress: Progress,
) -> tuple[bytes, tuple[str, ...]]:
    """The deployable file of a technique that trains, and what is to be said about it."""
    assert training is not None
    course = Course(config.fine_tune_epochs, config.batch_size, config.learning_rate, job.seed, config.scaling)
    if config.technique == "pruned":
        network = build(config.architecture)
        network.model.set_weights(parent.model.get_weights())
        pruning = Pruning(network, config.sparsity)
        train(network.model, course, training, None, progress, phase="optimise", after_step=pruning.after_step)
        content = convert.converted(network, "float32", calibration)
        what = f"{pruning.zero_share():.1%} of the weights are zero"
        return content, (_compressed_note(what, content),)
    network = without_batch_norm(parent)
    if config.technique == "clustered":
        clustering = Clustering(network, config.cluster_count)
        train(network.model, course, training, None, progress, phase="optimise", after_step=clustering.after_step)
        content = convert.converted(network, "float32", calibration)
        what = f"each layer has at most {config.cluster_count} different weights"
        return content, (_compressed_note(what, content),)
    forward = quantisation_aware(network, calibration)
    train(network.model, course, training, None, progress, phase="optimise", forward=forward)
    return convert.converted(network, "full-integer", calibration), ()


def _compressed_note(what: str, content: bytes) -> str:
    # Level 9 of deflate is what `zip -9` does.
    compressed = len(zlib.compress(content, level=9))
    return (
        f"{what}; the file keeps its {len(content)} bytes and the runtime its time, "
        f"only compressed (deflate) does it shrink, to {compressed} bytes"
    )


def _trained(job: Job, role: str, architecture: Architecture) -> Network:
    """The network of a checkpoint.

    Raises:
        JobError: When the file is no checkpoint of ours, or of another architecture.
    """
    file = job.input_file(role)
    content = file.read()
    # Keras wants the ending, and artifacts are named by their hashes.
    with tempfile.TemporaryDirectory(prefix="tinywatt-") as folder:
        path = Path(folder) / CHECKPOINT_FILE
        path.write_bytes(content)
        try:
            loaded: Model = tf.keras.models.load_model(path, compile=False)
        except Exception as error:  # Keras raises whatever its parts raise.
            reason = str(error).strip().split("\n", maxsplit=1)[0]
            raise JobError(
                f"{file.path}: is no Keras checkpoint ({reason}): `{role}` must be what a Keras training job saved"
            ) from error
    network = build(architecture)
    weights = loaded.get_weights()
    if [weight.shape for weight in weights] != [weight.shape for weight in network.model.get_weights()]:
        raise JobError(
            f"{file.path}: the checkpoint was not trained as architecture `{architecture.name}`: "
            f"name the architecture that `{role}` was trained with"
        )
    network.model.set_weights(weights)
    return network
