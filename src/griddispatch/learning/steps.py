"""Steps of the optimisers of K agents: the loss, the clipped descent, the learning rate."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, smooth_l1_loss

from griddispatch.learning.networks import clip_per_agent


def cosine(start: float, end: float, part: float) -> float:
    """From `start` to `end` along half a cosine, while `part` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def set_lr(optimisers: Sequence[torch.optim.Optimizer], lr: float) -> None:
    """Give all optimisers this learning rate."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = lr


def descend(loss: Tensor, optimiser: torch.optim.Optimizer, largest_gradient: float | None) -> None:
    """One step of `optimiser` down a loss [..., K, B, 1]: mean over the batch, sum over the rest.

    The sum keeps each agent's gradient its own, as if it were trained alone. Parameters of other
    optimisers, such as the critic's in the loss of the actor, stay as they are.
    """
    parameters = optimiser.param_groups[0]["params"]
    optimiser.zero_grad()
    loss.mean(-2).sum().backward(inputs=parameters)
    clip_per_agent(parameters, largest_gradient)
    optimiser.step()


def regression_error(value: Tensor, y: Tensor, huber: float | None) -> Tensor:
    """Error of each value: squared, or beyond `huber` linear (Huber's loss); None: squared."""
    if huber is None:
        return mse_loss(value, y, reduction="none")
    return smooth_l1_loss(value, y, beta=huber, reduction="none")
