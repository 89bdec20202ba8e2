"""Figures that compute in the page: Python draws the still, ``book/theme/explore.js`` moves it and does the sums again.

Each kind is a function of its data that says what is drawn, which places can be moved, and the numbers beside them.
"""

import hashlib
import html
import json
from typing import Any

import numpy as np

from .canvas import PALETTE, Canvas


def explore(kind: str, alt: str, **data: Any) -> "Explorable":
    """A figure that computes in the page: its handles are dragged, or moved with the arrow keys.

    What is stored is a still of the start, which Colab, paper and a page without scripts keep.  On the book's
    pages a script of a few KB brings it to life; nothing is fetched.

    Parameters
    ----------
    kind : "kmeans", "pca", "flats" or "temperature"
        Lloyd's steps on ``points`` (n, 2) for ``centres`` (K, 2); PCA's line through ``points`` (n, 2); flats with
        ``means`` (K, 2) and ``directions`` (K, 2) that compete for a ``point`` (2,); the posterior of
        ``log_joints`` (K,), nats, at a temperature ``T``.
    alt : str
        What is seen, for those who cannot see it.
    **data
        As named above, K at most 8.  Places are rounded to two decimals, as the page shows them.

    Returns
    -------
    Explorable

    Raises
    ------
    ValueError
        For an unknown kind, another shape, or places that two decimals cannot tell apart.

    Examples
    --------
    >>> explore("temperature", "Two bars.", log_joints=[1.0, 0.0]).numbers["evidence"]
    '1.31'
    """
    if kind not in KINDS:
        raise ValueError(f"explore got kind={kind!r}: pass one of {', '.join(KINDS)}")
    return Explorable(kind, alt, **KINDS[kind](**data))


class Explorable:
    """What `explore` returns, for a notebook to show; ``numbers`` maps names to the texts under the figure."""

    def __init__(self, kind, alt, canvas, lines, handles, words, numbers, more="", ticks=5, **state):
        self.kind, self.alt, self.canvas, self.lines, self.handles = kind, alt, canvas, lines, handles
        self.words, self.numbers, self.more, self.ticks, self.state = words, numbers, more, ticks, state

    def __repr__(self):
        return f"explore({self.kind!r}, {', '.join(f'{name}={text}' for name, text in self.numbers.items())})"

    def _repr_html_(self):
        canvas = self.canvas
        origin, one = canvas.at([[0, 0], [1, 1]]).tolist()
        state = {
            "kind": self.kind,
            "at": [list(place) for _, place, _, _ in self.handles],
            "box": [*canvas.xlim, *canvas.ylim],
            "map": [v for a, b in zip(origin, one) for v in (round(a, 4), round(b - a, 4))],
            "colours": PALETTE,
            **self.state,
        }
        state = json.dumps(state, separators=(",", ":"))
        numbers = {name: f'<b data-n="{name}">{text}</b>' for name, text in self.numbers.items()}
        clip = "gae-" + hashlib.sha1(state.encode()).hexdigest()[:8]
        right, bottom = canvas.WIDTH - 8, canvas.HEIGHT - (0 if self.more else canvas.BOTTOM)
        return (
            f'<figure class="gae-explore" data-state="{html.escape(state)}" style="margin:0;max-width:560px">'
            f'<svg role="img" aria-label="{html.escape(self.alt)}" viewBox="0 0 {canvas.WIDTH} {canvas.HEIGHT}" '
            'style="width:100%;height:auto;font-family:sans-serif" font-size="12" fill="currentColor">'
            f'<clipPath id="{clip}"><path d="M{canvas.LEFT} 8H{right}V{bottom}H{canvas.LEFT}z"/></clipPath>'
            f'{canvas.frame(self.ticks)}{self.more}<g clip-path="url(#{clip})">'
            f"{''.join(_line(*each) for each in self.lines)}</g>"
            f"{''.join(_handle(canvas, *each) for each in self.handles)}</svg>"
            f'<output style="display:block;font-variant-numeric:tabular-nums">{self.words.format(**numbers)}</output>'
            '<p class="gae-help" style="font-size:.85em">A still: on the book\'s page it can be moved.</p></figure>'
        )


def _line(start, end, colour="currentColor", width=1.5, dash="none"):
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}" '
        f'stroke-dasharray="{dash}"/>'
    )


MARKS = {
    "dot": '<circle r="5"/>',
    "square": '<path d="M-7-7H7V7H-7z" stroke="currentColor" stroke-width="2"/>',
    "ring": '<circle r="5" fill="none" stroke="currentColor" stroke-width="2"/>',
    "bar": '<path d="M-14-3H14V3H-14z"/>',
}


