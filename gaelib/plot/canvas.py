"""Plots drawn as plain SVG, in the colour of the words around them."""

import html
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

# Okabe and Ito's colours: told apart by colour-blind readers, legible on white and on black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A00", "#7A5BC7")


class Canvas:
    """Maps data to a 360 x 270 SVG picture and draws in it; every method returns a piece of SVG.

    Parameters
    ----------
    xlim, ylim : pair of floats
        The data's range.
    xlabel, ylabel : str
        With units.
    """

    WIDTH, HEIGHT, LEFT, BOTTOM = 360, 270, 44, 40

    def __init__(self, xlim: tuple[float, float], ylim: tuple[float, float], xlabel: str, ylabel: str):
        self.xlim, self.ylim, self.xlabel, self.ylabel = xlim, ylim, xlabel, ylabel

    def at(self, xy: ArrayLike) -> np.ndarray:
        """Data (n, 2) to picture coordinates (n, 2)."""
        (x0, x1), (y0, y1) = self.xlim, self.ylim
        xy = np.atleast_2d(np.asarray(xy, dtype=float))
        x = self.LEFT + (xy[:, 0] - x0) / (x1 - x0) * (self.WIDTH - self.LEFT - 8)
        y = 8 + (y1 - xy[:, 1]) / (y1 - y0) * (self.HEIGHT - self.BOTTOM - 8)
        return np.stack([x, y], 1)

    def frame(self, ticks: int = 5) -> str:
        """Axes, ticks and labels."""
        right, bottom = self.WIDTH - 8, self.HEIGHT - self.BOTTOM
        parts = [f'<path d="M{self.LEFT} 8V{bottom}H{right}" fill="none" stroke="currentColor"/>']
        for value in _round_numbers(*self.xlim, ticks):
            x = self.at([[value, self.ylim[0]]])[0, 0]
            parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{_minus(value)}</text>')
        for value in _round_numbers(*self.ylim, ticks):
            y = self.at([[self.xlim[0], value]])[0, 1]
            parts.append(f'<text x="{self.LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{_minus(value)}</text>')
        middle = (self.LEFT + right) / 2
        parts.append(
            f'<text x="{middle:.1f}" y="{self.HEIGHT - 6}" text-anchor="middle">{html.escape(self.xlabel)}</text>'
        )
        parts.append(
            f'<text transform="translate(12 {bottom / 2:.1f})rotate(-90)" '
            f'text-anchor="middle">{html.escape(self.ylabel)}</text>'
        )
        return f'<g font-size="12" fill="currentColor">{"".join(parts)}</g>'

    def dots(self, xy: ArrayLike, colour: str = "currentColor", size: float = 5, opacity: float = 1.0) -> str:
        """Round dots."""
        path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in self.at(xy))
        return f'<path d="{path}" stroke="{colour}" stroke-width="{size}" stroke-linecap="round" opacity="{opacity}"/>'

    def line(self, xy: ArrayLike, colour: str = "currentColor", width: float = 2, dash: str | None = None) -> str:
        """A line through the points."""
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in self.at(xy))
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>'

    def squares(self, xy: ArrayLike, colours: Iterable[str], size: float = 13) -> str:
        """Filled squares with an outline, one colour each."""
        return "".join(
            f'<rect x="{x - size / 2:.1f}" y="{y - size / 2:.1f}" width="{size}" height="{size}" fill="{colour}" '
            'stroke="currentColor" stroke-width="2"/>'
            for (x, y), colour in zip(self.at(xy), colours)
        )


def _round_numbers(low, high, count):
    step = (high - low) / count
    power = 10.0 ** np.floor(np.log10(step))
    step = power * min((m for m in (1, 2, 5, 10) if m * power >= step), default=10)
    return np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step


def _minus(value):
    return f"{value:g}".replace("-", "−") if abs(value) > 1e-12 else "0"
