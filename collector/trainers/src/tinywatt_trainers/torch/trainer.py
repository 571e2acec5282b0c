"""A job in torch: trains, optimises, or builds a module for a trainer in another language."""

from __future__ import annotations

import importlib
import sys
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from tinywatt_trainers import inputs as input_sets
from tinywatt_trainers.architecture import Dense
from tinywatt_trainers.errors import JobError
from tinywatt_trainers.fields import Fields
from tinywatt_trainers.job import Artifact, OptimiseConfig, PhaseTimer, Result, TrainConfig, network_result
from tinywatt_trainers.seeds import calibration_choice
from tinywatt_trainers.torch import checkpoint, quantise, runtime, torchscript
from tinywatt_trainers.torch.network import build
from tinywatt_trainers.torch.prune import Pruning, zero_share
from tinywatt_trainers.torch.training import (
    Course,
    LossOf,
    Network,
    adam,
    confusion_of,
    distillation_loss,
    label_loss,
    train,
)

if TYPE_CHECKING:
    from torch import fx

    from tinywatt_trainers.inputs import InputSet
    from tinywatt_trainers.job import Job, Progress

FRAMEWORK: Final = ("torch", torch.__version__)
STATIC: Final = {"static-fbgemm": "fbgemm", "static-qnnpack": "qnnpack"}
TECHNIQUES: Final = (*STATIC, "dynamic", "pruned", "executorch-int8")
# What the description inside a file says of one that no technique was used on.
FLOAT: Final = "float32"
UNTRAINED: Final = "untrained"
CPU: Final = torch.device("cpu")
# Engine of dynamic models; the configuration's `engine` may name the other one.
DYNAMIC_ENGINES: Final = ("fbgemm", "qnnpack")
# Calibration inputs per call.
CALIBRATION_BATCH_SIZE: Final = 50


def run(job: Job, progress: Progress) -> Result:
    """Does the job.

    Raises:
        JobError: When it cannot be done as asked.
    """
    match job.kind:
        case "train":
            return _train(job, progress)
        case "optimise":
            return _optimise(job, progress)
        case _:
            return _build(job, progress)


def _train(job: Job, progress: Progress) -> Result:
    config = TrainConfig.of(job)
    device = runtime.set_up(job)
    training = input_sets.read(job, "train", config.architecture)
    validation = input_sets.read(job, "validation", config.architecture) if "validation" in job.inputs else None
    test = input_sets.read(job, "test", config.architecture)
    loss_of = _loss_of(job, config, training, device)
    network = build(config.architecture, job.seed).to(device)
    optimiser = adam(network, config.learning_rate)
    epochs_done = 0
    if "parent" in job.inputs:
        epochs_done = checkpoint.restore(job.input_file("parent"), config.architecture, network, optimiser)
        if epochs_done > config.epochs:
            raise JobError(
                f"job.json: config: `epochs` is {config.epochs}, and the parent was trained for {epochs_done}: "
                "`epochs` counts from the very first one"
            )
    course = Course(config.epochs, config.batch_size, job.seed, config.scaling, device, phase="train")
    timer = PhaseTimer()
    with timer.measure("train"):
        epochs = train(
            network, optimiser, course, training, validation, progress, epochs_done=epochs_done, loss_of=loss_of
        )
    network.eval()
    progress.line(phase="evaluate")
    with timer.measure("evaluate"):
        counts = confusion_of(network, test, config.scaling, device)
    checkpoint.write(job.output_dir / checkpoint.FILE, config.architecture, network, optimiser, config.epochs)
    module = torchscript.frozen(network.cpu())
    torchscript.write(job.output_dir / torchscript.FILE, module, config.architecture, FLOAT)
    artifacts = (Artifact("model", torchscript.FILE), Artifact("checkpoint", checkpoint.FILE))
    return network_result(
        FRAMEWORK, config.architecture, artifacts, timer, counts, epochs=epochs, extra_keys=config.extra_keys
    )


def _build(job: Job, progress: Progress) -> Result:
    config = TrainConfig.of(job)
    runtime.set_up(job)
    progress.line(phase="build", text=config.architecture.name)
    module = torchscript.scripted(build(config.architecture, job.seed))
    torchscript.write(job.output_dir / torchscript.FILE, module, config.architecture, UNTRAINED)
    artifacts = (Artifact("model", torchscript.FILE),)
    return network_result(FRAMEWORK, config.architecture, artifacts, PhaseTimer(), None, extra_keys=config.extra_keys)


def _optimise(job: Job, progress: Progress) -> Result:
    config = OptimiseConfig.of(job, TECHNIQUES)
    device = runtime.set_up(job)
    parent = build(config.architecture, job.seed)
    checkpoint.restore(job.input_file("parent"), config.architecture, parent)
    parent.eval()
    training = None if config.technique == "dynamic" else input_sets.read(job, "train", config.architecture)
    test = input_sets.read(job, "test", config.architecture) if "test" in job.inputs else None
    if config.technique == "executorch-int8":
        _load_executorch()
    timer = PhaseTimer()
    progress.line(phase="optimise", text=config.technique)
    with timer.measure("optimise"):
        match config.technique:
            case "executorch-int8":
                deployed = _executorch(job, config, parent, training)
            case "pruned":
                deployed = _pruned(job, config, parent.to(device), training, progress)
            case "dynamic":
                deployed = _dynamic(job, config, parent)
            case _:
                deployed = _static(job, config, parent, training)
    counts = None
    if test is not None:
        progress.line(phase="evaluate")
        with timer.measure("evaluate"):
            counts = confusion_of(deployed.network, test, config.scaling, CPU)
    unread = tuple(key for key in config.extra_keys if key != "engine" or config.technique != "dynamic")
    artifacts = (Artifact("model", deployed.file),)
    return network_result(
        FRAMEWORK, config.architecture, artifacts, timer, counts, notes=deployed.notes, extra_keys=unread
    )


