"""LogisticRegression against scikit-learn's L-BFGS on MNIST: the seconds in which each reaches the same objective."""

import warnings
from unittest.mock import patch

import numpy as np
import torch
from gaelib import LogisticRegression, data
from gaelib.models import regression
from gaelib.supervised import BLOCK, product
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression as Reference

from .harness import alone, limited, race, round_to, thread_counts

ROWS, C = 6000, 1.0
TOLS = {"gaelib": 3e-1, "scikit-learn": 1e-5}  # the loosest of 1, 3, 10, ... that end CLOSE in both dtypes
WANTED = 0.8  # seconds over scikit-learn's, at most
CLOSE = 5e-6  # nats per sample below the best objective found, at most
MAKES = {
    "gaelib": lambda tol: LogisticRegression(C=C, tol=tol, max_iter=1000),
    "scikit-learn": lambda tol: Reference(C=C, tol=tol, max_iter=10_000),
}


def objective(model, X, y):
    """Mean log softmax less scikit-learn's penalty, from the model's coefficients; nats per sample."""
    logs = log_softmax(X.astype(float) @ model.coef_.astype(float).T + model.intercept_, axis=1)
    return logs[np.arange(len(y)), y].mean() - (model.coef_.astype(float) ** 2).sum() / (2 * C * len(y))


def rows(dtype, best, repeats):
    """The race on one thread and on all; ``left`` is what is missing to the best objective, nats."""
    X, y = data.mnist()
    X, y = (X[:ROWS] / 255).astype(dtype), y[:ROWS]
    contestants = {name: lambda make=make, tol=TOLS[name]: make(tol).fit(X, y) for name, make in MAKES.items()}
    setting = {"data": "MNIST", "n": ROWS, "D": X.shape[1], "classes": 10, "C": C, "dtype": dtype}
    setting |= {f"tol, {name}": tol for name, tol in TOLS.items()}
    left = {name: best - objective(run(), X, y) for name, run in contestants.items()}
    assert max(left.values()) < CLOSE, f"not at the same objective: {left} nats are left"
    setting |= {f"left, {name}": round_to(nats, 2) for name, nats in left.items()}
    for threads in thread_counts():
        with limited(threads):
            timed = race(contestants, min(repeats, 3))
        yield setting | timed | {"threads": threads, "wanted": WANTED} | parts(X, y, threads)


def parts(X, y, threads):
    """How often a fit asks for the objective and its slope, and the seconds that their two products take alone."""
    with patch.object(regression, "total", wraps=regression.total) as asked:
        MAKES["gaelib"](TOLS["gaelib"]).fit(X, y)
    weights = torch.zeros(10, X.shape[1], dtype=torch.float64)

    def products(z):
        for part in z.split(regression.FEW // weights.numel()):
            product(product(weights, part.T), part)

    blocks = torch.from_numpy(X).double().split(BLOCK // X.shape[1])
    seconds = asked.call_count * alone(products, blocks, threads)
    return {"evaluations": asked.call_count, "products": round_to(seconds)}


def measure(repeats):
    """With tables of both dtypes."""
    X, y = data.mnist()
    X, y = X[:ROWS].astype(float) / 255, y[:ROWS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float32 may end scikit-learn's line search early
        best = objective(MAKES["gaelib"](1e-8).fit(X, y), X, y)
        return {"rows": [row for dtype in ("float64", "float32") for row in rows(dtype, best, repeats)]}
