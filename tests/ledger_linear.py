"""Ledger checks of the linear codes (G1-G9, R4); see `test_ledger` for their form."""

from math import log, pi

import numpy as np
import torch
from gaelib import LGAE, data
from gaelib.core import Exact, alternate, climb
from gaelib.joints.flats import Flats
from gaelib.noise import gaussian
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, W, MU = normal(50, 6), normal(6, 2, seed=1), normal(6, seed=2)
U = normal(50, 2, seed=3)


def g1():
    """The log density of the decoder: the statement is its formula, the judge the density of scipy."""
    judge = [multivariate_normal((MU + W @ u).numpy(), 0.5).logpdf(x.numpy()) for x, u in zip(X, U)]

    def squares():
        return (X - MU - U @ W.T).square().sum(1)

    wrong = {
        "no constant": lambda: -squares(),
        "proportional": lambda: -2 * squares() - 3 * log(pi),
        "the constant of variance 1": lambda: -squares() - 3 * log(2 * pi),
    }
    return lambda rule: (rule() - torch.tensor(judge)).abs().max(), lambda: -squares() - 3 * log(pi), wrong, 1e-10


def g2():
    """The best code: the statement is a matrix that encodes x - mu, the judge least squares."""
    judge = torch.linalg.lstsq(W, (X - MU).T).solution.T
    wrong = {
        "the transpose": W.T,
        "the wrong sign": -torch.linalg.pinv(W),
        "W^T W instead of its inverse": W.T @ W @ W.T,
    }
    return lambda E: ((X - MU) @ E.T - judge).abs().max(), torch.linalg.pinv(W), wrong, 1e-10


def g3():
    """The gradient, and the rate of the climb: the judges are autograd and 500 measured steps."""
    z = U.clone().requires_grad_()
    slope = torch.autograd.grad(gaussian(X, MU + z @ W.T).sum(), z)[0]
    low, high = torch.linalg.eigvalsh(W.T @ W)
    kept = {}
    for s in (0.2 / high, 0.6 / high, 0.98 / high, 1.02 / high):
        end = [climb(lambda u: -(u @ W.T).square().sum(1), U[:1], t, float(s)).norm() for t in (500, 501)]
        kept[float(s)] = end[1] / end[0]

    def residual(statement):
        gradient, rate = statement
        return max((gradient() - slope).abs().max(), *((rate(s) - k).abs() for s, k in kept.items()))

    def gradient():
        return 2 * (X - MU - U @ W.T) @ W

    def rate(s):
        return torch.maximum((1 - 2 * s * low).abs(), (1 - 2 * s * high).abs())

    wrong = {
        "without the 2": (lambda: gradient() / 2, rate),
        "uphill of the error": (lambda: -gradient(), rate),
        "the steep direction rules": (gradient, lambda s: (1 - 2 * s * high).abs()),
        "half the rate": (gradient, lambda s: torch.maximum((1 - s * low).abs(), (1 - s * high).abs())),
    }
    return residual, (gradient, rate), wrong, 1e-6


def g4():
    """One step from anywhere: the statement is the step's size, for orthonormal W, from 100 starts."""
    Q = torch.linalg.qr(W).Q
    starts, x = 30 * normal(100, 2, seed=5), X[:1]

    def residual(step):
        reached = climb(lambda u: gaussian(x.expand(100, 6), MU + u @ Q.T), starts, 1, step)
        return (reached - (x - MU) @ Q).abs().max()

    return residual, 0.5, {"the whole gradient": 1.0, "a quarter": 0.25}, 1e-12


def sine(A, B):
    return np.linalg.norm(A.T - B.T @ (B @ A.T), 2)


def g6():
    """The best flat, and what the objective fixes of it.  The statement is a pair: a rule X -> directions (p, D), against
    scikit-learn's PCA; and a rule (gap, theta, along, across) -> the change of the objective when the best flat is turned
    by theta between axes E and E + 1, and its point moves along the flat and across it, against `Flats`."""
    digits = data.digits()[0]
    judge = PCA(5, svd_solver="full").fit(digits).components_
    rng = np.random.default_rng(1)
    white = np.linalg.qr(np.c_[np.ones(50), rng.normal(size=(50, 4))])[0][:, 1:] * np.sqrt(50)  # covariance I, mean 0
    changes = {}
    for gap in (0.0, 1.5):
        x = torch.tensor(white * np.sqrt([4.0, 2 + gap, 2.0, 1.0]))

        def value(theta, along, across, x=x):
            basis = [[1, 0], [0, np.cos(theta)], [0, np.sin(theta)], [0, 0]]
            joint = Flats(torch.tensor([[along, 0, 0, across]], dtype=torch.float64), torch.tensor([basis]).double())
            return joint.log_joint(x, joint.argmax(x)).mean().item()

        for move in ((0.7, 0.0, 0.0), (1.5, 0.0, 0.0), (0.0, 3.0, 0.0), (0.0, 3.0, 0.5), (0.7, 0.0, 0.5)):
            changes[gap, *move] = value(*move) - value(0, 0, 0)

    def residual(pair):
        directions, change = pair
        apart = max(abs(change(*move) - found) for move, found in changes.items())
        return max(sine(judge, directions(digits)), apart)

    def best(X):
        return LGAE(5).fit(X).components_

    def change(gap, theta, along, across):
        return -gap * np.sin(theta) ** 2 - across**2

    wrong = {
        "without centring": (lambda X: np.linalg.svd(X, full_matrices=False)[2][:5], change),
        "the least variance": (lambda X: np.linalg.eigh(np.cov(X.T))[1].T[:5], change),
        "the first five pixels": (lambda X: np.eye(64)[:5], change),
        "a tie fixes the flat too": (best, lambda gap, t, along, across: -(gap or 1.5) * np.sin(t) ** 2 - across**2),
        "the point is fixed": (best, lambda gap, t, along, across: change(gap, t, along, across) - along**2),
    }
    return residual, (best, change), wrong, 1e-8


