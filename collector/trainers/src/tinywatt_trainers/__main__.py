"""`python -m tinywatt_trainers keras|torch JOB.json`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tinywatt_trainers.errors import JobError
from tinywatt_trainers.job import Job, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAMEWORKS: Final = ("keras", "torch")
USAGE: Final = "usage: python -m tinywatt_trainers keras|torch JOB.json"
EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2


def main(arguments: Sequence[str]) -> int:
    """Does one job.

    Args:
        arguments: Those of the command line, without the program's name.

    Returns:
        The exit code: 0 when the result is written, 1 when the job failed, 2 when the command line is wrong.
    """
    if len(arguments) != 2 or arguments[0] not in FRAMEWORKS:
        print(USAGE, file=sys.stderr)
        return EXIT_USAGE
    framework, path = arguments
    try:
        job = Job.read(Path(path))
        _set_environment(job)
        try:
            trainer = importlib.import_module(f"tinywatt_trainers.{framework}.trainer")
        except ModuleNotFoundError as error:
            raise JobError(
                f"the Python package `{error.name}` is not installed for {sys.executable}: "
                f"run `collector trainer install {framework}`"
            ) from error
        trainer.run(job, Progress(job.progress)).write(job.result)
    except JobError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return EXIT_FAILURE
    except OSError as error:
        print(f"error: {error.filename or Path(path).parent}: {error.strerror or error}", file=sys.stderr)
        return EXIT_FAILURE
    return 0


def _set_environment(job: Job) -> None:
    """Frameworks read these once, when they are loaded."""
    os.environ["OMP_NUM_THREADS"] = str(job.thread_count)
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(job.thread_count)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    # What a framework leaves behind when it is killed then goes with the job's folder.
    os.environ["TMPDIR"] = str(job.result.parent)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if job.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
