"""Pictures of a fitted model: its components, reconstructions, codes, samples and history, as matplotlib axes."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..estimator import Fitting
from ..hyper import need_integer
from ..rows import Table, alone, as_numpy, is_batches
from ..supervised import need_order
from .canvas import PALETTE

__all__ = ["codes", "components", "history", "reconstructions", "samples"]

LEGIBLE = 2 * len(PALETTE)  # classes that colours and markers can tell apart


def components(model: Fitting, shape: tuple[int, ...] | None = None, columns: int = 10, n: int = 100) -> Any:
    """What the parameters look like: axes, atoms, centres or stored rows, one picture each.

    Parameters
    ----------
    model : fitted estimator with ``components_`` (p, D) or (K, p, D), ``cluster_centers_``, ``means_``, or stored rows
    shape : tuple, optional
        Height and width of a picture; a square if D is one, and a line through the D columns if not.
    columns, n : int
        Pictures side by side, and in all; the figure says when there are more.

    Returns
    -------
    array of Axes

    Raises
    ------
    TypeError
        For a model that has no components, such as a network.
    """
    check(model)
    need_integer("n", n)
    held = [getattr(model, name, ()) for name in ("components_", "cluster_centers_", "means_")]
    parts = next((as_numpy(part) for part in [*held, getattr(model.joint_, "means", ())] if np.size(part)), None)
    if parts is None:
        raise lacking(model, "components", "one with components_ or cluster_centers_")
    parts = parts.reshape(-1, parts.shape[-1])
    return capped(drawn(parts[:n], shape, columns, model), n, len(parts), "components")


def reconstructions(model: Fitting, X: Table, shape: tuple[int, ...] | None = None, n: int = 10) -> Any:
    """Rows above, what their codes decode to below; rows that are no pictures as two lines in one place.

    Parameters
    ----------
    model : fitted estimator with ``transform`` and ``inverse_transform``
    X : array (m, D), or batches
        The first ``n`` rows are drawn.
    shape, n
        Of a picture, as in `components`; rows at most.

    Returns
    -------
    array of Axes
        2 n pictures, or n pairs of lines.
    """
    check(model)
    if not hasattr(model, "inverse_transform") or not hasattr(model, "transform"):
        raise lacking(model, "reconstructions", "one with transform and inverse_transform")
    need_integer("n", n)
    X = first(X, n)
    decoded = as_numpy(model.inverse_transform(model.transform(X)))
    return drawn(np.concatenate([as_numpy(X), decoded]), shape, len(X), model, ("x", "decoded"))


def samples(model: Fitting, n: int = 20, shape: tuple[int, ...] | None = None, columns: int = 10, seed: int = 0) -> Any:
    """New rows drawn from a model that can draw.

    Parameters
    ----------
    model : fitted estimator with ``sample``
    n, seed : int
        How many, and which.
    shape, columns
        As in `components`.

    Returns
    -------
    array of Axes
    """
    check(model)
    if not hasattr(model, "sample"):
        raise lacking(model, "samples: its prior is flat, or it has none", "one with sample, such as PPCA or VAE")
    return drawn(as_numpy(model.sample(n, random_state=seed)), shape, columns, model)


def codes(model: Fitting, X: Table, labels: Sequence[Any] | None = None, n: int = 12) -> Any:
    """Every row's code, coloured by ``labels``: its first two entries, its place on its flat, or its component.

    Parameters
    ----------
    model : fitted estimator with ``transform``, or a map and the rows that it was fitted to
    X : array (n, D), or batches
    labels : sequence of n, optional
        Up to 16 different ones get a legend; more must be numbers, and become a colour scale.
    n : int
        Flats at most; the figure says when there are more.

    Returns
    -------
    Axes
        For `LLGAE` and `MPPCA` an array of them, one for each flat.  A single entry stands against the labels; codes
        that are weights, such as those of `KMeans`, are counted.

    Raises
    ------
    TypeError
        For a model without codes, such as `GAN`.
    ValueError
        For labels that do not fit the rows, have no order, or name more classes than can be told apart.
    """
    Z, labels = placed(model, X), None if labels is None else as_numpy(labels)
    labels = np.zeros(len(Z), int) if labels is None else labels.ravel()
    if len(labels) != len(Z):
        raise ValueError(f"codes got {len(Z)} rows and {len(labels)} labels: pass one label a row")
    need_order(labels, "labels")
    labels = np.array(labels.tolist()) if labels.dtype == object else labels
    need_integer("n", n)
    kinds = np.unique(labels)
    if labels.dtype.kind not in "biuf" and len(kinds) > LEGIBLE:
        raise ValueError(
            f"codes got {len(kinds)} names of classes and can tell {LEGIBLE} apart: pass fewer, or numbers"
        )
    parts = on_flats(model, Z)
    if not parts and Z.shape[1] > 1 and Z.min() >= 0 and np.allclose(Z.sum(1), 1, atol=1e-4):
        return counted(Z, labels, kinds)
    shown = parts[:n] or [(np.ones(len(Z), bool), Z)]
    line = shown[0][1].shape[1] == 1
    grid = panels(len(shown), 3, sharey=line)
    for ax, (rows, u) in zip(grid, shown):
        scattered(ax, u, labels[rows], kinds)
    keyed(grid, kinds, line)
    if not parts:
        return ax
    for k, ax in enumerate(grid):
        ax.set_title(f"flat {k + 1}")
    return capped(grid, n, len(parts), "flats")


def history(model: Fitting) -> Any:
    """The objective before each step of the fit, or after each epoch of a network's: nats a row.

    Returns
    -------
    Axes
    """
    check(model)
    (ax,) = panels(1)
    ax.plot(np.arange(1, len(model.history_) + 1), model.history_, marker="." if len(model.history_) < 50 else "")
    ax.set(xlabel="epoch" if hasattr(model, "max_epochs") else "step", ylabel="objective (nats a row)")
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return ax


def placed(model, X):
    """A code for each row, or the places that a map has found for its own rows."""
    check(model)
    if not hasattr(model, "embedding_"):
        if not hasattr(model, "transform"):
            raise lacking(model, "codes of new rows", "one with transform")
        return as_numpy(model.transform(X))
    Z = as_numpy(model.embedding_)
    if hasattr(X, "shape") and len(X) != len(Z):
        raise ValueError(
            f"{type(model).__name__} has places of its own {len(Z)} rows, got {len(X)}: pass those it fitted"
        )
    return Z


def on_flats(model, Z):
    """Each flat's rows and their places on it, where a code has a block for each flat."""
    K, p, *_ = (*np.shape(getattr(model, "components_", ())), 0, 0)
    if K < 2 or not p or Z.shape[1] != K * (p + 1):
        return []
    blocks = Z.reshape(len(Z), K, p + 1)  # the places, times a weight, and the weight
    best = blocks[:, :, p].argmax(1)
    return [(best == k, blocks[best == k, k, :p] / blocks[best == k, k, p:]) for k in range(K)]


