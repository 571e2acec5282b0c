"""Keras models into `.tflite` files, and what these answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tinywatt_trainers.keras.network import Network, copied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from tinywatt_trainers.inputs import InputSet
    from tinywatt_trainers.job import Scaling

# What a converter makes of the weights and activations as they are.
CONVERSIONS: Final = ("float32", "dynamic-range", "full-integer", "float16", "int16x8")
CALIBRATED: Final = ("full-integer", "int16x8")


def converted(network: Network, conversion: str, calibration: NDArray[np.float32]) -> bytes:
    """The deployable file.

    Args:
        network: A trained network.
        conversion: One of `CONVERSIONS`.
        calibration: Training inputs in the model's own scaling, from which the ranges of activations are taken; only
            looked at for `CALIBRATED`.
    """
    # LiteRT creates no buffers for a batch of unknown size.
    deployed = copied(network, batch_size=1)
    converter = tf.lite.TFLiteConverter.from_keras_model(deployed.model)
    if conversion != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if conversion == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if conversion in CALIBRATED:

        def representative() -> Iterator[list[Any]]:
            for real in calibration:
                yield [real[np.newaxis]]

        converter.representative_dataset = representative
    if conversion == "full-integer":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    if conversion == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
    return bytes(converter.convert())


def answers(model: bytes, inputs: InputSet, scaling: Scaling, thread_count: int) -> NDArray[np.int64]:
    """The class that a `.tflite` model gives each input, by the official runtime.

    Args:
        model: The file's bytes.
        inputs: What it is asked.
        scaling: From bytes to the model's input, before any quantisation.
        thread_count: Threads of the runtime.
    """
    interpreter = Interpreter(model_content=model, num_threads=thread_count)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]
    found = np.empty(len(inputs), dtype=np.int64)
    for index in range(len(inputs)):
        real = inputs.reals(slice(index, index + 1), scaling)
        interpreter.set_tensor(source["index"], _as_input(real, source))
        interpreter.invoke()
        found[index] = int(interpreter.get_tensor(target["index"])[0].argmax())
    return found


def _as_input(real: NDArray[np.float32], source: dict[str, Any]) -> NDArray[Any]:
    """An input in the type of the model's tensor, by the tensor's own scale and zero point."""
    kind = np.dtype(source["dtype"])
    if kind == np.float32:
        return real
    scale, zero_point = source["quantization"]
    limits = np.iinfo(kind)
    quantised: NDArray[Any] = np.clip(np.round(real / scale) + zero_point, limits.min, limits.max).astype(kind)
    return quantised
