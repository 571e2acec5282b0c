"""Input sets (`.twin`): what a model is asked, and the right answers, in one file.

Layout, little-endian: the magic `TWIN`, version 1 as `u32`, then `u32` each: encoding (0 plain), class count, input
count, rank, and the dimensions of one input without the batch; then one `u32` label per input; then the inputs, one
byte per element, channels last.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from tinywatt_trainers.errors import JobError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinywatt_trainers.architecture import Architecture
    from tinywatt_trainers.job import Job, Scaling

MAGIC: Final = b"TWIN"
VERSION: Final = 1
ENCODING_PLAIN: Final = 0
RANK_MAX: Final = 8
HEADER_BYTES: Final = 24


@dataclass(frozen=True, eq=False)
class InputSet:
    """Inputs with their labels, kept as bytes; a batch at a time becomes real.

    Attributes:
        class_count: Labels are below it.
        labels: [input].
        data: [input][row][column][channel].
    """

    class_count: int
    labels: NDArray[np.int64]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions of one input, without the batch."""
        return self.data.shape[1:]

    def first(self, count: int) -> InputSet:
        """The first inputs, or all where there are not so many."""
        return InputSet(self.class_count, self.labels[:count], self.data[:count])

    def reals(self, chosen: NDArray[np.int64] | slice, scaling: Scaling) -> NDArray[np.float32]:
        """The chosen inputs as the model takes them.

        Computed as the device does it: in 32 bits, product first.
        """
        bytes_as_reals = self.data[chosen].astype(np.float32)
        bytes_as_reals *= np.float32(scaling.scale)
        bytes_as_reals += np.float32(scaling.offset)
        return bytes_as_reals


def parse(content: bytes, place: str) -> InputSet:
    """Reads an input set.

    Args:
        content: The file's bytes.
        place: Name of the file, for messages.

    Raises:
        JobError: When the bytes are no input set of plain bytes.
    """

    def refusal(what: str) -> JobError:
        return JobError(f"{place}: {what}; `collector dataset` makes input sets")

    if len(content) < HEADER_BYTES or content[:4] != MAGIC:
        raise refusal("is no input set: it does not begin with `TWIN`")
    version, encoding, class_count, input_count, rank = struct.unpack_from("<5I", content, 4)
    if version != VERSION:
        raise refusal(f"is an input set of version {version}, and this trainer reads version {VERSION}")
    if encoding != ENCODING_PLAIN:
        raise refusal("holds inputs quantised for one model, and training needs plain ones")
    if not 1 <= rank <= RANK_MAX or len(content) < HEADER_BYTES + 4 * rank:
        raise refusal(f"has a header that cannot be true: {rank} dimensions")
    shape = struct.unpack_from(f"<{rank}I", content, HEADER_BYTES)
    if input_count == 0 or class_count == 0 or 0 in shape:
        raise refusal("is empty: no inputs, no classes or a dimension of 0")
    labels_at = HEADER_BYTES + 4 * rank
    data_at = labels_at + 4 * input_count
    expected = data_at + input_count * prod(shape)
    if len(content) != expected:
        raise refusal(f"announces {expected} bytes and has {len(content)}: it was cut or added to")
    labels = np.frombuffer(content, dtype="<u4", count=input_count, offset=labels_at).astype(np.int64)
    beyond = np.flatnonzero(labels >= class_count)
    if beyond.size:
        first = int(beyond[0])
        raise refusal(f"input {first} has label {labels[first]}, and there are {class_count} classes")
    data = np.frombuffer(content, dtype=np.uint8, offset=data_at).reshape((input_count, *shape))
    return InputSet(class_count, labels, data)


def read(job: Job, role: str, architecture: Architecture) -> InputSet:
    """Reads one of the job's input sets and checks that the architecture takes it.

    Raises:
        JobError: When it is missing, another file, broken, or does not fit.
    """
    file = job.input_file(role)
    inputs = parse(file.read(), str(file.path))
    if inputs.shape != architecture.input_shape or inputs.class_count != architecture.class_count:
        raise JobError(
            f"{file.path}: inputs of shape {list(inputs.shape)} in {inputs.class_count} classes do not fit the "
            f"architecture `{architecture.name}`, which takes {list(architecture.input_shape)} in "
            f"{architecture.class_count}: choose an architecture for this data set"
        )
    return inputs
