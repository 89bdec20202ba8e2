"""LogisticRegression against scikit-learn's L-BFGS on MNIST: the seconds in which each reaches the same objective."""

import warnings

import numpy as np
from gaelib import LogisticRegression, data
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression as Reference

from .harness import limited, race, round_to, thread_counts

ROWS = 6000
LADDER = 10.0 ** -np.arange(0, 9.5, 0.5)  # tolerances, the loosest first
CLOSE = 1e-6  # nats per sample below the best objective found, at most


def objective(model, X, y, C):
    """Mean log softmax less scikit-learn's penalty, from the model's coefficients; nats per sample."""
    logs = log_softmax(X.astype(float) @ model.coef_.astype(float).T + model.intercept_, axis=1)
    return logs[np.arange(len(y)), y].mean() - (model.coef_.astype(float) ** 2).sum() / (2 * C * len(y))


def loosest(make, X, y, C, target):
    """The largest tolerance with which the model gets there."""
    for tol in LADDER:
        if objective(make(float(tol)).fit(X, y), X, y, C) >= target:
            return float(tol)
    raise ValueError(f"no tolerance of {LADDER[0]:g} to {LADDER[-1]:.1g} reaches {target:.7g} nats: allow more passes")


def contest(dtype, C=1.0):
    """What is raced, and its setting: both at their own loosest tolerance that reaches the common objective."""
    X, y = data.mnist()
    X, y = (X[:ROWS] / 255).astype(dtype), y[:ROWS]
    makes = {
        "gaelib": lambda tol: LogisticRegression(C=C, tol=tol, max_iter=1000),
        "scikit-learn": lambda tol: Reference(C=C, tol=tol, max_iter=10000),
    }
    best = max(objective(make(1e-8).fit(X.astype(float), y), X, y, C) for make in makes.values())
    tols = {name: loosest(make, X, y, C, best - CLOSE) for name, make in makes.items()}
    contestants = {name: lambda make=makes[name], tol=tol: make(tol).fit(X, y) for name, tol in tols.items()}
    setting = {"data": "MNIST", "n": ROWS, "D": X.shape[1], "classes": 10, "C": C, "dtype": dtype}
    setting |= {f"tol, {name}": round_to(tol) for name, tol in tols.items()}
    left = {name: best - objective(run(), X, y, C) for name, run in contestants.items()}
    return contestants, setting | {f"left, {name}": round_to(nats, 2) for name, nats in left.items()}


def measure(repeats):
    """On one thread and on all, with tables of both dtypes; ``left`` is what is missing to the best objective, nats."""
    table = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a tolerance that is too loose is tried and left
        for contestants, setting in map(contest, ("float64", "float32")):
            for threads in thread_counts():
                with limited(threads):
                    table.append(setting | race(contestants, min(repeats, 5)) | {"threads": threads})
    return {"rows": table}