@dataclass(frozen=True)
class Deployed:
    """What an optimisation wrote.

    Attributes:
        file: Plain name in the output folder.
        network: The file, loaded as a device loads it.
        notes: What is to be said about it.
    """

    file: str
    network: Network
    notes: tuple[str, ...] = ()


def _static(job: Job, config: OptimiseConfig, parent: fx.GraphModule, training: InputSet | None) -> Deployed:
    engine = STATIC[config.technique]
    quantised = quantise.static(parent, engine, _calibration(job, config, training))
    return _scripted(job, config, torchscript.frozen(quantised), engine)


def _dynamic(job: Job, config: OptimiseConfig, parent: fx.GraphModule) -> Deployed:
    problems: list[str] = []
    fields = Fields(job.config, "job.json: config", problems)
    engine = fields.text("engine", DYNAMIC_ENGINES) if "engine" in job.config else DYNAMIC_ENGINES[0]
    if problems:
        raise JobError(problems)
    module = torchscript.frozen(quantise.dynamic(parent, engine))
    dense_count = sum(layer.parameter_count for layer in config.architecture.layers if isinstance(layer.op, Dense))
    share = dense_count / config.architecture.parameter_count
    note = f"dynamic quantisation in torch is for dense layers only, which hold {share:.1%} of the parameters"
    return _scripted(job, config, module, engine, note)


def _pruned(
    job: Job, config: OptimiseConfig, parent: fx.GraphModule, training: InputSet | None, progress: Progress
) -> Deployed:
    assert training is not None
    device = next(parent.parameters()).device
    course = Course(config.fine_tune_epochs, config.batch_size, job.seed, config.scaling, device, phase="optimise")
    pruning = Pruning(parent, config.sparsity)
    optimiser = adam(parent, config.learning_rate)
    train(parent, optimiser, course, training, None, progress, after_step=pruning.after_step)
    pruning.finish()
    zeros = zero_share(parent)
    deployed = _scripted(job, config, torchscript.frozen(parent.cpu()), torchscript.ENGINE_NONE)
    content = (job.output_dir / deployed.file).read_bytes()
    # Level 9 of deflate is what `zip -9` does.
    compressed = len(zlib.compress(content, level=9))
    note = (
        f"{zeros:.1%} of the weights are zero; the file keeps its {len(content)} bytes and the runtime its time, "
        f"only compressed (deflate) does it shrink, to {compressed} bytes"
    )
    return Deployed(deployed.file, deployed.network, (note,))


def _load_executorch() -> None:
    """Loads what only one technique needs, which takes seconds, before its time is taken."""
    try:
        importlib.import_module("tinywatt_trainers.torch.pte")
    except ImportError as error:
        raise JobError(
            f"the Python package `{error.name}` is not installed for {sys.executable}, and `executorch-int8` needs it: "
            "run `collector trainer install torch`"
        ) from error


def _executorch(job: Job, config: OptimiseConfig, parent: fx.GraphModule, training: InputSet | None) -> Deployed:
    from tinywatt_trainers.torch import pte

    program = pte.quantised(parent, config.architecture, _calibration(job, config, training))
    path = job.output_dir / pte.FILE
    path.write_bytes(program.content)
    notes = [f"made with {pte.versions()}"]
    if program.remaining_ops:
        notes.append(f"XNNPACK leaves to ExecuTorch's portable kernels: {', '.join(program.remaining_ops)}")
    return Deployed(path.name, pte.loaded(path), tuple(notes))


def _scripted(job: Job, config: OptimiseConfig, module: torch.jit.ScriptModule, engine: str, *notes: str) -> Deployed:
    path = job.output_dir / torchscript.FILE
    torchscript.write(path, module, config.architecture, config.technique, engine)
    return Deployed(path.name, torchscript.read(path), notes)


def _calibration(job: Job, config: OptimiseConfig, training: InputSet | None) -> tuple[torch.Tensor, ...]:
    """Training inputs in the network's own scaling, from which the ranges of activations are taken."""
    assert training is not None
    chosen = calibration_choice(job.seed, len(training), config.calibration_count)
    return tuple(torch.from_numpy(training.reals(chosen, config.scaling)).split(CALIBRATION_BATCH_SIZE))


def _loss_of(job: Job, config: TrainConfig, training: InputSet, device: torch.device) -> LossOf:
    if config.teacher is None:
        return label_loss
    if (config.teacher.input_shape, config.teacher.class_count) != (training.shape, training.class_count):
        raise JobError(
            f"job.json: config: the teacher `{config.teacher.name}` does not take these inputs: "
            "teacher and student must be made for the same data set"
        )
    teacher = build(config.teacher, job.seed)
    checkpoint.restore(job.input_file("teacher"), config.teacher, teacher)
    return distillation_loss(teacher.eval().to(device), config.temperature, config.alpha)
