"""From one number per sample to one number: the average case, the worst case, and what lies between (ledger D1-D5)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def mean(values: Tensor) -> Tensor:
    """The average case: (n,) -> scalar (ledger D1-D2)."""
    return values.mean()


def floor(values: Tensor) -> Tensor:
    """The worst case: (n,) -> scalar (ledger D3)."""
    return values.min()


def soft_floor(beta: float) -> Callable[[Tensor], Tensor]:
    """Between the two: ``-(1/beta) log E exp(-beta * value)``; the mean at beta -> 0, the floor at infinity.

    Ledger D5, with the 1/beta that the document drops.

    Examples
    --------
    >>> import torch
    >>> round(float(soft_floor(100.0)(torch.tensor([0.0, 1.0]))), 3)
    0.007
    """
    if not beta > 0:
        raise ValueError(f"soft_floor needs beta > 0, got {beta}: use mean for beta = 0")
    return lambda values: -(torch.logsumexp(-beta * values, 0) - math.log(len(values))) / beta