def counted(Z, labels, kinds):
    """How many rows each component has, by their labels."""
    (ax,), K = panels(1), Z.shape[1]
    if len(kinds) == 1:
        ax.bar(np.arange(1, K + 1), Z.sum(0))
        ax.set_ylabel("rows")
    else:
        table, size = [Z[labels == kind].sum(0) for kind in kinds], len(kinds)
        shown = ax.imshow(table, "gray_r", aspect="auto", vmin=0, extent=(0.5, K + 0.5, size - 0.5, -0.5))
        ax.figure.colorbar(shown, label="rows")
        ax.set_ylabel("label")
        if size <= LEGIBLE:
            ax.set_yticks(range(size), map(str, kinds))
    ax.set_xlabel("component")
    ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return ax


def scattered(ax, Z, labels, kinds):
    """Rows at the first two entries of their codes; one entry against its label, or counted where all are one."""
    x, few, line = Z[:, 0], len(kinds) <= LEGIBLE, Z.shape[1] == 1
    if line and len(kinds) == 1:
        ax.hist(x, bins=30)
        return
    y = Z[:, 1] if not line else np.searchsorted(kinds, labels) if few else labels
    if not few:
        ax.scatter(x, y, s=9, c=labels, vmin=kinds[0], vmax=kinds[-1])
    for i, kind in enumerate(kinds if few else ()):  # eight colours, then the same with another marker
        rows, look = labels == kind, {"color": PALETTE[i % len(PALETTE)], "marker": "o^"[i // len(PALETTE)]}
        ax.scatter(x[rows], y[rows], s=9, label=str(kind), **look)
    if line and few:
        ax.set_yticks(range(len(kinds)), map(str, kinds))


def keyed(grid, kinds, line):
    """What axes and colours of codes mean, once a figure."""
    figure, alone = grid[0].figure, len(grid) == 1
    across, up = "code, entry 1", "code, entry 2" if not line else "label" if len(kinds) > 1 else "rows"
    if alone:
        grid[0].set(xlabel=across, ylabel=up)
        spans = [np.ptp(limits) for limits in (grid[0].get_xlim(), grid[0].get_ylim())]
        if not line and max(spans) < 4 * min(spans):
            grid[0].set_aspect("equal", "datalim")  # a circle stays one
    else:
        figure.supxlabel(across)
        figure.supylabel(up)
    if len(kinds) > LEGIBLE and not line:
        figure.colorbar(plt.cm.ScalarMappable(plt.Normalize(kinds[0], kinds[-1])), ax=list(grid), label="label")
    elif len(kinds) > 1 and not line:
        keys = grid[0].get_legend_handles_labels()
        figure.legend(*keys, loc="outside right upper", markerscale=2, frameon=False)


def panels(count, columns=4, **options):
    """That many axes, some in a row, and no empty one."""
    from . import axes

    columns = min(count, columns)
    lines = -(-count // columns)
    grid = np.atleast_1d(axes(columns, lines, height=3.2 if lines == 1 else 1.9 * lines, **options)).ravel()
    for ax in grid[count:]:
        ax.remove()
    return grid[:count]


def capped(grid, n, size, what):
    """The axes, and a word in their figure where they do not show all."""
    if size > n:
        grid[0].figure.suptitle(f"the first {n} of {size} {what}")
    return grid


def check(model):
    """Refuse what is not fitted."""
    if not isinstance(model, Fitting):
        raise TypeError(f"a {type(model).__name__} is no model of this package: pass a fitted estimator")
    check_is_fitted(model)


def lacking(model, what, other):
    return TypeError(f"{type(model).__name__} has no {what}: pass {other}")


def first(X, n):
    """The first rows of an array, a table or batches, as their kind."""
    if is_batches(X):
        parts = []
        for part in X:
            parts.append(as_numpy(alone(part)))
            if sum(map(len, parts)) >= n:
                break
        X = np.concatenate(parts)
    return X.iloc[:n] if hasattr(X, "iloc") else X[:n]


def drawn(rows, shape, columns, model, names=()):
    """Rows (n, D) as grey pictures, or as lines where D is no picture's; equal parts of them have ``names``."""
    from . import images

    if rows.ndim == 4:  # channels stand side by side
        rows = np.moveaxis(rows, 1, 2).reshape(len(rows), rows.shape[2], -1)
    D = int(np.prod(rows.shape[1:]))
    side = math.isqrt(D)
    need_integer("columns", columns)
    if shape is not None:
        need_shape(shape)
    shape = shape or (rows.shape[-2:] if rows.ndim > 2 else (side, side) if side**2 == D and side > 3 else None)
    if shape is None:
        return lined(rows.reshape(max(len(names), 1), -1, D), names, getattr(model, "feature_names_in_", None))
    if math.prod(shape) != D:
        raise ValueError(f"shape={tuple(shape)} holds {math.prod(shape)} entries, a row has {D}: pass one that fits")
    columns = min(columns, len(rows))
    images(rows.reshape(-1, *shape), columns=columns, width=min(5.2, 1.3 * columns), rows=names)
    return np.array([ax for ax in plt.gcf().axes if ax.images])


def need_shape(shape):
    """Refuse what is not a height and a width."""
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"shape={shape!r} is no height and width: pass two integers, such as (28, 28)")
    for side in shape:
        need_integer("shape", side)


def lined(sets, names, features):
    """Rows as lines over their columns, those of one place in one: (sets, n, D)."""
    grid, at = panels(sets.shape[1], sharex=True, sharey=True), np.arange(sets.shape[2])
    for ax, lines in zip(grid, np.moveaxis(sets, 0, 1)):
        for line, style in zip(lines, ("-", "--")):
            ax.plot(at, line, style, marker="." if len(at) < 30 else "")
        if features is not None and len(at) <= 8:
            ax.set_xticks(at, features, rotation=90)
        else:
            ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    if features is None or len(at) > 8:
        grid[0].figure.supxlabel("column")
    if names:
        grid[0].figure.legend(grid[0].lines, names, loc="outside upper center", ncols=len(names), frameon=False)
    return grid
