"""Cutting to limits that are tensors themselves."""

import torch
from torch import Tensor


def within(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """[...] the value cut to [low, high], each [...].

    Where the value lies on a limit, each of both gets half of the gradient, unlike with
    `torch.clamp`.
    """
    return torch.minimum(torch.maximum(value, low), high)
