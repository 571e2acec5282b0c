"""Architectures in words of no framework: read, checked, and counted.

A description is a JSON object; README.md documents it. Each framework builds it in its own words, and must end with
the parameter count that is computed here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Final

from tinywatt_trainers.errors import JobError
from tinywatt_trainers.fields import Fields, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The id of what the model is asked.
INPUT_ID: Final = "input"
DIMENSION_MAX: Final = 65_536
ELEMENTS_MAX: Final = 2**31 - 1
LAYERS_MAX: Final = 10_000

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Conv2d:
    """A convolution over rows and columns, padded so that stride 1 keeps the size ("same").

    Attributes:
        filters: Channels of the output.
        kernel: Rows and columns of the kernel.
        stride: Step in both directions.
        bias: Whether a bias is added.
    """

    filters: int
    kernel: int
    stride: int
    bias: bool


@dataclass(frozen=True)
class DepthwiseConv2d:
    """A convolution that keeps channels apart, padded as `Conv2d`.

    Attributes:
        kernel: Rows and columns of the kernel.
        stride: Step in both directions.
        bias: Whether a bias is added.
    """

    kernel: int
    stride: int
    bias: bool


@dataclass(frozen=True)
class BatchNorm:
    """Normalisation per channel; scale and shift are parameters, the moving statistics are not.

    Frameworks differ in their defaults, so both are said here.

    Attributes:
        EPSILON: Added to the variance.
        MOMENTUM: Share that the moving statistics keep at a step (torch's `momentum` is one minus this).
    """

    EPSILON: ClassVar[float] = 1e-3
    MOMENTUM: ClassVar[float] = 0.9


@dataclass(frozen=True)
class Relu:
    """Negative values become 0."""


@dataclass(frozen=True)
class MaxPool:
    """The largest value of each square; rows and columns that fill no square are dropped.

    Attributes:
        size: Rows and columns of a square, and the step.
    """

    size: int


@dataclass(frozen=True)
class GlobalAveragePool:
    """The mean of each channel."""


@dataclass(frozen=True)
class Flatten:
    """All values in a row, channels innermost, whatever order the framework computes in."""


@dataclass(frozen=True)
class Dense:
    """A weighted sum of all inputs per unit.

    Attributes:
        units: Number of outputs.
        bias: Whether a bias is added.
    """

    units: int
    bias: bool


@dataclass(frozen=True)
class Dropout:
    """In training a random share of the values is zero and the rest is scaled up.

    Attributes:
        rate: The share.
    """

    rate: float


@dataclass(frozen=True)
class Add:
    """The sum of two or more equal shapes."""


Op = Conv2d | DepthwiseConv2d | BatchNorm | Relu | MaxPool | GlobalAveragePool | Flatten | Dense | Dropout | Add
OPS: Final = (
    "conv2d",
    "depthwise_conv2d",
    "batch_norm",
    "relu",
    "max_pool",
    "global_average_pool",
    "flatten",
    "dense",
    "dropout",
    "add",
)


@dataclass(frozen=True)
class Layer:
    """One layer with its place in the network.

    Attributes:
        id: Its name, unique in the network.
        op: What it does.
        sources: Ids of the layers that it reads, or `input`.
        input_shape: Shape of each source, without the batch, channels last.
        output_shape: Shape of what comes out.
    """

    id: str
    op: Op
    sources: tuple[str, ...]
    input_shape: Shape
    output_shape: Shape

    @property
    def parameter_count(self) -> int:
        """Numbers that training changes."""
        channels = self.input_shape[-1]
        match self.op:
            case Conv2d(filters, kernel, _, bias):
                return kernel * kernel * channels * filters + bias * filters
            case DepthwiseConv2d(kernel, _, bias):
                return kernel * kernel * channels + bias * channels
            case BatchNorm():
                return 2 * channels
            case Dense(units, bias):
                return channels * units + bias * units
            case _:
                return 0

    @property
    def statistic_count(self) -> int:
        """Numbers that are kept beside the parameters: moving means and variances."""
        return 2 * self.input_shape[-1] if isinstance(self.op, BatchNorm) else 0

    @property
    def mac_count(self) -> int:
        """Multiply-accumulates of one inference, of convolutions and dense layers."""
        match self.op:
            case Conv2d(_, kernel, _, _):
                return prod(self.output_shape) * kernel * kernel * self.input_shape[-1]
            case DepthwiseConv2d(kernel, _, _):
                return prod(self.output_shape) * kernel * kernel
            case Dense(units, _):
                return self.input_shape[-1] * units
            case _:
                return 0


@dataclass(frozen=True)
class Architecture:
    """A network in words of no framework. Its last layer gives the logits.

    Attributes:
        name: What it is called in reports.
        about: What it is, for readers.
        input_shape: Rows, columns, channels.
        class_count: Number of logits.
        layers: In an order in which each only reads earlier ones.
    """

    name: str
    about: str
    input_shape: Shape
    class_count: int
    layers: tuple[Layer, ...]

    @classmethod
    def nothing(cls) -> Architecture:
        """A stand-in while the mistakes of a job are being collected."""
        return cls("", "", (1, 1, 1), 1, ())

    @property
    def parameter_count(self) -> int:
        """Numbers that training changes."""
        return sum(layer.parameter_count for layer in self.layers)

    @property
    def statistic_count(self) -> int:
        """Moving means and variances, which some count as parameters."""
        return sum(layer.statistic_count for layer in self.layers)

    @property
    def mac_count(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.mac_count for layer in self.layers)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a dimension so that its length becomes ceil(size / stride).

    Where the sum is odd the larger half comes after.
    """
    output_size = -(-size // stride)
    total = max((output_size - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def shipped_names() -> list[str]:
    """Names of the architectures that come with the package."""
    folder = resources.files(__package__) / "architectures"
    return sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))


def architecture_from(value: object, place: str) -> Architecture:
    """An architecture by the name of a shipped one, or as its description.

    Args:
        value: A text or a JSON object.
        place: Where it stands, for messages.

    Raises:
        JobError: With all mistakes at once.
    """
    if isinstance(value, dict):
        return parse(value, place)
    if not isinstance(value, str):
        raise JobError(f"{place} must be the name of an architecture or its description, and is {value!r}")
    if value not in shipped_names():
        raise JobError(
            f"{place}: no architecture `{value}` is shipped; known are {listed(shipped_names())}, "
            "or describe your own (README.md of the trainers)"
        )
    content = (resources.files(__package__) / "architectures" / f"{value}.json").read_text(encoding="utf-8")
    return parse(json.loads(content), f"{value}.json")


def parse(members: Mapping[str, Any], place: str) -> Architecture:
    """Checks a description and infers its shapes.

    Args:
        members: The description.
        place: Where it stands, for messages.

    Raises:
        JobError: With all mistakes at once.
    """
    problems: list[str] = []
    fields = Fields(members, place, problems)
    name = fields.text("name")
    about = members.get("about", "")
    input_shape = _input_shape(fields)
    class_count = fields.whole("class_count", 1, DIMENSION_MAX)
    announced_count = fields.whole("parameter_count", 0, ELEMENTS_MAX)
    fields.seen.update(("about", "layers"))
    problems.extend(f"{place}: `{key}` is no member of an architecture" for key in fields.unknown())
    descriptions = members.get("layers")
    if not isinstance(descriptions, list) or not 0 < len(descriptions) <= LAYERS_MAX:
        fields.problem("layers", f"must be a list of 1 to {LAYERS_MAX} layers")
        descriptions = []
    if problems:
        raise JobError(problems)
    layers = _layers(descriptions, input_shape, place)
    architecture = Architecture(name, str(about), input_shape, class_count, layers)
    if layers[-1].output_shape != (class_count,):
        problems.append(
            f"{place}: the last layer gives shape {list(layers[-1].output_shape)}, "
            f"and {class_count} classes need [{class_count}]: end with a dense layer of {class_count} units"
        )
    if announced_count != architecture.parameter_count:
        problems.append(
            f"{place}: `parameter_count` is {announced_count}, and the layers have {architecture.parameter_count}: "
            "correct whichever is wrong (moving statistics are not counted)"
        )
    if problems:
        raise JobError(problems)
    return architecture


def _input_shape(fields: Fields) -> Shape:
    fields.seen.add("input")
    value = fields.members.get("input")
    is_shape = (
        isinstance(value, list)
        and len(value) == 3
        and all(type(size) is int and 1 <= size <= DIMENSION_MAX for size in value)
        and prod(value) <= ELEMENTS_MAX
    )
    if not is_shape:
        fields.problem("input", f"must be [rows, columns, channels], and is {value!r}")
        return (1, 1, 1)
    assert isinstance(value, list)
    return tuple(value)


def _layers(descriptions: Sequence[Any], input_shape: Shape, place: str) -> tuple[Layer, ...]:
    problems: list[str] = []
    shapes: dict[str, Shape] = {INPUT_ID: input_shape}
    layers: list[Layer] = []
    last = INPUT_ID
    for index, description in enumerate(descriptions):
        where = f"{place}: layers[{index}]"
        if not isinstance(description, dict):
            problems.append(f"{where} must be an object, and is {description!r}")
            break
        fields = Fields(description, where, problems)
        identity = fields.text("id") if "id" in description else f"layer_{index}"
        if identity in shapes:
            fields.problem("id", f"`{identity}` is taken")
        op = _op(fields)
        sources = _sources(fields, last, shapes, joins=isinstance(op, Add))
        problems.extend(f"{where}: `{key}` is no member of this layer" for key in fields.unknown())
        # Shapes behind a mistake would be guesses.
        if problems or op is None:
            break
        input_shapes = {shapes[source] for source in sources}
        if len(input_shapes) > 1:
            problems.append(f"{where}: the shapes {sorted(map(list, input_shapes))} cannot be added")
            break
        shape = shapes[sources[0]]
        output_shape = _output_shape(op, shape)
        if isinstance(output_shape, str):
            problems.append(f"{where}: {output_shape}")
            break
        shapes[identity] = output_shape
        layers.append(Layer(identity, op, sources, shape, output_shape))
        last = identity
    if problems:
        raise JobError(problems)
    return tuple(layers)


def _op(fields: Fields) -> Op | None:
    name = fields.text("op", OPS)
    match name:
        case "conv2d":
            return Conv2d(
                filters=fields.whole("filters", 1, DIMENSION_MAX),
                kernel=fields.whole("kernel", 1, 1024),
                stride=fields.whole("stride", 1, 1024, default=1),
                bias=fields.flag("bias", default=True),
            )
        case "depthwise_conv2d":
            return DepthwiseConv2d(
                kernel=fields.whole("kernel", 1, 1024),
                stride=fields.whole("stride", 1, 1024, default=1),
                bias=fields.flag("bias", default=True),
            )
        case "batch_norm":
            return BatchNorm()
        case "relu":
            return Relu()
        case "max_pool":
            return MaxPool(fields.whole("size", 1, 1024))
        case "global_average_pool":
            return GlobalAveragePool()
        case "flatten":
            return Flatten()
        case "dense":
            return Dense(fields.whole("units", 1, DIMENSION_MAX), fields.flag("bias", default=True))
        case "dropout":
            return Dropout(fields.real("rate", 0.0, 0.999))
        case "add":
            return Add()
        case _:
            return None


def _sources(fields: Fields, last: str, shapes: Mapping[str, Shape], *, joins: bool) -> tuple[str, ...]:
    fields.seen.add("from")
    value = fields.members.get("from")
    if value is None and not joins:
        return (last,)
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, str) for source in sources) or (joins and len(sources) < 2):
        fields.problem("from", "must be the id of an earlier layer, and for `add` a list of two or more ids")
        return (last,)
    if not joins and len(sources) != 1:
        fields.problem("from", f"names {len(sources)} layers, and only `add` joins layers")
    for source in sources:
        if source not in shapes:
            fields.problem("from", f"names `{source}`, and there is no such layer before this one")
    return tuple(sources)


def _output_shape(op: Op, shape: Shape) -> Shape | str:
    """The shape that comes out, or why nothing can."""
    match op:
        case Conv2d() | DepthwiseConv2d() | MaxPool() | GlobalAveragePool() if len(shape) != 3:
            return f"needs rows, columns and channels, and gets shape {list(shape)}"
        case Dense() if len(shape) != 1:
            return f"needs a row of values, and gets shape {list(shape)}: put `flatten` before it"
        case Conv2d(filters, _, stride, _):
            output: Shape = (-(-shape[0] // stride), -(-shape[1] // stride), filters)
        case DepthwiseConv2d(_, stride, _):
            output = (-(-shape[0] // stride), -(-shape[1] // stride), shape[2])
        case MaxPool(size):
            output = (shape[0] // size, shape[1] // size, shape[2])
        case GlobalAveragePool():
            output = (shape[2],)
        case Flatten():
            output = (prod(shape),)
        case Dense(units, _):
            output = (units,)
        case _:
            output = shape
    if 0 in output:
        return f"leaves nothing of shape {list(shape)}"
    if prod(output) > ELEMENTS_MAX:
        return f"gives shape {list(output)}, which is beyond {ELEMENTS_MAX} values"
    return output
