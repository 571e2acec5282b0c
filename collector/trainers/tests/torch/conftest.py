"""One training that all tests of the torch trainer share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import TRAIN_CONFIG, Done, digits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    RunJob = Callable[..., Done]

# torch reads it when it loads.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def do(run_job: RunJob) -> Callable[..., Done]:
    """Runs a torch job on the digits that must succeed; inputs by role, `seed` if it matters."""

    def run(kind: str, config: Mapping[str, Any], seed: int = 7, **inputs: Path) -> Done:
        done = run_job("torch", kind, config, digits(**inputs), seed=seed)
        assert done.code == 0
        for artifact in done.result["artifacts"]:
            assert (done.folder / "out" / artifact["file"]).is_file()
        return done

    return run


@pytest.fixture(scope="session")
def trained(do: Callable[..., Done]) -> Done:
    """A network that knows the digits."""
    return do("train", TRAIN_CONFIG)
