"""Transforms of pictures, drawn anew at every step of a climb: ``transform(x, generator) -> x``."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def jitter(pixels: int) -> Callable[..., Tensor]:
    """Shift by up to so many pixels each way, around the edge.

    Examples
    --------
    >>> jitter(1)(torch.eye(3)[None, None], torch.Generator().manual_seed(0)).sum()
    tensor(3.)
    """
    if pixels < 0:
        raise ValueError(f"jitter({pixels}) shifts by less than 0 pixels: pass 0 or more")

    def move(x, generator):
        shift = torch.randint(-pixels, pixels + 1, (2,), generator=generator).tolist()
        return x.roll(shift, (-2, -1))

    return move


def pad(pixels: int, value: float = 0.0) -> Callable[..., Tensor]:
    """Add a border of so many pixels of one value; the network must take larger pictures."""
    return lambda x, generator: functional.pad(x, (pixels,) * 4, value=value)


def rotate(degrees: float) -> Callable[..., Tensor]:
    """Turn by up to so many degrees either way; what comes in from outside is 0."""
    return lambda x, generator: _warp(x, _uniform(-degrees, degrees, generator), 1.0)


def scale(low: float, high: float) -> Callable[..., Tensor]:
    """Enlarge by a factor between low and high; what comes in from outside is 0."""
    if not 0 < low <= high:
        raise ValueError(f"scale({low}, {high}) is no range of factors: pass 0 < low <= high")
    return lambda x, generator: _warp(x, 0.0, _uniform(low, high, generator))


def _uniform(low, high, generator):
    return low + (high - low) * float(torch.rand((), generator=generator))


def _warp(x, degrees, factor):
    turn = math.radians(degrees)
    rows = [[math.cos(turn), -math.sin(turn), 0.0], [math.sin(turn), math.cos(turn), 0.0]]
    rows = torch.tensor(rows, dtype=x.dtype, device=x.device) / factor
    grid = functional.affine_grid(rows.expand(len(x), 2, 3), x.shape, align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)
