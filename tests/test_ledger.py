"""The equation ledger's checks: beside each true statement stand wrong ones, and both are told apart.

A check is ``residual(statement)``, by how much the statement is violated; `assert_ledger` demands at most tol
of the true statement and at least 100 tol of every wrong one.  To add one, write the residual and put it
under the id of its row in ``book/ledger.yml``.
"""

import importlib
from math import erf, exp, log, pi, sqrt
from pathlib import Path

import numpy as np
import pytest
import registry
import torch
from gaelib import KMeans, data
from gaelib.core import Climb, Exact, Joint, Soft, alternate, objective
from gaelib.joints.flats import Flats
from gaelib.noise import gaussian
from ledgercheck import assert_ledger
from scipy.optimize import linprog
from sklearn.cluster import KMeans as Reference

RNG = np.random.default_rng(0)


class Ellipse(Joint):
    """An angle as code, an ellipse as decoder, a uniform prior: two local maxima for most points."""

    def log_joint(self, x, z):
        return gaussian(x, torch.stack([6 * z.cos(), 2 * z.sin()], 1)) - log(2 * pi)


def b5():
    """Truncated inference is a lower bound, from any start: the statement orders (left >= right) the maximum, found
    on a fine grid, and what t steps reach."""
    joint, generator = Ellipse(), torch.Generator().manual_seed(0)
    x = 3 * torch.randn(50, 2, generator=generator, dtype=torch.float64)
    turn = torch.linspace(-pi, pi, 721, dtype=torch.float64)
    best = turn[torch.stack([joint.log_joint(x, z.expand(50)) for z in turn]).argmax(0)]
    maximum = objective(joint, x, Climb(lambda joint, x: best, 200, 0.01))
    z0 = 2 * pi * torch.rand(50, generator=generator, dtype=torch.float64)
    reached = [objective(joint, x, Climb(lambda joint, x: z0, t, 0.01)) for t in (0, 1, 5, 50)]

    def residual(statement):
        return max((right - left).clamp(min=0).mean() for left, right in map(statement, reached))

    wrong = {
        "the inequality reversed": lambda at_t: (at_t, maximum),
        "the prior's constant dropped on one side": lambda at_t: (maximum - log(2 * pi), at_t),
    }
    return residual, lambda at_t: (maximum, at_t), wrong, 1e-9


def e1():
    """The best mixture weights f: the statement is a rule p -> f, the judge a linear program over the simplex."""
    tables = RNG.random((50, 6))
    best = [-linprog(-p, A_eq=np.ones((1, 6)), b_eq=[1.0]).fun for p in tables]

    def residual(rule):
        return max(log(b) - log(rule(p) @ p) for b, p in zip(best, tables))

    wrong = {
        "in proportion to p": lambda p: p / p.sum(),
        "uniform": lambda p: np.full(6, 1 / 6),
        "at the least p": lambda p: np.eye(6)[p.argmin()],
    }
    return residual, lambda p: np.eye(6)[p.argmax()], wrong, 1e-12


def e2():
    """k-means is this autoencoder: the statement is a rule (X, start) -> centres, the judge scikit-learn's Lloyd."""
    X = data.digits()[0]
    reference = Reference(10, init=X[:10], n_init=1, tol=0, algorithm="lloyd").fit(X).cluster_centers_

    def median(X, start):
        for _ in range(30):
            labels = ((X[:, None] - start) ** 2).sum(2).argmin(1)
            start = np.stack([np.median(X[labels == k], 0) for k in range(10)])
        return start

    def soft(X, start):
        joint = Flats(torch.tensor(start))
        alternate(joint, [torch.tensor(X)], Soft(100.0), 30)
        return joint.means.numpy()

    def residual(rule):
        return np.abs(rule(X, X[:10]) - reference).max()

    wrong = {"medians": median, "soft codes at T=100": soft, "no step": lambda X, start: start}
    return residual, lambda X, start: KMeans(10, init=start, tol=0).fit(X).cluster_centers_, wrong, 1e-10