def _handle(canvas, name, place, mark, colour):
    (x, y), number = canvas.at(place)[0], name.split()[-1]
    label = f'<text x="10" y="-8" fill="currentColor">{number}</text>' if mark == "square" else ""
    return (
        f'<g class="gae-handle" data-name="{name}" transform="translate({x:.1f} {y:.1f})" fill="{colour}">'
        f'<circle r="14" fill="none" pointer-events="all"/>{MARKS[mark]}{label}</g>'
    )


def _fixed(value):
    """Two decimals, as the script prints them: a minus sign, and no negative zero."""
    text = f"{value:.2f}"
    return text.replace("-", "−") if float(text) else "0.00"


def _places(name, places, least):
    places = np.round(np.asarray(places, dtype=float), 2)
    if places.ndim != 2 or places.shape[1] != 2 or len(places) < least or not np.isfinite(places).all():
        raise ValueError(
            f"{name} has shape {places.shape}, but explore needs finite places ({least} or more, 2): pass rows (x, y)"
        )
    return places


def _few(name, rows):
    if len(rows) > len(PALETTE):
        raise ValueError(f"explore got {len(rows)} {name}, but has {len(PALETTE)} colours: pass fewer")


def _plane(*places, room=1.2):
    """Axes around all places, on which a unit is as long upwards as sideways: right angles look right."""
    low, high = np.concatenate(places).min(0), np.concatenate(places).max(0)
    width, height = Canvas.WIDTH - Canvas.LEFT - 8, Canvas.HEIGHT - Canvas.BOTTOM - 8
    half = room * max((high - low) / (width, height)) / 2  # units per pixel
    if not 0.5 <= half * height <= 50:
        raise ValueError(
            f"explore got places {2 * half * height:.2g} units apart: scale them to between 1 and 100, for two decimals"
        )
    xlim, ylim = (
        tuple(np.round([middle - half * size, middle + half * size], 2).tolist())
        for middle, size in zip((low + high) / 2, (width, height))
    )
    return Canvas(xlim, ylim, "first coordinate (units)", "second (units)")


# --- The kinds ------------------------------------------------------------------------------------------


def _kmeans(points, centres):
    points, centres = _places("points", points, 1), _places("centres", centres, 1)
    _few("centres", centres)
    canvas, K = _plane(points, centres), len(centres)
    squares = ((points[:, None] - centres) ** 2).sum(2)
    codes, counts = squares.argmin(1), np.bincount(squares.argmin(1), minlength=K)
    sums = np.stack([points[codes == k].sum(0) for k in range(K)])
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    at, to = canvas.at(points), canvas.at(centres)
    return {
        "canvas": canvas,
        "lines": [(at[i], to[k], PALETTE[k]) for i, k in enumerate(codes)],
        "handles": [(f"centre {k + 1}", c.tolist(), "square", PALETTE[k]) for k, c in enumerate(centres)]
        + [(f"point {i + 1}", p.tolist(), "dot", PALETTE[codes[i]]) for i, p in enumerate(points)],
        "words": "Inertia {inertia} units²; points per centre: {sizes}. The next step moves a centre by at most "
        "{shift} units. {note}",
        "numbers": {
            "inertia": _fixed(squares.min(1).sum()),
            "sizes": ", ".join(map(str, counts)),
            "shift": _fixed(np.linalg.norm(means - centres, axis=1).max()),
            "note": " ".join(f"Centre {k + 1} has no point and stays." for k in np.flatnonzero(counts == 0)),
        },
        "K": K,
    }


def _pca(points):
    points = _places("points", points, 3)
    canvas, mean = _plane(points), points.mean(0)
    values, vectors = np.linalg.eigh(np.cov(points.T))
    direction = vectors[:, 1] * (1 if vectors[0, 1] > 0 else -1)
    inside = (points - mean) @ direction
    far = canvas.at(mean + np.outer([-1e3, 1e3], direction))
    at, feet = canvas.at(points), canvas.at(mean + np.outer(inside, direction))
    return {
        "canvas": canvas,
        "lines": [(*far, PALETTE[0], 3), *((a, b, PALETTE[1]) for a, b in zip(at, feet))],
        "handles": [(f"point {i + 1}", p.tolist(), "dot", "currentColor") for i, p in enumerate(points)],
        "words": "Eigenvalues (variance over n − 1): {along} along the line, {across} across it, units²; share kept "
        "{share}. Sum of squared residuals {residual} units².",
        "numbers": {
            "along": _fixed(values[1]),
            "across": _fixed(values[0]),
            "share": _fixed(values[1] / values.sum()),
            "residual": _fixed(values[0] * (len(points) - 1)),
        },
    }


