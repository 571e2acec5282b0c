"""The loop over batches: the same order, loss and optimiser as in every other framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from tinywatt_trainers.confusion import confusion
from tinywatt_trainers.errors import JobError
from tinywatt_trainers.job import Epoch
from tinywatt_trainers.seeds import order_of_epoch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from tinywatt_trainers.confusion import Confusion
    from tinywatt_trainers.inputs import InputSet
    from tinywatt_trainers.job import Progress, Scaling

# Keras' defaults, so that both frameworks take the same steps.
ADAM_BETAS: Final = (0.9, 0.999)
ADAM_EPSILON: Final = 1e-7
# Inputs per call when nothing is learned.
EVALUATION_BATCH_SIZE: Final = 256

# Logits [input][class] of inputs [input][row][column][channel].
Network = Callable[["torch.Tensor"], "torch.Tensor"]
# Loss of a batch from its inputs, labels and logits.
LossOf = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class Course:
    """How a network is to be trained.

    Attributes:
        epochs: Passes over the training inputs, those of a checkpoint included.
        batch_size: Inputs per step; the last step of an epoch takes what is left.
        seed: The job's.
        scaling: From bytes to the network's input.
        device: Where the network lies.
        phase: Name of the phase in progress lines.
    """

    epochs: int
    batch_size: int
    seed: int
    scaling: Scaling
    device: torch.device
    phase: str


def adam(network: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """The optimiser of all our trainings."""
    return torch.optim.Adam(network.parameters(), lr=learning_rate, betas=ADAM_BETAS, eps=ADAM_EPSILON, fused=True)


def label_loss(_inputs: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the labels."""
    return functional.cross_entropy(logits, labels)


def distillation_loss(teacher: Network, temperature: float, alpha: float) -> LossOf:
    """The labels' cross-entropy mixed with the divergence from a teacher's softened answers.

    Args:
        teacher: A trained network with the same classes, in evaluation mode.
        temperature: Both networks' logits are divided by it; its square keeps the gradients' size.
        alpha: Share of the labels.
    """

    def loss(inputs: torch.Tensor, labels: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            soft = functional.log_softmax(teacher(inputs) / temperature, dim=1)
        own = functional.log_softmax(logits / temperature, dim=1)
        divergence = functional.kl_div(own, soft, reduction="batchmean", log_target=True)
        return alpha * label_loss(inputs, labels, logits) + (1.0 - alpha) * temperature**2 * divergence

    return loss


def train(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    course: Course,
    inputs: InputSet,
    validation: InputSet | None,
    progress: Progress,
    *,
    epochs_done: int = 0,
    loss_of: LossOf = label_loss,
    after_step: Callable[[int, int], None] | None = None,
) -> tuple[Epoch, ...]:
    """Trains a network in place and leaves it in evaluation mode.

    Args:
        network: What learns.
        optimiser: Holds what it remembers of earlier epochs.
        course: How.
        inputs: What it learns from.
        validation: What it is asked after each epoch, if anything.
        progress: Where lines go.
        epochs_done: Epochs that a checkpoint already had.
        loss_of: Loss of a batch.
        after_step: Called with the number of steps done and of all steps, to correct weights.

    Raises:
        JobError: When the loss is no longer a number.
    """
    step_count = -(-len(inputs) // course.batch_size)
    done = step_count * epochs_done
    epochs: list[Epoch] = []
    for number in range(epochs_done + 1, course.epochs + 1):
        network.train()
        # Summed where they arise: to ask for each number would make a GPU wait after each step.
        loss_sum = torch.zeros((), dtype=torch.float64, device=course.device)
        right_count = torch.zeros((), dtype=torch.int64, device=course.device)
        order = order_of_epoch(course.seed, number, len(inputs))
        for start in range(0, len(inputs), course.batch_size):
            chosen = order[start : start + course.batch_size]
            batch = torch.from_numpy(inputs.reals(chosen, course.scaling)).to(course.device)
            labels = torch.from_numpy(inputs.labels[chosen]).to(course.device)
            optimiser.zero_grad(set_to_none=True)
            logits = network(batch)
            loss = loss_of(batch, labels, logits)
            loss.backward()
            optimiser.step()
            loss_sum += loss.detach() * len(chosen)
            right_count += (logits.detach().argmax(dim=1) == labels).sum()
            done += 1
            if after_step is not None:
                after_step(done, step_count * course.epochs)
            progress.occasionally(
                phase=course.phase,
                epoch=number,
                epoch_count=course.epochs,
                fraction=done / (step_count * course.epochs),
            )
        train_loss = float(loss_sum) / len(inputs)
        if not np.isfinite(train_loss):
            raise JobError(f"the loss of epoch {number} is not a number: take a smaller `learning_rate`")
        epoch = _epoch(number, train_loss, int(right_count) / len(inputs), network, validation, course)
        epochs.append(epoch)
        is_validated = epoch.validation_accuracy is not None
        progress.line(
            phase=course.phase,
            epoch=number,
            epoch_count=course.epochs,
            loss=epoch.train_loss,
            accuracy=epoch.train_accuracy if epoch.validation_accuracy is None else epoch.validation_accuracy,
            fraction=done / (step_count * course.epochs),
            text="accuracy on the validation inputs" if is_validated else "accuracy on the training inputs",
        )
    network.eval()
    return tuple(epochs)


def _epoch(
    number: int,
    train_loss: float,
    train_accuracy: float,
    network: nn.Module,
    validation: InputSet | None,
    course: Course,
) -> Epoch:
    if validation is None:
        return Epoch(number, train_loss, train_accuracy)
    network.eval()
    answers = logits_of(network, validation, course.scaling, course.device)
    labels = torch.from_numpy(validation.labels)
    loss = float(label_loss(answers, labels, answers))
    return Epoch(number, train_loss, train_accuracy, loss, float((answers.argmax(dim=1) == labels).double().mean()))


def logits_of(network: Network, inputs: InputSet, scaling: Scaling, device: torch.device) -> torch.Tensor:
    """Logits [input][class] of a network in evaluation mode, on the CPU."""
    starts = range(0, len(inputs), EVALUATION_BATCH_SIZE)
    batches = (inputs.reals(slice(start, start + EVALUATION_BATCH_SIZE), scaling) for start in starts)
    with torch.no_grad():
        return torch.cat([network(torch.from_numpy(batch).to(device)).cpu() for batch in batches])


def confusion_of(network: Network, inputs: InputSet, scaling: Scaling, device: torch.device) -> Confusion:
    """Counts per label and answer of a network in evaluation mode."""
    answers: NDArray[np.int64] = logits_of(network, inputs, scaling, device).argmax(dim=1).numpy()
    return confusion(inputs.labels, answers, inputs.class_count)