def e6():
    """The order of LEOP, EOL and LOE: the statement is a list of pairs (a, b) meaning a <= b."""
    cases = [(RNG.dirichlet(np.ones(3)), RNG.normal(size=(3, 2)), RNG.normal(size=2)) for _ in range(300)]
    cases += [
        (np.full(2, 0.5), np.array([[1.0], [-1.0]]), np.zeros(1)),
        (np.full(2, 0.5), np.array([[0.0], [3.0]]), np.zeros(1)),
    ]
    cases += [(np.array([1.0, 0.0]), np.array([[0.0], [3.0]]), np.zeros(1))]

    def bounds(f, A, x, sigma=None):
        l = -((x - A) ** 2).sum(1)
        if sigma is not None:  # a normalised Gaussian instead of exp(-||x - A||^2)
            l = l / (2 * sigma**2) - A.shape[1] * log(sigma * sqrt(2 * pi))
        return {
            "LEOP": np.logaddexp.reduce(np.log(np.maximum(f, 1e-300)) + l),
            "EOL": f @ l,
            "LOE": -((x - f @ A) ** 2).sum(),
        }

    def residual(statement):
        pairs, sigma = statement
        return max(max(b[low] - b[high] for low, high in pairs) for b in (bounds(*case, sigma) for case in cases)).clip(
            min=0
        )

    wrong = {
        "Jensen upside down": ([("LEOP", "EOL")], None),
        "LEOP <= LOE": ([("LEOP", "LOE")], None),
        "LOE <= LEOP": ([("LOE", "LEOP")], None),
        "EOL <= LOE, normalised with sigma = .01": ([("EOL", "LOE")], 0.01),
    }
    return residual, ([("EOL", "LEOP"), ("EOL", "LOE")], None), wrong, 1e-9


def folded(a):
    """E|x| of N(a, 1)."""
    return sqrt(2 / pi) * exp(-(a**2) / 2) + a * erf(a / sqrt(2))


def e7():
    """Where two centres end on (1/2) N(+-a, 1): the statement gives (hard, soft) for a, the judge is the algorithm
    on 20,000 quantiles of the mixture."""
    found, melting = {}, []
    for a in (0.0, 0.5, 1.0, 2.0):
        grid = torch.linspace(-a - 9, a + 9, 400001, dtype=torch.float64)
        cdf = torch.special.ndtr(grid - a) / 2 + torch.special.ndtr(grid + a) / 2
        x = grid[torch.searchsorted(cdf, (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000)][:, None]

        def end(infer, steps=3000, x=x):
            joint = Flats(torch.tensor([[-1.0], [1.0]], dtype=torch.float64), variance=1.0)
            alternate(joint, [x], infer, steps, tol=1e-13)
            return float(joint.means.max())

        found[a] = [end(Exact())]
        if a:
            found[a].append(end(Soft(1.0)))
        else:  # one is the critical temperature: the soft centres melt into one, as 1/sqrt(2t) after t steps
            melting = [end(Soft(1.0), t) * sqrt(2 * t) for t in (30, 300)]
    assert all(abs(m - 1) < 0.05 for m in melting)

    def residual(statement):
        return max(abs(got - said) for a, ends in found.items() for got, said in zip(ends, statement(a)))

    wrong = {
        "hard is unbiased": lambda a: (a, a),
        "soft is biased too": lambda a: (folded(a), folded(a)),
        "the other way round": lambda a: (a, folded(a)),
    }
    return residual, lambda a: (folded(a), a), wrong, 1e-3


CHECKS = {"B5": b5, "E1": e1, "E2": e2, "E6": e6, "E7": e7}
CHAPTERS = sorted(path.stem for path in Path(__file__).parent.glob("ledger_*.py"))
# {ledger id: check}, in a model's test file, or a chapter's where no model is its own
for module in [*map(registry.module, registry.NAMES), *map(importlib.import_module, CHAPTERS)]:
    theirs = getattr(module, "CHECKS", {})
    assert not CHECKS.keys() & theirs, f"{module.__name__}.py: {CHECKS.keys() & theirs} are checked twice"
    CHECKS |= theirs

ON_DATA = {"H9"}  # checks that fit a model to MNIST or Fashion-MNIST; they skip where the data are not


@pytest.mark.parametrize("id", CHECKS)
def test_ledger(id, record_property, request):
    record_property("ledger", id)
    if id in ON_DATA:
        request.getfixturevalue("real_data")
    residual, true, wrong, tol = CHECKS[id]()
    record_property("wrong_statements", len(wrong))
    assert_ledger(residual, true, wrong, tol)


def test_the_figures_of_the_ledger_come_out_again():
    assert [round(folded(a), 3) for a in (0.0, 0.5, 2.0)] == [0.798, 0.896, 2.017]
