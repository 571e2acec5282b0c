"""The loop over batches: the same order, loss and optimiser as in every other framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tinywatt_trainers.errors import JobError
from tinywatt_trainers.job import Epoch, Progress, Scaling
from tinywatt_trainers.seeds import order_of_epoch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinywatt_trainers.inputs import InputSet
    from tinywatt_trainers.keras.network import Model, Tensor

# Inputs per call when nothing is learned.
EVALUATION_BATCH_SIZE = 256

LossOf = Callable[["Tensor", "Tensor", "Tensor"], "Tensor"]
Forward = Callable[["Tensor"], "Tensor"]
Inference = Callable[["InputSet", Scaling], "NDArray[np.float32]"]


@dataclass(frozen=True)
class Course:
    """How a model is to be trained.

    Attributes:
        epochs: Passes over the training inputs.
        batch_size: Inputs per step; the last step of an epoch takes what is left.
        learning_rate: Adam's step size.
        seed: The job's.
        scaling: From bytes to the model's input.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    scaling: Scaling


def label_loss(_inputs: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    """Mean cross-entropy of the labels."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def distillation_loss(teacher: Model, temperature: float, alpha: float) -> LossOf:
    """The labels' cross-entropy mixed with the divergence from a teacher's softened answers.

    Args:
        teacher: A trained model with the same classes.
        temperature: Both networks' logits are divided by it; its square keeps the gradients' size.
        alpha: Share of the labels.
    """

    def loss(inputs: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        soft = tf.nn.softmax(teacher(inputs, training=False) / temperature)
        own = tf.nn.log_softmax(logits / temperature)
        divergence = tf.reduce_mean(tf.reduce_sum(soft * (tf.math.log(soft + 1e-12) - own), axis=-1))
        return alpha * label_loss(inputs, labels, logits) + (1.0 - alpha) * temperature**2 * divergence

    return loss


def train(
    model: Model,
    course: Course,
    inputs: InputSet,
    validation: InputSet | None,
    progress: Progress,
    *,
    phase: str,
    loss_of: LossOf = label_loss,
    forward: Forward | None = None,
    after_step: Callable[[int, int], None] | None = None,
) -> tuple[Epoch, ...]:
    """Trains a model in place with Adam.

    Args:
        model: What learns.
        course: How.
        inputs: What it learns from.
        validation: What it is asked after each epoch, if anything.
        progress: Where lines go.
        phase: Name of the phase in these lines.
        loss_of: Loss of a batch from its inputs, labels and logits.
        forward: Logits of a batch in training, when the model is not simply called.
        after_step: Called with the number of steps done and of all steps, to correct weights.

    Raises:
        JobError: When the loss is no longer a number.
    """
    optimizer = tf.keras.optimizers.Adam(course.learning_rate)
    # The model then saves the optimiser's state with itself.
    model.compile(optimizer=optimizer)
    optimizer.build(model.trainable_variables)
    call = forward or (lambda batch: model(batch, training=True))

    # Without shapes known beforehand the last, smaller batch would be compiled in the middle of an epoch.
    signature = [tf.TensorSpec((None, *inputs.shape), tf.float32), tf.TensorSpec((None,), tf.int64)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(batch: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with tf.GradientTape() as tape:
            logits = call(batch)
            loss = loss_of(batch, labels, logits)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss, tf.math.count_nonzero(tf.argmax(logits, axis=-1) == labels)

    infer = inference(model, inputs)
    step_count = -(-len(inputs) // course.batch_size)
    done = 0
    epochs: list[Epoch] = []
    for number in range(1, course.epochs + 1):
        order = order_of_epoch(course.seed, number, len(inputs))
        loss_sum, right_count = 0.0, 0
        for start in range(0, len(inputs), course.batch_size):
            chosen = order[start : start + course.batch_size]
            loss, right = step(inputs.reals(chosen, course.scaling), inputs.labels[chosen])
            loss_sum += float(loss) * len(chosen)
            right_count += int(right)
            done += 1
            if after_step is not None:
                after_step(done, step_count * course.epochs)
            progress.occasionally(
                phase=phase, epoch=number, epoch_count=course.epochs, fraction=done / (step_count * course.epochs)
            )
        if not np.isfinite(loss_sum):
            raise JobError(f"the loss of epoch {number} is not a number: take a smaller `learning_rate`")
        epoch = _epoch(number, loss_sum / len(inputs), right_count / len(inputs), infer, validation, course.scaling)
        epochs.append(epoch)
        is_validated = epoch.validation_accuracy is not None
        progress.line(
            phase=phase,
            epoch=number,
            epoch_count=course.epochs,
            loss=epoch.train_loss,
            accuracy=epoch.train_accuracy if epoch.validation_accuracy is None else epoch.validation_accuracy,
            fraction=done / (step_count * course.epochs),
            text="accuracy on the validation inputs" if is_validated else "accuracy on the training inputs",
        )
    return tuple(epochs)


def _epoch(
    number: int,
    train_loss: float,
    train_accuracy: float,
    infer: Inference,
    validation: InputSet | None,
    scaling: Scaling,
) -> Epoch:
    if validation is None:
        return Epoch(number, train_loss, train_accuracy)
    logits = infer(validation, scaling)
    labels = validation.labels
    loss = float(label_loss(None, labels, tf.constant(logits)))
    return Epoch(number, train_loss, train_accuracy, loss, float(np.mean(logits.argmax(axis=-1) == labels)))


def inference(model: Model, inputs: InputSet) -> Inference:
    """A function that asks the model many inputs at a time.

    Args:
        model: Asked as it is at each call, also while it learns.
        inputs: Of the shape that it will be asked.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, *inputs.shape), tf.float32)])  # type: ignore[untyped-decorator]
    def infer(batch: Tensor) -> Tensor:
        return model(batch, training=False)

    def logits(asked: InputSet, scaling: Scaling) -> NDArray[np.float32]:
        starts = range(0, len(asked), EVALUATION_BATCH_SIZE)
        batches = (asked.reals(slice(start, start + EVALUATION_BATCH_SIZE), scaling) for start in starts)
        return np.concatenate([infer(batch).numpy() for batch in batches])

    return logits
