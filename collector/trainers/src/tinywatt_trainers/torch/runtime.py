"""Sets torch up so that a job is a function of its seed."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import torch

from tinywatt_trainers.errors import JobError

if TYPE_CHECKING:
    from tinywatt_trainers.job import Job


def set_up(job: Job) -> torch.device:
    """Limits threads, asks for deterministic kernels, seeds, and chooses the device.

    Raises:
        JobError: When the job wants a GPU and torch sees none.
    """
    # cuBLAS reads it when it starts: without a workspace of its own its sums change from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Quantisation and TorchScript are deprecated, and here the subject; the pinned version has both.
    warnings.simplefilter("ignore")
    torch.set_num_threads(job.thread_count)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory finds reads of nothing, and costs writes that no other trainer pays.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(job.seed)
    if job.device == "gpu" and not torch.cuda.is_available():
        raise JobError(
            f"job.json: `device` is `gpu`, and torch {torch.__version__} sees none: check the driver with "
            '`nvidia-smi`, or give the host\'s jobs `device = "cpu"`'
        )
    return torch.device("cuda" if job.device == "gpu" else "cpu")


def use_engine(engine: str) -> None:
    """Chooses the kernels for quantised models; they must be those that the model is made for.

    Raises:
        JobError: When torch has no such kernels on this machine.
    """
    known = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if engine not in known:
        raise JobError(
            f"torch {torch.__version__} has no quantised engine `{engine}` on this machine, only "
            f"{', '.join(f'`{name}`' for name in known)}: run this technique on a host that has it"
        )
    torch.backends.quantized.engine = engine
    # Quantised kernels sum whole numbers and so are deterministic, but torch does not know it and refuses some.
    torch.use_deterministic_algorithms(False)
