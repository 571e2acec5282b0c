"""The job's files: `job.json` in, progress lines while it works, `result.json` out by rename."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tinywatt_trainers.architecture import Architecture, architecture_from
from tinywatt_trainers.errors import JobError
from tinywatt_trainers.fields import Fields

JOB_SCHEMA: Final = "tinywatt.job.v1"
RESULT_SCHEMA: Final = "tinywatt.result.v1"
KINDS: Final = ("train", "optimise", "build")
DEVICES: Final = ("cpu", "gpu")
SEED_MAX: Final = 2**32 - 1
THREADS_MAX: Final = 1024
# Within an epoch a line a second is live enough, and too rare to cost energy that is seen.
PROGRESS_PERIOD_SECONDS: Final = 1.0


@dataclass(frozen=True)
class InputFile:
    """A file that the job reads.

    Attributes:
        path: Where it is.
        sha256: What it must be, in lower-case hexadecimal.
    """

    path: Path
    sha256: str

    def read(self) -> bytes:
        """The file's bytes, which are those that were announced.

        Raises:
            JobError: When the file cannot be read or is another one.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise JobError(f"{self.path}: cannot be read: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise JobError(
                f"{self.path}: its SHA-256 is {found}, and the job names {self.sha256}: "
                "the file changed since the run was planned; fetch or make it again"
            )
        return content


@dataclass(frozen=True)
class Job:
    """What is to be done: `job.json`.

    Attributes:
        kind: `train`, `optimise` or `build`.
        seed: The only source of chance.
        thread_count: Threads that the framework may use.
        device: `cpu` or `gpu`.
        config: The experiment's configuration, as it was written.
        inputs: Files by their role: `train`, `validation`, `test`, `parent`, `teacher`.
        output_dir: Folder for the artifacts; exists.
        result: Where the result goes.
        progress: Where progress lines go.
    """

    kind: str
    seed: int
    thread_count: int
    device: str
    config: Mapping[str, Any]
    inputs: Mapping[str, InputFile]
    output_dir: Path
    result: Path
    progress: Path

    @classmethod
    def read(cls, path: Path) -> Job:
        """Reads and checks a job file.

        Raises:
            JobError: With all mistakes at once.
        """
        try:
            content = path.read_text(encoding="utf-8")
        except OSError as error:
            raise JobError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise JobError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
        try:
            members = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise JobError(f"{path}: is not JSON: {error}") from error
        if not isinstance(members, dict):
            raise JobError(f"{path}: holds no JSON object; the trainers' README.md documents the job file")
        return cls.from_members(members, path.name)

    @classmethod
    def from_members(cls, members: Mapping[str, Any], place: str) -> Job:
        """Checks a parsed job file.

        Args:
            members: The file's object.
            place: Name of the file, for messages.

        Raises:
            JobError: With all mistakes at once.
        """
        problems: list[str] = []
        fields = Fields(members, place, problems)
        fields.text("schema", [JOB_SCHEMA])
        job = cls(
            kind=fields.text("kind", KINDS),
            seed=fields.whole("seed", 0, SEED_MAX),
            thread_count=fields.whole("thread_count", 1, THREADS_MAX),
            device=fields.text("device", DEVICES),
            config=fields.nested("config").members,
            inputs=_input_files(fields.nested("inputs")),
            output_dir=_absolute(fields, "output_dir"),
            result=_absolute(fields, "result"),
            progress=_absolute(fields, "progress"),
        )
        if not problems and not job.output_dir.is_dir():
            problems.append(f"{place}: `output_dir` names {job.output_dir}, which is no folder")
        if problems:
            raise JobError(problems)
        return job

    def input_file(self, role: str) -> InputFile:
        """The input of a role.

        Raises:
            JobError: When the job names none.
        """
        file = self.inputs.get(role)
        if file is None:
            raise JobError(f"job.json: inputs: `{role}` is missing, which a job of kind `{self.kind}` needs")
        return file


def _absolute(fields: Fields, key: str) -> Path:
    path = Path(fields.text(key))
    if path != Path() and not path.is_absolute():
        fields.problem(key, f"must be an absolute path, and is `{path}`")
    return path


def _input_files(fields: Fields) -> dict[str, InputFile]:
    files: dict[str, InputFile] = {}
    for role in fields.members:
        entry = fields.nested(role)
        path = _absolute(entry, "path")
        digest = entry.text("sha256").lower()
        if digest and (len(digest) != 64 or not set(digest) <= set("0123456789abcdef")):
            entry.problem("sha256", f"must be 64 hexadecimal digits, and is `{digest}`")
        files[role] = InputFile(path, digest)
    return files


@dataclass(frozen=True)
class Scaling:
    """How a byte of an input set becomes the model's input: byte x scale + offset.

    Attributes:
        scale: Real value of one step of the byte.
        offset: Real value of byte 0.
    """

    scale: float
    offset: float


