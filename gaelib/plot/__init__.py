"""The book's figures: matplotlib axes in one style, and figures of inline SVG that a reader moves."""

import functools
import hashlib
import html
import json
from collections.abc import Sequence
from typing import Any

import matplotlib.axes
import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import ArrayLike

from .canvas import PALETTE, Canvas
from .explorables import explore
from .models import codes, components, history, reconstructions, samples
from .tables import table

__all__ = [
    "PALETTE",
    "STYLE",
    "Canvas",
    "axes",
    "codes",
    "components",
    "explore",
    "history",
    "images",
    "reconstructions",
    "samples",
    "slider",
    "table",
]

STYLE = {
    "font.size": 11.25,  # points: a figure 5.3 inches wide has letters of 10 pixels on a phone, where it is 342 wide
    "axes.titlesize": "medium",
    "figure.titlesize": "medium",
    "figure.labelsize": "medium",
    "axes.formatter.min_exponent": 5,  # 0.01 instead of a ten with a small exponent
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "axes.axisbelow": True,
    "image.cmap": "gray_r",
    "figure.dpi": 120,
}


def _styled(base, names):
    """A class whose methods of these names run in the style: matplotlib reads its settings when words are written."""

    def styled(method):
        @functools.wraps(method)
        def run(*args, **options):
            with plt.rc_context(STYLE):
                return method(*args, **options)

        return run

    return type(base.__name__, (base,), {name: styled(getattr(base, name)) for name in names.split()})


_Axes = _styled(matplotlib.axes.Axes, "legend text annotate set_title draw get_tightbbox")
_Figure = _styled(matplotlib.figure.Figure, "colorbar legend text suptitle supxlabel supylabel")


def axes(columns: int = 1, rows: int = 1, width: float = 5.2, height: float = 3.2, **options: Any) -> Any:
    """A figure's axes in the book's style, legible at 390 px; `matplotlib`'s own settings stay as they were.

    Returns
    -------
    Axes, or an array of Axes when there are several.
    """
    plt.draw_if_interactive()  # loads the backend now: loaded inside rc_context, its own settings would be undone
    options = {"subplot_kw": {"axes_class": _Axes}, **options}
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            rows, columns, FigureClass=_Figure, figsize=(width, height), layout="constrained", **options
        )
    for ax in figure.axes:
        ax.tick_params(which="both", labelsize=STYLE["font.size"])
    return grid


def images(
    pictures: ArrayLike,
    titles: Sequence[str] = (),
    columns: int = 10,
    width: float = 5.2,
    rows: Sequence[str] = (),
) -> None:
    """Draw grey pictures (n, h, w) in a grid, dark ink on white, all on one scale; `rows` names the grid's rows."""
    pictures = np.asarray(pictures)
    lines = -(-len(pictures) // columns)
    room = 0.8 if rows else 1  # beside the names
    height = room * width / columns * lines * (1.3 if len(titles) else 1.05)
    grid = np.atleast_1d(axes(columns, lines, width, height)).ravel()
    for ax in grid:
        ax.set_axis_off()
    for i, (ax, picture) in enumerate(zip(grid, pictures)):
        ax.imshow(picture, cmap="gray_r", vmin=pictures.min(), vmax=pictures.max())
        if len(titles):
            ax.set_title(titles[i])
    for ax, name in zip(grid[::columns], rows):
        ax.text(-0.15, 0.5, name, transform=ax.transAxes, ha="right", va="center")


class slider:
    """A figure that the reader moves: one frame at a time, chosen by keyboard, mouse or touch.

    Inline SVG and a few lines of script: it works offline and in Colab, follows dark mode, and shows its
    ``start`` frame where scripts do not run.

    Parameters
    ----------
    frames : list of (text, svg)
        The words shown under the figure, numbers included, and what is drawn; for example by a `Canvas`.
    label : str
        What the slider chooses, for example "Lloyd step".
    alt : str
        What is seen, for those who cannot see it.
    background : str
        SVG drawn under every frame.
    start : int
        The frame shown first.

    Examples
    --------
    >>> canvas = Canvas((0, 1), (0, 1), "x", "y")
    >>> figure = slider([("left", canvas.dots([[0, 0]])), ("right", canvas.dots([[1, 0]]))], "Place", "A dot moves.")
    >>> "currentColor" in figure._repr_html_()
    True
    """

    def __init__(self, frames: Sequence[tuple[str, str]], label: str, alt: str, background: str = "", start: int = 0):
        if not frames or not 0 <= start < len(frames):
            raise ValueError(
                f"slider got {len(frames)} frames and start={start}: pass at least one frame, and start among them"
            )
        self.frames, self.label, self.alt, self.background, self.start = frames, label, alt, background, start

    def __repr__(self):
        return f"slider({len(self.frames)} frames, {self.label!r})"

    def _repr_html_(self):
        texts = [text for text, _ in self.frames]
        groups = "".join(
            f'<g class="frame"{"" if n == self.start else " style=display:none"}>{svg}</g>'
            for n, (_, svg) in enumerate(self.frames)
        )
        name = "gae-" + hashlib.sha1((self.label + self.background + groups).encode()).hexdigest()[:8]
        alt, label, first = (html.escape(s, quote=True) for s in (self.alt, self.label, texts[self.start]))
        words = json.dumps(texts, ensure_ascii=False).replace("</", "<\\/")
        return (
            f'<figure class="gae-slider" id="{name}" style="margin:0;max-width:560px">'
            f'<svg role="img" aria-label="{alt}" viewBox="0 0 {Canvas.WIDTH} {Canvas.HEIGHT}" '
            f'style="width:100%;height:auto;font-family:sans-serif">{self.background}{groups}</svg>'
            f'<label style="display:flex;align-items:center;gap:.7em;min-height:44px">{label}'
            f'<input type="range" min="0" max="{len(texts) - 1}" value="{self.start}" aria-label="{label}" '
            f'aria-valuetext="{first}" style="flex:1;min-width:0;height:44px;'
            f'touch-action:pan-y;accent-color:{PALETTE[0]}"></label>'
            f'<output style="display:block;min-height:3em;font-variant-numeric:tabular-nums">{first}</output></figure>'
            f'<script>(()=>{{const f=document.getElementById("{name}"),i=f.querySelector("input"),'
            f'o=f.querySelector("output"),t={words};i.oninput=()=>{{f.querySelectorAll("g.frame").forEach((g,n)=>'
            'g.style.display=n==i.value?"":"none");o.textContent=t[i.value];i.setAttribute("aria-valuetext",t[i.value])}})()</script>'
        )
