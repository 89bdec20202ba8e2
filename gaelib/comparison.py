"""Several models on the same rows: score, error and seconds side by side."""

import html
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.base import clone

from .estimator import Fitting
from .progress import progress
from .rows import Table, alone, as_numpy, is_batches

__all__ = ["Comparison", "compare"]

COLUMNS = ("model", "score", "error", "fit seconds", "encode seconds")


class Comparison(list[dict[str, Any]]):
    """A list of rows, one dict a model, that prints as a table; ``pandas.DataFrame(comparison)`` works too.

    Attributes
    ----------
    models : dict
        Name -> the fitted estimator.
    """

    def __init__(self, rows: Iterable[dict[str, Any]], models: Mapping[str, Fitting]):
        super().__init__(rows)
        self.models = dict(models)

    def __repr__(self):
        lines = [list(COLUMNS), *([shown(row[name]) for name in COLUMNS] for row in self)]
        widths = [max(map(len, column)) for column in zip(*lines)]
        return "\n".join(
            "  ".join([f"{line[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(line[1:], widths[1:]))])
            for line in lines
        )

    def _repr_html_(self):
        head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(shown(row[name]))}</td>' for name in COLUMNS)}</tr>" for row in self
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def shown(value):
    """A cell: three digits, and a dash for what a model has not got."""
    if isinstance(value, str):
        return value
    return "-" if math.isnan(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def compare(
    X: Table, models: Iterable[Fitting] | Mapping[str, Fitting], test: Table | None = None, verbose: int = 1
) -> Comparison:
    """Fit copies of several models to X, and measure them on ``test``.

    Parameters
    ----------
    X : array (n, D), or batches
    models : list of estimators, or dict of name -> estimator
        Each is copied: what is passed stays as it is.
    test : array (m, D) or batches, optional
        Rows held out; without them the models are measured on X itself, where more parameters always look better.
    verbose : int
        0 hides the progress bar.

    Returns
    -------
    Comparison
        A row per model: ``score``, the mean of `score_samples` in nats a row, which only models of one temperature and
        a proper prior can be compared by; ``error``, the mean squared error of an entry after encoding and decoding, in
        the data's units squared; seconds to fit and to encode ``test``.  What a model has not got is NaN.

    Raises
    ------
    ValueError
        Without models, or for two of one name.
    TypeError
        For what is no model of this package.

    Examples
    --------
    >>> from gaelib import LGAE, KMeans
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> table = compare(X[:50], [KMeans(2, random_state=0), LGAE(2)], X[50:], verbose=0)
    >>> [row["model"] for row in table]
    ['KMeans(n_clusters=2, random_state=0)', 'LGAE()']
    >>> table[0]["error"] > table[1]["error"]
    True
    """
    named = dict(models) if isinstance(models, Mapping) else {}
    for model in () if isinstance(models, Mapping) else models:
        name = " ".join(repr(model).split())
        if name in named:
            raise ValueError(f"compare got {name} 2 times: pass a dict with a name for each")
        named[name] = model
    if not named:
        raise ValueError("compare got 0 models: pass at least one, such as [KMeans(3)]")
    for name, model in named.items():
        if not isinstance(model, Fitting):
            raise TypeError(f"{name} is a {type(model).__name__}, no model of this package: pass an estimator")
    test, rows = X if test is None else test, []
    named = {name: clone(model) for name, model in named.items()}
    with progress(named.items(), verbose=verbose, unit="model") as bar:
        for name, model in bar:
            bar.set_postfix_str(name)
            try:
                rows.append({"model": name} | measured(model, X, test))
            except Exception as error:
                error.add_note(f"said by {name}, one of the {len(named)} models that are compared")
                raise
    return Comparison(rows, named)


def measured(model, X, test):
    """What one model gets."""
    begun = time.perf_counter()
    model.fit(X)
    fitted = time.perf_counter()
    codes = model.transform(test) if hasattr(model, "transform") else None
    encoded = time.perf_counter()
    error = math.nan
    if codes is not None and hasattr(model, "inverse_transform"):
        error = distance(model, codes, test)
    return {
        "score": float(model.score(test)) if hasattr(model, "score") else math.nan,
        "error": error,
        "fit seconds": fitted - begun,
        "encode seconds": math.nan if codes is None else encoded - fitted,
    }


def distance(model, codes, test):
    """The mean squared error of an entry, batch by batch."""
    squares, entries, read = 0.0, 0, 0
    for x in map(alone, test) if is_batches(test) else [test]:
        decoded = as_numpy(model.inverse_transform(codes[read : read + len(x)])).astype(np.float64)
        squares, entries = squares + np.square(decoded - as_numpy(x).astype(np.float64)).sum(), entries + decoded.size
        read += len(x)
    return float(squares / entries)
