"""Pictures that climb: how they are parametrised.

A parametrisation has ``start(n, generator) -> params`` (n, *shape), ``image(params) -> x`` (n, *shape) and
``confine(params)``, which keeps the picture in its bounds.  Both parametrisations here are linear and one to one: a
density over x stays the same density, up to a constant, over the parameters.  Only the path changes.
"""

import math
from typing import Any

import torch
from torch import Tensor


class Pixels:
    """A picture as its own entries.

    Parameters
    ----------
    shape : tuple of int
        Of one picture, (C, H, W); any shape that the network takes.
    start : float or tensor
        Where to start: broadcast to (n, *shape).
    spread : float
        Standard deviation of the noise added to the start, in the picture's units.
    bounds : pair of floats, optional
        Entries are clamped to this range after every step.

    Examples
    --------
    >>> Pixels((1, 2, 2), start=0.5, spread=0.0).start(1, torch.Generator())
    tensor([[[[0.5000, 0.5000],
              [0.5000, 0.5000]]]])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        start: Any = 0.0,
        spread: float = 0.01,
        bounds: tuple[float, float] | None = None,
    ):
        self.shape, self.spread, self.bounds = tuple(shape), spread, bounds
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape={shape} has no entries: pass that of one picture, such as (1, 28, 28)")
        if not 0 <= spread < math.inf:
            raise ValueError(f"spread={spread} is no standard deviation: pass a finite number of at least 0")
        if bounds is not None and not bounds[0] < bounds[1]:
            raise ValueError(f"bounds={bounds} are empty: pass (low, high) with low < high")
        self.first = torch.as_tensor(start)
        if not self.first.is_floating_point():
            self.first = self.first.float()
        if bad := int((~self.first.isfinite()).sum()):
            raise ValueError(f"start has {bad} non-finite of {self.first.numel()} entries: pass a finite picture")

    def start(self, n: int, generator: torch.Generator) -> Any:
        """The parameters of n first pictures: (n, *shape), drawn on the CPU."""
        whole = (n, *self.shape)
        try:
            first = self.first.cpu().expand(whole)
        except RuntimeError:
            raise ValueError(
                f"start has shape {tuple(self.first.shape)}, which does not spread over {n} pictures {self.shape}: "
                f"pass {self.shape} or {whole}"
            ) from None
        shaken = first + self.spread * torch.randn(whole, generator=generator, dtype=first.dtype)
        return self._params(shaken)

    def image(self, params: Any) -> Tensor:
        """The pictures: (n, *shape)."""
        return params

    def confine(self, params: Any) -> Any:
        """The parameters of the nearest pictures within the bounds."""
        return params if self.bounds is None else self._params(self.image(params).clamp(*self.bounds))

    def _params(self, x):
        return x


class Fourier(Pixels):
    """A picture as its waves: coarse ones move fast and fine ones slowly, by ``1 / frequency ** decay``.

    Natural pictures have amplitudes that fall like one over the frequency.  A step in these parameters is a step in
    pixels times the square of that fall, so it preconditions the climb without changing what is highest.  The waves are
    Hartley's: real, orthonormal, their own inverse, and as many as pixels.

    Parameters
    ----------
    shape : tuple of int
        (C, H, W) or (H, W): waves run over the last two axes.
    decay : float
        0 gives back the pixels' climb, turned.
    start, spread, bounds
        As in `Pixels`.

    Notes
    -----
    Ledger J2.  Olah, Mordvintsev and Schubert (2017), "Feature visualization".

    Examples
    --------
    >>> waves, x = Fourier((1, 4, 4), spread=0.0, start=torch.eye(4)), torch.Generator()
    >>> bool(torch.allclose(waves.image(waves.start(1, x)), torch.eye(4), atol=1e-6))
    True
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        decay: float = 1.0,
        start: Any = 0.0,
        spread: float = 0.01,
        bounds: tuple[float, float] | None = None,
    ):
        super().__init__(shape, start=start, spread=spread, bounds=bounds)
        if len(self.shape) < 2:
            raise ValueError(f"shape={self.shape} has 1 axis and waves need 2: pass (C, H, W), or use Pixels")
        height, width = self.shape[-2:]
        frequency = torch.hypot(
            torch.fft.fftfreq(height, dtype=torch.float64)[:, None],
            torch.fft.fftfreq(width, dtype=torch.float64)[None],
        )
        fall = frequency.clamp(min=1 / max(height, width)) ** -decay
        self.fall = fall / fall.square().mean().sqrt()  # so that a white slope makes steps as long as in pixels

    def image(self, params: Any) -> Tensor:
        """The pictures: (n, *shape)."""
        return hartley(params * self.fall.to(params))

    def _params(self, x):
        return hartley(x) / self.fall.to(x)


def hartley(x: Tensor) -> Tensor:
    """Hartley's transform over the last two axes, real, orthonormal and its own inverse: (..., H, W) -> (..., H, W)."""
    waves = torch.fft.fft2(x, norm="ortho")
    return waves.real - waves.imag
