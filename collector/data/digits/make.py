"""Makes the digits input sets and the demo's four models, and measures them with the official runtime.

Run in a virtual environment with `pip install -r requirements.txt`: `python make.py`. Everything is seeded; the files
beside this script are its output. See README.md for what each file is.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits
from sklearn.metrics import precision_recall_fscore_support
from sklearn.model_selection import train_test_split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

FOLDER: Final = Path(__file__).parent
SEED: Final = 20260101
CLASS_COUNT: Final = 10
# A quarter of 1,797: enough inputs that one of them is 0.22 points of accuracy.
TEST_INPUT_COUNT: Final = 450
# Pixels count set bits of 4x4 blocks, so they run from 0 to 16.
PIXEL_MAX: Final = 16
REPRESENTATIVE_INPUT_COUNT: Final = 300
EPOCH_COUNT: Final = 60


def input_set(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> bytes:
    """Lays out an input set of plain bytes (proto/src/inputs.rs).

    Args:
        pixels: Values 0 to 16, [input][row][column].
        labels: The digit of each input.
    """
    header = struct.pack("<4s8I", b"TWIN", 1, 0, CLASS_COUNT, len(labels), 3, 8, 8, 1)
    return header + labels.astype("<u4").tobytes() + pixels.tobytes()


def network(batch: int | None) -> tf.keras.Model:
    """Builds the network: two convolutions and two dense layers, 13,706 parameters."""
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            layers.InputLayer(batch_shape=(batch, 8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(CLASS_COUNT, activation="softmax"),
        ]
    )


def trained(reals: NDArray[np.float32], labels: NDArray[np.int64]) -> tf.keras.Model:
    """Trains on the training inputs and returns the network with a batch of exactly one.

    LiteRT refuses to create buffers for a batch of unknown size.
    """
    training = network(None)
    training.compile(optimizer=tf.keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
    training.fit(reals, labels, batch_size=32, epochs=EPOCH_COUNT, verbose=0)
    deployed = network(1)
    deployed.set_weights(training.get_weights())
    return deployed


def converted(model: tf.keras.Model, technique: str, representative: NDArray[np.float32]) -> bytes:
    """Converts a model with one technique.

    Args:
        model: The trained network.
        technique: "float32", "float16", "dynamic-range" or "full-integer".
        representative: Training inputs in the model's own scaling, for the ranges of activations.
    """
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if technique != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if technique == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if technique == "full-integer":

        def inputs() -> Iterator[list[NDArray[np.float32]]]:
            for real in representative:
                yield [real[np.newaxis]]

        converter.representative_dataset = inputs
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def outputs(model: bytes, reals: NDArray[np.float32]) -> list[NDArray[np.generic]]:
    """Runs the official runtime on one thread; inputs are quantised with the tensor's own scale and zero point."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]
    scale, zero_point = source["quantization"]
    found = []
    for real in reals:
        value = real[np.newaxis]
        if source["dtype"] == np.int8:
            value = np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], value)
        interpreter.invoke()
        found.append(interpreter.get_tensor(target["index"])[0].copy())
    return found


def main() -> None:
    """Makes every file."""
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()

    digits = load_digits()
    pixels = digits.images.astype(np.uint8)[..., np.newaxis]
    train_pixels, test_pixels, train_labels, test_labels = train_test_split(
        pixels, digits.target, test_size=TEST_INPUT_COUNT, random_state=SEED, stratify=digits.target
    )
    (FOLDER / "train.twin").write_bytes(input_set(train_pixels, train_labels))
    (FOLDER / "test.twin").write_bytes(input_set(test_pixels, test_labels))

    train_reals = (train_pixels / PIXEL_MAX).astype(np.float32)
    test_reals = (test_pixels / PIXEL_MAX).astype(np.float32)
    model = trained(train_reals, train_labels)
    expected = {}
    for technique in ("float32", "float16", "dynamic-range", "full-integer"):
        content = converted(model, technique, train_reals[:REPRESENTATIVE_INPUT_COUNT])
        file = f"cnn-{technique}.tflite"
        (FOLDER / file).write_bytes(content)
        found = outputs(content, test_reals)
        predicted = np.array([np.argmax(output) for output in found])
        precision, recall, f1, _ = precision_recall_fscore_support(
            test_labels, predicted, average="macro", zero_division=0
        )
        expected[technique] = {
            "file": file,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "correct_count": int((predicted == test_labels).sum()),
            "accuracy": round(float((predicted == test_labels).mean()), 6),
            "precision_macro": round(float(precision), 6),
            "recall_macro": round(float(recall), 6),
            "f1_macro": round(float(f1), 6),
        }
        if technique == "full-integer":
            # Integer kernels give the same bytes on every machine; float ones need not.
            raw = b"".join(output.tobytes() for output in found)
            expected[technique]["outputs_sha256"] = hashlib.sha256(raw).hexdigest()
    text = json.dumps({"input_count": TEST_INPUT_COUNT, "models": expected}, indent=2)
    (FOLDER / "expected.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
