"""Sets the smallest weights to zero and lets the others make up for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import nn
from torch.nn.utils import prune

# As the Keras trainer prunes: the last quarter of fine tuning keeps the pattern that it ends with.
RAMP_SHARE: Final = 0.75
UPDATES: Final = 20


@dataclass
class Pruning:
    """Prunes kernels by magnitude, more and more of them while the network learns.

    The share follows a cubic ramp, steep first (Zhu and Gupta, "To prune, or not to prune", 2017). Depthwise
    kernels, few and sensitive, stay whole.

    Attributes:
        network: What is pruned in place.
        sparsity: Share of zeros in each kernel in the end.
    """

    network: nn.Module
    sparsity: float

    def __post_init__(self) -> None:
        self._layers = [layer for layer in _kernel_layers(self.network) if getattr(layer, "groups", 1) == 1]
        for layer in self._layers:
            prune.identity(layer, "weight")

    def after_step(self, done: int, step_count: int) -> None:
        """Prunes what is due; torch masks the weights at each call of the network."""
        ramp = max(1, int(step_count * RAMP_SHARE))
        period = max(1, ramp // UPDATES)
        if done != ramp and (done > ramp or done % period != 0):
            return
        share = self.sparsity * (1.0 - (1.0 - done / ramp) ** 3)
        for layer in self._layers:
            # What is zero stays among the smallest, so that a mask only ever grows.
            layer.weight_mask.copy_(_mask((layer.weight_orig * layer.weight_mask).detach(), share))

    def finish(self) -> None:
        """Makes the zeros part of the kernels."""
        for layer in self._layers:
            prune.remove(layer, "weight")


def zero_share(network: nn.Module) -> float:
    """Share of zeros among the weights of all kernels, depthwise ones included."""
    kernels = [layer.weight for layer in _kernel_layers(network)]
    zero_count = sum(int((kernel == 0).sum()) for kernel in kernels)
    return zero_count / sum(int(kernel.numel()) for kernel in kernels)


def _kernel_layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def _mask(kernel: torch.Tensor, share: float) -> torch.Tensor:
    """1 where a weight stays, 0 at the given share of the smallest ones."""
    mask = torch.ones(kernel.numel(), dtype=kernel.dtype, device=kernel.device)
    mask[kernel.reshape(-1).abs().argsort(stable=True)[: round(share * kernel.numel())]] = 0.0
    return mask.reshape(kernel.shape)
