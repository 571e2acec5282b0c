"""Neutral architectures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tinywatt_trainers.architecture import architecture_from, parse, same_padding, shipped_names
from tinywatt_trainers.errors import JobError


def described(*layers: dict[str, Any], **members: object) -> dict[str, Any]:
    return {
        "name": "own",
        "input": [8, 8, 1],
        "class_count": 10,
        "parameter_count": 650,
        "layers": list(layers) or [{"op": "flatten"}, {"op": "dense", "units": 10}],
        **members,
    }


@pytest.mark.parametrize(
    ("name", "parameter_count", "mac_count"),
    [
        ("resnet8", 78_186, 12_501_632),
        ("cifar10-study", 5_852_202, 137_729_024),
        ("svhn-study", 551_018, 38_896_896),
        ("digits-tiny", 3_682, 25_408),
        ("cifar10-small", 156_186, 2_934_016),
    ],
)
def test_shipped_architectures_have_their_known_sizes(name: str, parameter_count: int, mac_count: int) -> None:
    architecture = architecture_from(name, "")
    assert (architecture.parameter_count, architecture.mac_count) == (parameter_count, mac_count)


def test_resnet8_has_the_parameters_that_mlcommons_counts() -> None:
    architecture = architecture_from("resnet8", "")
    # Keras's total, which MLCommons names, holds the moving statistics too.
    assert architecture.parameter_count + architecture.statistic_count == 78_666


def test_every_shipped_architecture_reads_and_is_named_as_its_file() -> None:
    assert len(shipped_names()) >= 4
    assert all(architecture_from(name, "").name == name for name in shipped_names())


def test_an_own_architecture_may_stand_in_the_configuration() -> None:
    architecture = architecture_from(described(), "job.json")
    assert [layer.output_shape for layer in architecture.layers] == [(64,), (10,)]
    assert architecture.mac_count == 640


def test_shapes_follow_same_padding_and_dropped_rests() -> None:
    layers: list[dict[str, Any]] = [
        {"op": "conv2d", "filters": 4, "kernel": 3, "stride": 2, "bias": False},
        {"op": "depthwise_conv2d", "kernel": 3, "stride": 3},
        {"op": "max_pool", "size": 2},
        {"op": "global_average_pool"},
        {"op": "dense", "units": 10, "bias": False},
    ]
    architecture = parse(described(*layers, input=[17, 16, 3], parameter_count=108 + 40 + 40), "own")
    shapes = [layer.output_shape for layer in architecture.layers]
    assert shapes == [(9, 8, 4), (3, 3, 4), (1, 1, 4), (4,), (10,)]
    assert architecture.mac_count == 9 * 8 * 4 * 27 + 3 * 3 * 4 * 9 + 40


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        (32, 3, 1, (1, 1)),
        (32, 3, 2, (0, 1)),
        (9, 3, 2, (1, 1)),
        (32, 1, 2, (0, 0)),
        (8, 5, 1, (2, 2)),
        (5, 1, 3, (0, 0)),
    ],
)
def test_padding_is_tensorflows(size: int, kernel: int, stride: int, padding: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == padding


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({}, "`name` is missing"),
        (described(input=[8, 8]), r"`input` must be \[rows, columns, channels\]"),
        (described(input=[8, 8, True]), r"`input` must be \[rows, columns, channels\]"),
        (described(layers=[]), "`layers` must be a list"),
        (described(layers="many"), "`layers` must be a list"),
        (described(layers=[7]), r"layers\[0\] must be an object"),
        (described({"op": "conv3d"}), "`op` is `conv3d`, and must be one of `conv2d`"),
        (described({"op": "conv2d", "kernel": 3}), "`filters` is missing"),
        (described({"op": "relu", "filters": 3}), "`filters` is no member of this layer"),
        (described({"op": "dense", "units": 10}), "put `flatten` before it"),
        (described({"op": "flatten"}, {"op": "conv2d", "filters": 1, "kernel": 1}), "needs rows, columns and channels"),
        (described({"op": "max_pool", "size": 9}), "leaves nothing"),
        (described({"op": "flatten"}), r"the last layer gives shape \[64\]"),
        (described({"op": "flatten", "from": "nowhere"}), "there is no such layer before this one"),
        (described({"op": "flatten", "from": {"a": 1}}), "must be the id of an earlier layer"),
        (described({"op": "add"}), "for `add` a list of two or more ids"),
        (described({"op": "flatten", "id": "input"}), "`input` is taken"),
        (described({"op": "relu"}, {"op": "relu", "from": ["input", "layer_0"]}), "only `add` joins layers"),
        (described({"id": "a", "op": "flatten"}, {"op": "add", "from": ["a", "input"]}), "cannot be added"),
        (described(parameter_count=651), "`parameter_count` is 651, and the layers have 650"),
        (described(colour="red"), "`colour` is no member of an architecture"),
        (described({"op": "conv2d", "filters": 65536, "kernel": 1}, input=[65536, 2, 1]), "beyond 2147483647 values"),
    ],
)
def test_a_garbage_architecture_is_refused_with_its_place(members: dict[str, Any], told: str) -> None:
    with pytest.raises(JobError, match=told) as caught:
        architecture_from(members, "job.json: config: architecture")
    assert all(problem.startswith("job.json: config: architecture") for problem in caught.value.problems)


@pytest.mark.parametrize("value", [None, 7, [], "../resnet8", "", "resnet8.json"])
def test_an_architecture_that_is_not_shipped_is_answered_with_those_that_are(value: object) -> None:
    with pytest.raises(JobError, match=r"job\.json"):
        architecture_from(value, "job.json: config: architecture")


def test_the_shipped_files_are_plain_ascii_json() -> None:
    from importlib import resources

    for file in (resources.files("tinywatt_trainers") / "architectures").iterdir():
        json.loads(file.read_bytes().decode("ascii"))
