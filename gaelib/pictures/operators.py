"""What happened to a picture: modules from (1, C, H, W) to the measurement, channels first."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..hyper import need_integer
from ..rows import Table, real, view

__all__ = ["Downsample", "Linear", "Mask"]


class Mask(nn.Module):
    """Lost pixels: the known ones stay, the others become 0.

    Parameters
    ----------
    known : array (H, W) or (H, W, C), bool or numbers without NaN
        True, or not 0, where the picture is known.  What the measurement holds elsewhere is ignored, NaN included.

    Examples
    --------
    >>> Mask([[True, False]])(torch.ones(1, 1, 1, 2))
    tensor([[[[1., 0.]]]])
    """

    def __init__(self, known: Table):
        super().__init__()
        known = view(real(known, "the mask")).cpu() != 0
        if not known.any():
            raise ValueError(f"the mask knows 0 of {known.numel()} pixels: mark at least one as known")
        self.register_buffer("known", channels_first(known, known.ndim == 3))

    def picture(self, measured: tuple[int, ...]) -> tuple[int, ...]:
        """The picture's shape, from the measurement's."""
        if measured[:2] != self.known.shape[2:] or self.known.shape[1] not in (1, *measured[2:]):
            known = tuple(self.known.shape[2:]) + tuple(self.known.shape[1:2]) * (self.known.shape[1] > 1)
            raise ValueError(f"the mask is {known}, the image {tuple(measured)}: pass one entry for each pixel")
        return measured

    def like(self, values: Any) -> np.ndarray:
        """The mask, one entry for each of the values (H, W) or (H, W, C)."""
        known = self.known[0].movedim(0, -1).cpu().numpy()
        return np.broadcast_to(known if values.ndim == 3 else known[..., 0], values.shape)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.known


class Downsample(nn.Module):
    """Fewer pixels, without aliasing: a Lanczos window of two lobes, then every ``factor``-th pixel of each axis.

    Examples
    --------
    >>> Downsample(4)(torch.ones(1, 3, 32, 64)).shape
    torch.Size([1, 3, 8, 16])
    """

    def __init__(self, factor: int):
        super().__init__()
        need_integer("factor", factor, at_least=2)
        self.factor = int(factor)
        taps = 4 * factor - factor % 2  # centred on a pixel if odd, between two if even
        at = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / factor
        window = torch.sinc(at) * torch.sinc(at / 2)
        self.register_buffer("window", (window / window.sum()).float())

    def picture(self, measured: tuple[int, ...]) -> tuple[int, ...]:
        """The picture's shape, from the measurement's."""
        return tuple(self.factor * side for side in measured[:2]) + tuple(measured[2:])

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rest = (len(self.window) - self.factor) // 2
        x = F.pad(x.flatten(0, 1)[:, None], (rest,) * 4, "replicate")
        x = F.conv2d(x, self.window.view(1, 1, 1, -1), stride=(1, self.factor))
        x = F.conv2d(x, self.window.view(1, 1, -1, 1), stride=(self.factor, 1))
        return x.view(1, -1, height // self.factor, width // self.factor)


class Linear(nn.Module):
    """Linear measurements of each channel: compressed sensing when there are fewer of them than pixels.

    Parameters
    ----------
    matrix : array (M, H * W)
        One measurement a row; pixels in row-major order.
    shape : tuple
        The picture's, (H, W) or (H, W, C).  The measurement is then (M,) or (M, C).

    Examples
    --------
    >>> Linear(np.ones((1, 6)), (2, 3))(torch.ones(1, 1, 2, 3))
    tensor([[[6.]]])
    """

    def __init__(self, matrix: Table, shape: tuple[int, ...]):
        super().__init__()
        matrix = view(real(matrix, "the matrix")).cpu().float()
        if matrix.ndim != 2 or matrix.shape[1] != math.prod(shape[:2]):
            raise ValueError(
                f"the matrix is {tuple(matrix.shape)}, a picture {tuple(shape)} has {math.prod(shape[:2])} pixels: "
                "pass one column for each pixel"
            )
        self.register_buffer("matrix", matrix)
        self.shape = tuple(shape)

    def picture(self, measured: tuple[int, ...]) -> tuple[int, ...]:
        """The picture's shape, whatever the measurement's."""
        return self.shape

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2) @ self.matrix.T


def channels_first(array: Tensor, colour: bool) -> Tensor:
    """(*S) or, in colour, (*S, C) to (1, C, *S)."""
    return array.movedim(-1, 0)[None] if colour else array[None, None]