@dataclass(frozen=True)
class TrainConfig:
    """The part of a `train` or `build` job's configuration that our trainers know.

    Attributes:
        architecture: What is trained.
        epochs: Passes over the training inputs.
        batch_size: Inputs per step.
        learning_rate: Adam's step size.
        scaling: From bytes to the model's input.
        teacher: Architecture whose checkpoint (input `teacher`) is distilled, if any.
        temperature: Distillation softens both networks' logits by it.
        alpha: Share of the labels in the loss when distilling; the teacher has the rest.
        extra_keys: Keys that nobody here reads.
    """

    architecture: Architecture
    epochs: int
    batch_size: int
    learning_rate: float
    scaling: Scaling
    teacher: Architecture | None
    temperature: float
    alpha: float
    extra_keys: tuple[str, ...]

    @classmethod
    def of(cls, job: Job) -> TrainConfig:
        """Checks the job's configuration.

        Raises:
            JobError: With all mistakes at once.
        """
        problems: list[str] = []
        fields = Fields(job.config, "job.json: config", problems)
        config = cls(
            architecture=_architecture(fields, "architecture"),
            epochs=fields.whole("epochs", 1, 100_000),
            batch_size=fields.whole("batch_size", 1, 1_000_000),
            learning_rate=fields.real("learning_rate", 1e-12, 1e3),
            scaling=_scaling(fields),
            teacher=_architecture(fields, "teacher") if fields.members.get("teacher") is not None else None,
            temperature=fields.real("temperature", 1e-3, 1e3, default=3.0),
            alpha=fields.real("alpha", 0.0, 1.0, default=0.1),
            extra_keys=tuple(fields.unknown()),
        )
        if problems:
            raise JobError(problems)
        return config


@dataclass(frozen=True)
class OptimiseConfig:
    """The part of an `optimise` job's configuration that our trainers know.

    Attributes:
        architecture: What the parent is.
        technique: What is done to it.
        scaling: From bytes to the model's input, as when it was trained.
        calibration_count: Training inputs that quantisation looks at.
        fine_tune_epochs: Passes over the training inputs, for techniques that train.
        batch_size: Inputs per step of fine tuning.
        learning_rate: Adam's step size in fine tuning.
        sparsity: Share of weights that pruning sets to zero.
        cluster_count: Different weights per layer that clustering leaves.
        extra_keys: Keys that nobody here reads.
    """

    architecture: Architecture
    technique: str
    scaling: Scaling
    calibration_count: int
    fine_tune_epochs: int
    batch_size: int
    learning_rate: float
    sparsity: float
    cluster_count: int
    extra_keys: tuple[str, ...]

    @classmethod
    def of(cls, job: Job, techniques: tuple[str, ...]) -> OptimiseConfig:
        """Checks the job's configuration.

        Args:
            job: The job.
            techniques: Those that the trainer knows.

        Raises:
            JobError: With all mistakes at once.
        """
        problems: list[str] = []
        fields = Fields(job.config, "job.json: config", problems)
        config = cls(
            architecture=_architecture(fields, "architecture"),
            technique=fields.text("technique", techniques),
            scaling=_scaling(fields),
            calibration_count=fields.whole("calibration_count", 1, 1_000_000, default=300),
            fine_tune_epochs=fields.whole("fine_tune_epochs", 1, 100_000, default=1),
            batch_size=fields.whole("batch_size", 1, 1_000_000, default=64),
            learning_rate=fields.real("learning_rate", 1e-12, 1e3, default=1e-4),
            sparsity=fields.real("sparsity", 0.0, 0.99, default=0.5),
            cluster_count=fields.whole("cluster_count", 2, 256, default=16),
            extra_keys=tuple(fields.unknown()),
        )
        if problems:
            raise JobError(problems)
        return config


def _scaling(fields: Fields) -> Scaling:
    scaling = Scaling(fields.real("input_scale", -1e6, 1e6), fields.real("input_offset", -1e6, 1e6))
    if scaling.scale == 0.0 and "input_scale" in fields.members:
        fields.problem("input_scale", "is 0, which makes all inputs equal")
    return scaling


def _architecture(fields: Fields, key: str) -> Architecture:
    fields.seen.add(key)
    value = fields.members.get(key)
    if value is None:
        fields.problem(key, "is missing")
        return Architecture.nothing()
    try:
        return architecture_from(value, f"{fields.place}: {key}")
    except JobError as error:
        fields.problems.extend(error.problems)
        return Architecture.nothing()


@dataclass(frozen=True)
class Artifact:
    """A file that the job made.

    Attributes:
        role: `model` (deployable) or `checkpoint` (to go on training, with the optimiser's state).
        file: Plain name inside the output folder.
    """

    role: str
    file: str


@dataclass(frozen=True)
class Phase:
    """A part of the job's time, by the host's CLOCK_MONOTONIC.

    Attributes:
        phase: `train`, `evaluate` or `optimise`.
        start_mono_ns: Its begin.
        end_mono_ns: Its end.
    """

    phase: str
    start_mono_ns: int
    end_mono_ns: int