def g7():
    """Is the constraint needed?  The statement is a rule data -> squared error at its end, the judge PCA's error."""
    X = data.digits()[0]
    X = X - X.mean(0)
    W = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 5)))[0]
    judge = (X**2).sum() - (PCA(5, svd_solver="full").fit(X).singular_values_ ** 2).sum()

    def free(encode):
        V = W
        for _ in range(300):
            U = X @ np.linalg.pinv(V).T
            V = np.linalg.lstsq(U, X, rcond=None)[0].T
        return ((X - X @ encode(V).T @ V.T) ** 2).sum()

    def constrained():
        joint = Flats(torch.zeros(1, 64, dtype=torch.float64), torch.tensor(W)[None])
        alternate(joint, [torch.tensor(X)], Exact(), 300, tol=-1)
        return ((X - joint.decode(joint.argmax(torch.tensor(X))).numpy()) ** 2).sum()

    def true():
        return max(free(np.linalg.pinv), constrained(), key=lambda error: abs(error - judge))

    wrong = {
        "free W with the transpose as encoder": lambda: free(np.transpose),
        "orthonormal W without learning": lambda: ((X - X @ W @ W.T) ** 2).sum(),
    }
    return lambda rule: rule() / judge - 1, true, wrong, 1e-9


def g8():
    """Evidence minus max of probabilistic PCA: the statement is the volume, the judge scipy's Gaussian."""
    s2 = 0.3
    M = torch.eye(2) + W.T @ W / s2
    evidence = multivariate_normal(MU.numpy(), (W @ W.T).numpy() + s2 * np.eye(6)).logpdf(X.numpy())
    best = torch.linalg.solve(M, W.T @ (X - MU).T / s2).T
    top = gaussian(X, MU + best @ W.T, s2) + gaussian(best, torch.zeros_like(best), 1.0)
    gap = torch.tensor(evidence) - top
    wrong = {
        "nothing is missing": 0.0,
        "the wrong sign": log(2 * pi) + 0.5 * torch.logdet(M),
        "without 2 pi": -0.5 * torch.logdet(M),
    }
    return lambda volume: (gap - volume).abs().max(), log(2 * pi) - 0.5 * torch.logdet(M), wrong, 1e-10


def r4():
    """Log integral minus log max under a flat prior: the statement is a formula, the judge quadrature on a grid."""
    side = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    W = torch.tensor([[1, 2], [0, 1], [1, 0], [2, 1], [1, 1]], dtype=torch.float64)  # det W^T W = 24
    cases = [(torch.linalg.qr(W).Q, 0.3), (W, 0.3), (2 * torch.linalg.qr(W).Q, 1.0)]
    judge = []
    for V, s2 in cases:
        x = V @ torch.tensor([0.4, -0.3], dtype=torch.float64) + 0.1
        l = gaussian(x.expand(len(grid), 5), grid @ V.T, s2)
        best = torch.linalg.pinv(V) @ x
        judge.append(torch.logsumexp(l, 0) + 2 * log(24 / 1200) - gaussian(x[None], (V @ best)[None], s2)[0])
    assert [round(float(gap), 5) for gap in judge[:2]] == [0.63390, -0.95512]  # the figures of the ledger

    def residual(formula):
        return max(abs(float(formula(V, s2) - gap)) for (V, s2), gap in zip(cases, judge))

    wrong = {
        "no determinant": lambda V, s2: torch.tensor(log(2 * pi * s2)),
        "the wrong sign": lambda V, s2: log(2 * pi * s2) + 0.5 * torch.logdet(V.T @ V),
        "no volume at all": lambda V, s2: torch.tensor(0.0),
    }
    return residual, lambda V, s2: log(2 * pi * s2) - 0.5 * torch.logdet(V.T @ V), wrong, 1e-8


CHECKS = {"G1": g1, "G2": g2, "G3": g3, "G4-G5": g4, "G6": g6, "G7": g7, "G8": g8, "R4": r4}