def _flats(point, means, directions):
    x, means, directions = (
        _places(name, rows, 1)
        for name, rows in (("point", np.atleast_2d(point)), ("means", means), ("directions", directions))
    )
    _few("flats", means)
    if len(means) != len(directions) or not np.linalg.norm(directions, axis=1).all():
        raise ValueError(
            f"explore got {len(means)} means and {len(directions)} directions: pass one direction a mean, none zero"
        )
    canvas = _plane(x, means, room=1.6)
    arm = round(0.15 * (canvas.ylim[1] - canvas.ylim[0]), 2)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    feet = means + ((x - means) * directions).sum(1, keepdims=True) * directions
    squares = ((x - feet) ** 2).sum(1)
    nearest = squares.argmin()
    handles, lines = [("the point x", x[0].tolist(), "dot", "currentColor")], []
    for k, (mean, direction) in enumerate(zip(means, directions)):
        lines.append((*canvas.at(mean + np.outer([-1e3, 1e3], direction)), PALETTE[k], 4 if k == nearest else 1.5))
        tip = np.round(mean + arm * direction, 4)
        handles.append((f"mean {k + 1}", mean.tolist(), "square", PALETTE[k]))
        handles.append((f"direction {k + 1}", tip.tolist(), "ring", PALETTE[k]))
    lines += [
        (canvas.at(x)[0], canvas.at(foot)[0], PALETTE[k], *((3, "none") if k == nearest else (1.5, "4 4")))
        for k, foot in enumerate(feet)
    ]
    listed = [f"d{k + 1}" for k in range(len(means))]
    return {
        "canvas": canvas,
        "lines": lines,
        "handles": handles,
        "words": f"Squared distance to flat {'; '.join(f'{name[1:]}: {{{name}}}' for name in listed)} units². "
        "Flat {winner} claims the point; the nearest mean is that of flat {mean}.",
        "numbers": {
            **{name: _fixed(d) for name, d in zip(listed, squares)},
            "winner": str(nearest + 1),
            "mean": str(((x - means) ** 2).sum(1).argmin() + 1),
        },
        "arm": arm,
    }


HOTTEST = 4.0


def _temperature(log_joints, T=1.0):
    l = np.round(np.asarray(log_joints, dtype=float), 2)
    if l.ndim != 1 or not 2 <= len(l) <= len(PALETTE) or not np.isfinite(l).all() or np.ptp(l) > 20:
        raise ValueError(
            f"log_joints has shape {l.shape}, but explore needs (K,) with K from 2 to {len(PALETTE)}, finite and at "
            "most 20 nats apart: pass such numbers"
        )
    if not 0.03 <= T <= HOTTEST:
        raise ValueError(f"T={T} is off the slider: pass 0.03 to {HOTTEST:g}")
    T, K, top = round(float(T), 2), len(l), l.max()

    def free(T):
        return top + T * np.log(np.exp((l - top) / T).sum())

    canvas = Canvas((0.4, K + 0.6), (np.floor(l.min() - 1), np.ceil(free(HOTTEST))), "code z", "log joint (nats)")
    canvas.ylim, canvas.BOTTOM = tuple(map(float, canvas.ylim)), 140
    q, left, right, floor = np.exp((l - free(T)) / T), canvas.LEFT, canvas.WIDTH - 8, 232
    columns = canvas.at(np.stack([np.arange(1, K + 1), l], 1))[:, 0]
    level = {y: float(canvas.at([[1, y]])[0, 1]) for y in (top, free(T), free(1.0))}
    rules = (
        (top, "currentColor", 1.5, "2 4"),
        (free(T), PALETTE[1], 3, "none"),
        (free(1.0), "currentColor", 1.5, "8 4"),
    )
    return {
        "canvas": canvas,
        "lines": [((left, level[y]), (right, level[y]), *style) for y, *style in rules]
        + [((x, floor), (x, floor - 70 * share), PALETTE[0], 28) for x, share in zip(columns, q)],
        "handles": [(f"log joint {k + 1}", [k + 1.0, float(v)], "bar", PALETTE[0]) for k, v in enumerate(l)],
        "words": "At T = {T} the value F is {F} nats (thick line), the entropy H of the weights {H}. "
        "The max (dotted) is {max}, the log evidence (dashed) {evidence} nats.",
        "numbers": {
            "T": _fixed(T),
            "F": _fixed(free(T)),
            "H": _fixed(-(q * np.log(np.maximum(q, 1e-300))).sum()),
            "max": _fixed(top),
            "evidence": _fixed(free(1.0)),
        },
        "more": f'<path d="M{left} {floor}H{right}" stroke="currentColor"/>'
        f'<text transform="translate(12 197)rotate(-90)" text-anchor="middle">weight q</text>'
        + "".join(
            f'<text data-n="q{k + 1}" x="{x:.1f}" y="{floor + 15}" text-anchor="middle">{_fixed(share)}</text>'
            for k, (x, share) in enumerate(zip(columns, q))
        ),
        "ticks": K + 1,
        "T": T,
        "hottest": HOTTEST,
    }


KINDS = {"kmeans": _kmeans, "pca": _pca, "flats": _flats, "temperature": _temperature}
