"""Input sets, chance, and the counting of answers."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conftest import DIGITS, TRAIN_CONFIG, digits, job_members
from tinywatt_trainers import inputs, seeds
from tinywatt_trainers.architecture import architecture_from
from tinywatt_trainers.confusion import accuracy, confusion
from tinywatt_trainers.errors import JobError
from tinywatt_trainers.job import Job, Scaling

if TYPE_CHECKING:
    from pathlib import Path


def small(version: int = 1, encoding: int = 0, class_count: int = 3, labels: tuple[int, ...] = (0, 2)) -> bytes:
    header = struct.pack("<4s8I", b"TWIN", version, encoding, class_count, len(labels), 3, 2, 2, 1)
    return header + struct.pack(f"<{len(labels)}I", *labels) + bytes(range(4 * len(labels)))


def test_an_input_set_is_read_in_the_order_of_its_bytes() -> None:
    found = inputs.parse(small(), "small.twin")
    assert (len(found), found.class_count, found.shape) == (2, 3, (2, 2, 1))
    assert found.labels.tolist() == [0, 2]
    assert found.data[1, :, :, 0].tolist() == [[4, 5], [6, 7]]


def test_bytes_become_real_by_scale_and_offset() -> None:
    reals = inputs.parse(small(), "small.twin").reals(slice(1, 2), Scaling(2 / 255, -1.0))
    assert reals.dtype == np.float32
    np.testing.assert_allclose(reals.reshape(-1), np.array([4, 5, 6, 7]) * 2 / 255 - 1, atol=1e-7)


def test_cut_anywhere_it_is_refused() -> None:
    content = small()
    for end in range(len(content)):
        with pytest.raises(JobError):
            inputs.parse(content[:end], "small.twin")
    with pytest.raises(JobError, match=r"small\.twin: announces 52 bytes and has 53"):
        inputs.parse(content + b"\0", "small.twin")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK" + bytes(100), "does not begin with `TWIN`"),
        (small(version=2), "version 2, and this trainer reads version 1"),
        (small(encoding=1), "quantised for one model"),
        (small(labels=(0, 3)), "input 1 has label 3, and there are 3 classes"),
        (small(labels=()), "is empty"),
        (small()[:20] + struct.pack("<I", 2**32 - 1) + bytes(100), "cannot be true"),
        (small()[:16] + struct.pack("<I", 2**32 - 1) + small()[20:], "was cut or added to"),
    ],
)
def test_a_broken_input_set_is_refused_with_what_is_wrong(content: bytes, told: str) -> None:
    with pytest.raises(JobError, match=told):
        inputs.parse(content, "broken.twin")


def test_inputs_of_another_shape_than_the_architecture_are_refused(tmp_path: Path) -> None:
    job = Job.from_members(job_members(tmp_path / "job", "train", TRAIN_CONFIG, digits()), "job.json")
    assert len(inputs.read(job, "train", architecture_from("digits-tiny", ""))) == 1347
    with pytest.raises(JobError, match=r"shape \[8, 8, 1\] in 10 classes do not fit .*`resnet8`"):
        inputs.read(job, "train", architecture_from("resnet8", ""))


def test_every_epoch_takes_every_input_once_in_an_order_of_its_own() -> None:
    first, again = (seeds.order_of_epoch(7, 1, 1000) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert sorted(first.tolist()) == list(range(1000))
    assert first.tolist() != seeds.order_of_epoch(7, 2, 1000).tolist()
    assert first.tolist() != seeds.order_of_epoch(8, 1, 1000).tolist()


def test_calibration_takes_different_inputs_and_no_more_than_there_are() -> None:
    chosen = seeds.calibration_choice(7, 1347, 300).tolist()
    assert len(set(chosen)) == 300
    assert sorted(chosen) == chosen
    assert seeds.calibration_choice(7, 20, 300).tolist() == list(range(20))


def test_training_starts_from_weights_of_the_right_spread() -> None:
    architecture = architecture_from("cifar10-study", "")
    kernels = seeds.initial_weights(architecture, 7)
    dense = next(kernel for kernel in kernels.values() if kernel.shape == (4096, 1024))
    assert abs(float(dense.std()) - (2 / 4096) ** 0.5) < 1e-4
    assert abs(float(dense.mean())) < 1e-4
    same, other = seeds.initial_weights(architecture, 7), seeds.initial_weights(architecture, 8)
    assert all(np.array_equal(kernel, same[identity]) for identity, kernel in kernels.items())
    assert not any(np.array_equal(kernel, other[identity]) for identity, kernel in kernels.items())


def test_answers_are_counted_by_label_and_answer() -> None:
    counts = confusion(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 0]), 4)
    assert counts == ((1, 1, 0, 0), (0, 1, 0, 0), (2, 0, 0, 0), (0, 0, 0, 0))
    assert accuracy(counts) == pytest.approx(2 / 5)
    assert json.loads(json.dumps(counts))[2] == [2, 0, 0, 0]


def test_the_digits_are_balanced_enough_to_learn_from() -> None:
    found = inputs.parse((DIGITS / "train.twin").read_bytes(), "train.twin")
    assert np.bincount(found.labels, minlength=10).min() > 100
    assert found.data.max() == 16
