"""The book's figures: matplotlib axes in one style, and one interactive figure that is nothing but inline SVG."""

import hashlib
import html
import json

import matplotlib.pyplot as plt
import numpy as np

# Okabe and Ito's colours: told apart by colour-blind readers, legible on white and on black.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A00", "#7A5BC7")

STYLE = {
    "font.size": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "axes.axisbelow": True,
    "image.cmap": "gray_r",
    "figure.dpi": 120,
}


def axes(columns=1, rows=1, width=5.2, height=3.2, **options):
    """A figure's axes in the book's style, legible at 390 px; `matplotlib`'s own settings stay as they were.

    Returns
    -------
    Axes, or an array of Axes when there are several.
    """
    plt.draw_if_interactive()  # loads the backend now: loaded inside rc_context, its own settings would be undone
    with plt.rc_context(STYLE):
        return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)[1]


def images(pictures, titles=(), columns=10, width=5.2):
    """Draw grey pictures (n, h, w) in a grid, dark ink on white, all on one scale."""
    pictures = np.asarray(pictures)
    rows = -(-len(pictures) // columns)
    height = width / columns * rows * (1.3 if len(titles) else 1.05)
    grid = np.atleast_1d(axes(columns, rows, width, height)).ravel()
    for ax in grid:
        ax.set_axis_off()
    for i, (ax, picture) in enumerate(zip(grid, pictures)):
        ax.imshow(picture, cmap="gray_r", vmin=pictures.min(), vmax=pictures.max())
        if len(titles):
            ax.set_title(titles[i], fontsize=10.5)


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

    def __init__(self, xlim, ylim, xlabel, ylabel):
        self.xlim, self.ylim, self.xlabel, self.ylabel = xlim, ylim, xlabel, ylabel

    def at(self, xy):
        """Data (n, 2) to picture coordinates (n, 2)."""
        (x0, x1), (y0, y1) = self.xlim, self.ylim
        xy = np.atleast_2d(np.asarray(xy, dtype=float))
        x = self.LEFT + (xy[:, 0] - x0) / (x1 - x0) * (self.WIDTH - self.LEFT - 8)
        y = 8 + (y1 - xy[:, 1]) / (y1 - y0) * (self.HEIGHT - self.BOTTOM - 8)
        return np.stack([x, y], 1)

    def frame(self, ticks=5):
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
            f'<text transform="translate(12 {bottom / 2:.1f})rotate(-90)" text-anchor="middle">{html.escape(self.ylabel)}</text>'
        )
        return f'<g font-size="12" fill="currentColor">{"".join(parts)}</g>'

    def dots(self, xy, colour="currentColor", size=5, opacity=1.0):
        """Round dots."""
        path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in self.at(xy))
        return f'<path d="{path}" stroke="{colour}" stroke-width="{size}" stroke-linecap="round" opacity="{opacity}"/>'

    def line(self, xy, colour="currentColor", width=2, dash=None):
        """A line through the points."""
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in self.at(xy))
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>'

    def squares(self, xy, colours, size=13):
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

    def __init__(self, frames, label, alt, background="", start=0):
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
            f'aria-valuetext="{first}" style="flex:1;min-width:0;height:44px;touch-action:pan-y;accent-color:{PALETTE[0]}"></label>'
            f'<output style="display:block;min-height:3em;font-variant-numeric:tabular-nums">{first}</output></figure>'
            f'<script>(()=>{{const f=document.getElementById("{name}"),i=f.querySelector("input"),'
            f'o=f.querySelector("output"),t={words};i.oninput=()=>{{f.querySelectorAll("g.frame").forEach((g,n)=>'
            'g.style.display=n==i.value?"":"none");o.textContent=t[i.value];i.setAttribute("aria-valuetext",t[i.value])}})()</script>'
        )