@dataclass(frozen=True)
class Epoch:
    """One pass over the training inputs.

    Attributes:
        epoch: Its number, from 1.
        train_loss: Mean loss over its batches, as they were trained.
        train_accuracy: Share of right answers over its batches.
        validation_loss: Mean loss over the validation inputs afterwards.
        validation_accuracy: Share of right answers over them.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


@dataclass(frozen=True)
class Result:
    """What came out: `result.json`.

    Attributes:
        framework_name: `tensorflow`, `torch`, or a trainer's own.
        framework_version: Its version.
        artifacts: What was written into the output folder.
        phases: When the job did what.
        parameter_count: Trainable parameters.
        mac_count: Multiply-accumulates of one inference.
        confusion: Rows are labels, columns answers, on the test inputs.
        epochs: How training went.
        memory_bytes_peak: Largest resident memory of the process.
        notes: For the report.
    """

    framework_name: str
    framework_version: str
    artifacts: tuple[Artifact, ...]
    phases: tuple[Phase, ...]
    parameter_count: int | None = None
    mac_count: int | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None
    epochs: tuple[Epoch, ...] = ()
    memory_bytes_peak: int | None = None
    notes: tuple[str, ...] = ()

    def members(self) -> dict[str, Any]:
        """The JSON object; what is not known is left out."""
        members: dict[str, Any] = {
            "schema": RESULT_SCHEMA,
            "framework": {"name": self.framework_name, "version": self.framework_version},
            "artifacts": [vars(artifact) for artifact in self.artifacts],
            "phases": [vars(phase) for phase in self.phases],
            "parameter_count": self.parameter_count,
            "mac_count": self.mac_count,
            "confusion": self.confusion,
            "epochs": [_known(vars(epoch)) for epoch in self.epochs],
            "memory_bytes_peak": self.memory_bytes_peak,
            "notes": list(self.notes),
        }
        return _known(members)

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all.

        Raises:
            JobError: When the result holds a number that JSON cannot.
        """
        try:
            content = json.dumps(self.members(), allow_nan=False)
        except ValueError as error:
            raise JobError(
                "the result holds a number that is not finite: training diverged; take a smaller `learning_rate`"
            ) from error
        partial = path.with_name(path.name + ".part")
        with partial.open("w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def network_result(
    framework: tuple[str, str],
    architecture: Architecture,
    artifacts: tuple[Artifact, ...],
    timer: PhaseTimer,
    counts: tuple[tuple[int, ...], ...] | None,
    *,
    epochs: tuple[Epoch, ...] = (),
    notes: tuple[str, ...] = (),
    extra_keys: tuple[str, ...] = (),
) -> Result:
    """The result of a job on a network, with what its architecture and this process tell.

    Args:
        framework: Name and version.
        architecture: The network.
        artifacts: What was written.
        timer: What noted the phases.
        counts: The confusion matrix, if it was evaluated.
        epochs: How training went, if it was trained.
        notes: For the report.
        extra_keys: Keys of the configuration that nobody read; each becomes a note.
    """
    name, version = framework
    unread = (f"the configuration's `{key}` is not known to this trainer and changed nothing" for key in extra_keys)
    return Result(
        framework_name=name,
        framework_version=version,
        artifacts=artifacts,
        phases=timer.phases,
        parameter_count=architecture.parameter_count,
        mac_count=architecture.mac_count,
        confusion=counts,
        epochs=epochs,
        memory_bytes_peak=memory_bytes_peak(),
        notes=(*unread, *notes),
    )


def _known(members: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}


@dataclass
class PhaseTimer:
    """Notes when the job did what."""

    _phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """The body is the phase."""
        start_mono_ns = time.monotonic_ns()
        yield
        self._phases.append(Phase(phase, start_mono_ns, time.monotonic_ns()))

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases that ended, in order."""
        return tuple(self._phases)


@dataclass
class Progress:
    """Appends lines for whoever watches, and the same to the log.

    Attributes:
        path: The file of progress lines.
    """

    path: Path
    _last_seconds: float = field(default=-PROGRESS_PERIOD_SECONDS)

    def line(self, **members: str | float | int) -> None:
        """Writes one line now. Keys are those of the contract; none is required."""
        self._last_seconds = time.monotonic()
        finite = {key: value for key, value in members.items() if isinstance(value, str) or math.isfinite(value)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")
        texts = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in finite.values())
        print(*(f"{key}={text}" for key, text in zip(finite, texts, strict=True)), file=sys.stderr, flush=True)

    def occasionally(self, **members: str | float | int) -> None:
        """Writes the line unless the last one was less than a second ago."""
        if time.monotonic() - self._last_seconds >= PROGRESS_PERIOD_SECONDS:
            self.line(**members)


def memory_bytes_peak() -> int | None:
    """Largest resident memory of this process so far, or nothing where the system does not tell.

    `VmHWM` starts with the program; `ru_maxrss` would carry over the memory of whoever started us.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
