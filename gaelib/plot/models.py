"""Pictures of a fitted model: its components, reconstructions, codes, samples and history, as matplotlib axes."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..estimator import Fitting
from ..rows import Table
from .canvas import PALETTE

__all__ = ["codes", "components", "history", "reconstructions", "samples"]

LEGIBLE = 2 * len(PALETTE)  # classes that colours and markers can tell apart


def components(model: Fitting, shape: tuple[int, ...] | None = None, columns: int = 10) -> Any:
    """What the parameters look like: centres, axes, atoms or stored rows, one picture each.

    Parameters
    ----------
    model : fitted estimator with ``cluster_centers_``, ``components_`` (p, D) or (K, p, D), or stored rows
    shape : tuple, optional
        Height and width of a picture; a square if D is one, and a line through the D columns if not.
    columns : int
        Pictures side by side.

    Returns
    -------
    array of Axes

    Raises
    ------
    TypeError
        For a model that has no components, such as a network.
    """
    check(model)
    for name in ("cluster_centers_", "components_"):
        if name == "cluster_centers_" and np.size(getattr(model, "components_", ())):
            continue  # flats are their axes
        if hasattr(model, name):
            parts = array(getattr(model, name))
            return drawn(parts.reshape(-1, parts.shape[-1]), shape, columns)
    raise lacking(model, "components", "one with components_ or cluster_centers_")


def reconstructions(model: Fitting, X: Table, shape: tuple[int, ...] | None = None, n: int = 10) -> Any:
    """Rows above, what their codes decode to below.

    Parameters
    ----------
    model : fitted estimator with ``transform`` and ``inverse_transform``
    X : array (m, D)
        The first ``n`` rows are drawn.
    shape, n
        Of a picture, as in `components`; rows at most.

    Returns
    -------
    array of Axes (2, n)
    """
    check(model)
    if not hasattr(model, "inverse_transform") or not hasattr(model, "transform"):
        raise lacking(model, "reconstructions", "one with transform and inverse_transform")
    X = array(X)[:n]
    return drawn(
        np.concatenate([X, array(model.inverse_transform(model.transform(X)))]), shape, len(X), ("x", "decoded")
    )


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
    return drawn(array(model.sample(n, random_state=seed)), shape, columns)


def codes(model: Fitting, X: Table, labels: Sequence[Any] | None = None) -> Any:
    """The first two entries of every row's code, coloured by ``labels``.

    Parameters
    ----------
    model : fitted estimator with ``transform``
    X : array (n, D)
    labels : sequence of n, optional
        Up to 16 different ones get a legend; more become a colour scale.

    Returns
    -------
    Axes
    """
    from . import axes

    check(model)
    if not hasattr(model, "transform"):
        raise lacking(model, "codes of new rows", "one with transform")
    Z = array(model.transform(X))
    labels = np.zeros(len(Z), dtype=int) if labels is None else np.asarray(labels)
    if len(labels) != len(Z):
        raise ValueError(f"codes got {len(Z)} rows and {len(labels)} labels: pass one label a row")
    ax = axes()
    x, y = Z[:, 0], Z[:, 1] if Z.shape[1] > 1 else np.zeros(len(Z))
    if len(kinds := np.unique(labels)) > LEGIBLE:
        ax.figure.colorbar(ax.scatter(x, y, s=6, c=labels))
    else:
        for i, kind in enumerate(kinds):  # eight colours, then the same with another marker
            ax.scatter(x[labels == kind], y[labels == kind], s=9, marker="o^"[i // len(PALETTE)], label=str(kind))
        if len(kinds) > 1:
            ax.legend(markerscale=2, bbox_to_anchor=(1, 1), loc="upper left", frameon=False)
    ax.set(xlabel="code, entry 1", ylabel="code, entry 2" if Z.shape[1] > 1 else "")
    return ax


def history(model: Fitting) -> Any:
    """The objective before each step of the fit, nats a row.

    Returns
    -------
    Axes
    """
    from . import axes

    check(model)
    ax = axes()
    ax.plot(np.arange(1, len(model.history_) + 1), model.history_, marker="." if len(model.history_) < 50 else "")
    ax.set(xlabel="step", ylabel="objective (nats a row)")
    return ax


def check(model):
    """Refuse what is not fitted."""
    if not isinstance(model, Fitting):
        raise TypeError(f"a {type(model).__name__} is no model of this package: pass a fitted estimator")
    check_is_fitted(model)


def lacking(model, what, other):
    return TypeError(f"{type(model).__name__} has no {what}: pass {other}")


def array(X):
    return np.asarray(X.detach().cpu() if hasattr(X, "detach") else X)


def drawn(rows, shape, columns, names=()):
    """Rows (n, D) as grey pictures, or as lines where D is no picture's."""
    from . import axes, images

    D = int(np.prod(rows.shape[1:]))
    side = math.isqrt(D)
    shape = shape or (rows.shape[-2:] if rows.ndim > 2 else (side, side) if side**2 == D and side > 3 else None)
    if shape is not None:
        if math.prod(shape) != D:
            raise ValueError(
                f"shape={tuple(shape)} holds {math.prod(shape)} entries, a row has {D}: pass one that fits"
            )
        images(rows.reshape(-1, *shape), columns=min(columns, len(rows)), rows=names)
        return np.array(plt.gcf().axes)
    grid = np.atleast_1d(
        axes(min(columns, len(rows), 4), -(-len(rows) // min(columns, len(rows), 4)), sharey=True)
    ).ravel()
    for ax, row in zip(grid, rows):
        ax.plot(row)
    return grid
