"""The ledger's checks of compressed sensing: least sums of absolute values, and flats from few measurements (L3-L3c)."""

import itertools

import numpy as np
import torch
from gaelib.joints.flats import Flats
from gaelib.models.sensing import sense
from scipy.linalg import hadamard
from scipy.optimize import linprog


def least_sum(A, y):
    """The x of least sum of absolute values with A x = y, by a linear program."""
    found = linprog(np.ones(2 * A.shape[1]), A_eq=np.hstack([A, -A]), b_eq=y)
    return found.x[: A.shape[1]] - found.x[A.shape[1] :]


def least_square(A, y):
    return np.linalg.pinv(A) @ y


def l3():
    """Spikes beside Walsh functions, 8 x 16: the statement is (rule, entries), the judge every signed support so large,
    up to a common sign, or a sample of 40 of them."""
    A = np.hstack([np.eye(8), hadamard(8) / np.sqrt(8)])
    cosines = np.abs(A.T @ A - np.eye(16)).max()
    assert 1 < (1 + 1 / cosines) / 2 < 2  # one entry is promised, two are not

    def residual(statement):
        rule, entries = statement
        cases = [
            (list(support), signs)
            for support in itertools.combinations(range(16), entries)
            for signs in itertools.product((1.0, -1.0), repeat=entries)
            if signs[0] > 0
        ]
        worst = 0.0
        for support, signs in cases[:: max(1, len(cases) // 40)]:
            x = np.zeros(16)
            x[support] = signs
            worst = max(worst, np.abs(rule(A, A @ x) - x).max())
        return worst

    wrong = {
        "the least sum of squares": (least_square, 1),
        "three entries": (least_sum, 3),
        "twice the sum of the spikes": (lambda A, y: least_sum(A * np.repeat([0.2, 1.0], 8), y), 1),
    }
    return residual, (least_sum, 1), wrong, 1e-8


def l3b():
    """Recovery from 30 of 60: the statement is (rule, measurements, few, many), the judge the share that comes back."""

    def share(rule, M, entries):
        came = 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            A, x = rng.normal(size=(M, 60)), np.zeros(60)
            x[rng.choice(60, entries, replace=False)] = rng.normal(size=entries)
            came += np.abs(rule(A, A @ x) - x).max() < 1e-6
        return came / 20

    def residual(statement):
        rule, M, few, many = statement
        return max(0.0, 0.85 - share(rule, M, few)) + max(0.0, share(rule, M, many) - 0.35)

    wrong = {
        "the least sum of squares": (least_square, 30, 6, 16),
        "half the measurements": (least_sum, 15, 6, 16),
        "nearly never above six": (least_sum, 30, 6, 8),
    }
    return residual, (least_sum, 30, 6, 16), wrong, 1e-9


def flats(K=6, D=64, p=4, n=60):

    def draw(*shape, seed):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    joint = Flats(draw(K, D, seed=0), torch.linalg.qr(draw(K, D, p, seed=1)).Q)
    return joint, joint.decode((torch.arange(n) % K, draw(n, p, seed=2))), draw(2 * p + 2, D, seed=3)


def gain(joint, A):
    """The least gain of A on the differences of two points of the flats: 0 where one of them is lost."""
    pairs = [(i, j) for i in range(len(joint.means)) for j in range(i)]
    spans = [
        torch.cat([joint.bases[i], joint.bases[j], (joint.means[i] - joint.means[j])[:, None]], 1) for i, j in pairs
    ]
    values = [torch.linalg.svdvals(A @ torch.linalg.qr(span).Q) for span in spans]
    return min(float(v[-1]) if len(v) == span.shape[1] else 0.0 for v, span in zip(values, spans))


def l3c():
    """Flats of p dimensions: the statement is p -> (so many recover, so many are stable), the judge checks that both
    suffice and that one fewer does not."""
    joint, x, A = flats()

    def lost(M):
        if not M:
            return 1.0
        return float(((sense(joint, x @ A[:M].T, A[:M]).mean - x).norm(dim=1) > 1e-5).double().mean())

    def residual(statement):
        exact, stable = statement(joint.bases.shape[2])
        unstable = [gain(joint, A[:M]) < 1e-9 for M in (stable, stable - 1)]
        return lost(exact) + (lost(exact - 1) < 0.5) + unstable[0] + (not unstable[1])

    wrong = {
        "p recover": lambda p: (p, 2 * p + 1),
        "p + 2 are needed": lambda p: (p + 2, 2 * p + 1),
        "2 p are stable": lambda p: (p + 1, 2 * p),
        "2 p + 2 are needed": lambda p: (p + 1, 2 * p + 2),
    }
    return residual, lambda p: (p + 1, 2 * p + 1), wrong, 1e-9


CHECKS = {"L3": l3, "L3b": l3b, "L3c": l3c}
