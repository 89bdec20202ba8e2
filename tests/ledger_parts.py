"""Ledger checks of parts: NMF and sparse coding (L1, L1b-d, L2, L2b-d); see `test_ledger` for their form."""

from math import erf, exp, pi, sqrt

import numpy as np
import torch
from gaelib.joints.parts import Parts
from scipy.optimize import nnls
from scipy.stats import laplace, multivariate_normal
from sklearn.decomposition import sparse_encode


def factors(n=40, D=8, K=3, seed=0):
    """X (n, D), codes (n, K) and parts (K, D), all uniform on [0, 1]."""
    rng = np.random.default_rng(seed)
    return rng.random((n, D)), rng.random((n, K)), rng.random((K, D))


def multiply(X, U, W):
    """One multiplicative update of the codes."""
    return U * (X @ W.T) / (U @ W @ W.T)


def l1():
    """Multiplicative updates never raise the error: the statement is a rule (X, U, W) -> U, which serves the parts
    too, transposed; the judge the largest rise of the error in 500 rounds, as a part of the error, and how far the
    rule is from a step of size u / (2 u W W^T) along minus the gradient."""
    X, U0, W0 = factors()

    def residual(rule):
        U, W, errors = U0, W0, []
        for _ in range(500):
            U = rule(X, U, W)
            errors.append(((X - U @ W) ** 2).sum())
            W = rule(X.T, W.T, U.T).T
            errors.append(((X - U @ W) ** 2).sum())
        gradient = 2 * (U0 @ W0 - X) @ W0.T
        step = U0 - U0 / (2 * U0 @ W0 @ W0.T) * gradient
        return max((np.diff(errors) / errors[:-1]).max(), abs(rule(X, U0, W0) - step).max())

    wrong = {
        "a step of half that size": lambda X, U, W: U * (1 + (X @ W.T) / (U @ W @ W.T)) / 2,
        "the root of the ratio": lambda X, U, W: U * ((X @ W.T) / (U @ W @ W.T)) ** 0.5,
        "a gradient step of twice that size": lambda X, U, W: U * (2 * (X @ W.T) / (U @ W @ W.T) - 1),
    }
    return residual, multiply, wrong, 1e-12


def l1b():
    """Codes and parts at once, from x = 1, u = w = 2: the statement is a rule, round -> error."""
    x, u, w, errors = np.ones((1, 1)), 2 * np.ones((1, 1)), 2 * np.ones((1, 1)), []
    for _ in range(6):
        errors.append(float((x - u @ w).item() ** 2))
        u, w = multiply(x, u, w), multiply(x.T, w.T, u.T).T

    def residual(rule):
        return max(abs(rule(k) - error) for k, error in enumerate(errors))

    wrong = {
        "it falls in every round": lambda k: 9 * 0.0625**k,
        "it falls once and stays": lambda k: 0.5625 if k else 9.0,
        "one factor after the other": lambda k: 0.0 if k else 9.0,
    }
    return residual, lambda k: 0.5625 if k % 2 else 9.0, wrong, 1e-12


def l1c():
    """What a zero does, and what a scale does.  The statement is a pair: a rule (W, x, on) -> code, where multiplicative
    updates end that start at zero outside of ``on``; and a scale of the codes for parts times d."""
    X, U, W = factors(12, 8, 4, seed=3)
    on = np.array([True, False, True, True])
    start = np.where(on, 1.0, 0.0)
    ends = []
    for x in X:
        u = start[None]
        for _ in range(2000):
            u = multiply(x[None], u, W)
        ends.append(u[0])
    d = np.array([0.1, 3.0, 20.0, 1.0])

    def residual(statement):
        code, scale = statement
        off = max(abs(code(W, x, on) - end).max() for x, end in zip(X, ends))
        return max(off, abs((U * scale(d)) @ (d[:, None] * W) - U @ W).max())

    def beside(W, x, on):
        return np.where(on, _place(nnls(W[on].T, x)[0], on), 0.0)

    wrong = {
        "the best code of all": (lambda W, x, on: nnls(W.T, x)[0], lambda d: 1 / d),
        "least squares": (lambda W, x, on: np.linalg.lstsq(W.T, x, rcond=None)[0], lambda d: 1 / d),
        "the scale is fixed": (beside, lambda d: 0 * d + 1),
    }
    return residual, (beside, lambda d: 1 / d), wrong, 1e-4


def _place(values, on):
    full = np.zeros(len(on))
    full[on] = values
    return full


def l1d():
    """KL-NMF's update is EM for Poisson noise: the statement is a rule (X, U, W) -> U.  The judge shares out every count,
    x_nd u_nk w_kd / sum, and divides by what a part gives in all; and counts what the log likelihood falls in 300 rounds."""
    X, U0, W0 = factors(seed=1)
    X = np.random.default_rng(2).poisson(4 * X).astype(float)

    def residual(rule):
        shares = U0[:, :, None] * W0[None]
        shares /= shares.sum(1, keepdims=True)
        em = (X[:, None] * shares).sum(2) / W0.sum(1)
        U, W, values = U0, W0, []
        for _ in range(300):
            U = rule(X, U, W)
            W = rule(X.T, W.T, U.T).T
            values.append((X * np.log(U @ W) - U @ W).sum())
        return max(abs(rule(X, U0, W0) - em).max(), -np.diff(values).min())

    wrong = {
        "the squared error's update": multiply,
        "not divided by the part's sum": lambda X, U, W: U * ((X / (U @ W)) @ W.T) / W.sum(),
        "the root of the ratio": lambda X, U, W: U * ((X / (U @ W)) @ W.T / W.sum(1)) ** 0.5,
    }
    return residual, lambda X, U, W: U * ((X / (U @ W)) @ W.T / W.sum(1)), wrong, 1e-9


def lasso():
    """The set-up of L2: W (20, 40) of unit columns, x from three of them, lambda; and the best code by least angles."""
    rng = np.random.default_rng(0)
    W = rng.normal(size=(20, 40))
    W /= np.linalg.norm(W, axis=0)
    u = np.zeros(40)
    u[[3, 11, 29]] = 1.5, -1.0, 2.0
    x, penalty = W @ u + 0.05 * rng.normal(size=20), 0.2
    best = sparse_encode(x[None], W.T, algorithm="lasso_lars", alpha=penalty / 2, max_iter=1000)[0]
    return W, x, penalty, best


def l2():
    """MAP under a Laplace prior, and its slope conditions.  The statement is a pair: a rule for the log joint against
    scipy's densities; and how far a code is from the conditions, which is 0 at the best code, by least angles, only."""
    W, x, penalty, best = lasso()
    codes = [best, np.zeros(40), np.random.default_rng(1).normal(size=40)]
    judge = [multivariate_normal(W @ u, 0.5).logpdf(x) + laplace(scale=1 / penalty).logpdf(u).sum() for u in codes]

    def residual(statement):
        density, violation = statement
        off = max(abs(density(u) - value) for u, value in zip(codes, judge))
        assert all(violation(u) > 0.1 for u in codes[1:])
        return max(off, violation(best))

    joint = Parts(torch.tensor(W.T), penalty, "signed")

    def density(u):
        return float(joint.log_joint(torch.tensor(x)[None], torch.tensor(u)[None]))

    def slopes(u, factor=2.0, level=1.0):
        slope = factor * W.T @ (x - W @ u)
        on = abs(slope - level * penalty * np.sign(u))[u != 0].max(initial=0)
        return max(on, (abs(slope) - abs(level) * penalty)[u == 0].max(initial=0))

    wrong = {
        "without the 2": (density, lambda u: slopes(u, factor=1.0)),
        "the wrong sign": (density, lambda u: slopes(u, level=-1.0)),
        "half the price": (density, lambda u: slopes(u, level=0.5)),
        "the prior without its constant": (lambda u: density(u) - 40 * np.log(penalty / 2), slopes),
    }
    return residual, (density, slopes), wrong, 1e-9


def soft(u, t):
    return np.sign(u) * np.maximum(abs(u) - t, 0)


def ista(W, x, u, penalty, step):
    return soft(u + 2 * step * W.T @ (x - W @ u), penalty * step)


def l2b():
    """ISTA.  The statement is a pair: a layer (W, x, u, lambda, s) -> u, and the orbit of one atom, x = 2, lambda = 1, for a
    step s.  The judge: at s = 1/(2L) no layer lowers the objective, k gaps are within ||u*||^2 / 2s, and 3000 layers end
    at the best code; the orbits are iterated."""
    W, x, penalty, best = lasso()
    L = np.linalg.eigvalsh(W.T @ W)[-1]
    step = 1 / (2 * L)

    def value(u):
        return -((x - W @ u) ** 2).sum() - penalty * abs(u).sum()

    def residual(statement):
        layer, orbit = statement
        u, values, off = np.zeros(40), [], 0.0
        for k in range(1, 3001):
            u = layer(W, x, u, penalty, step)
            values.append(value(u))
            off = max(off, (value(best) - values[-1]) * k - (best**2).sum() / (2 * step))
        off = max(off, -np.diff(values).min(), abs(u - best).max())
        one = np.ones((1, 1))
        for s in (0.5, 0.99, 1.01):
            v = np.zeros(1)
            for _ in range(3000):
                v = layer(one, np.array([2.0]), v, 1.0, s)
            pair = sorted([v[0], layer(one, np.array([2.0]), v, 1.0, s)[0]])
            off = max(off, abs(np.subtract(pair, orbit(s))).max())
        return off

    def orbit(s):
        return (1.5, 1.5) if s < 1 else (0.0, 3.03)

    wrong = {
        "without the 2": (lambda W, x, u, t, s: soft(u + s * W.T @ (x - W @ u), t * s), orbit),
        "a threshold without the step": (lambda W, x, u, t, s: soft(u + 2 * s * W.T @ (x - W @ u), t), orbit),
        "nothing comes back from the last layer": (lambda W, x, u, t, s: soft(2 * s * W.T @ x, t * s), orbit),
        "it converges at every step": (ista, lambda s: (1.5, 1.5)),
    }
    return residual, (ista, orbit), wrong, 1e-6


def posterior(x, penalty=1.0):
    """Mean of u given x under a Laplace prior, one atom of length 1, variance 1/2."""
    halves = []
    for side in (1, -1):
        centre = side * x - penalty / 2
        mass = exp(-side * penalty * x) * sqrt(pi) / 2 * (1 + erf(centre))
        halves.append((mass, side * (centre * mass + exp(-side * penalty * x) * exp(-(centre**2)) / 2)))
    return sum(first for _, first in halves) / sum(mass for mass, _ in halves)


def l2c():
    """The mean under a Laplace prior: the statement is a rule x -> E[u|x], the judge a sum over a fine grid."""
    u = np.linspace(-12, 12, 240_001)
    judge = {}
    for x in (0.0, 0.4, -0.4, 1.0, 2.0):
        density = np.exp(-((x - u) ** 2) - abs(u))
        judge[x] = (density * u).sum() / density.sum()
        near = np.trapezoid(density[abs(u) < 0.01005], dx=1e-4) / np.trapezoid(density, dx=1e-4)
        assert x != 0.4 or round(near, 4) == 0.0166  # and not 1: no posterior is sparse

    def residual(rule):
        return max(abs(rule(x) - mean) for x, mean in judge.items())

    wrong = {
        "the mode": lambda x: float(soft(np.array(x), 0.5)),
        "no prior": lambda x: x,
        "a normal prior": lambda x: x / 1.5,
        "half the price": lambda x: posterior(x, 0.5),
    }
    return residual, posterior, wrong, 1e-6


def l2d():
    """Longer parts make the penalty void: the statement is a rule c -> what the objective is for parts c W."""
    X = torch.tensor(np.random.default_rng(1).normal(size=(100, 8)))
    W = np.random.default_rng(2).normal(size=(12, 8))
    W = torch.tensor(W / np.linalg.norm(W, axis=1, keepdims=True))

    def value(scale, penalty):
        joint = Parts(scale * W, penalty, "signed")
        u = joint.argmax(X)
        return float(-(X - joint.decode(u)).square().sum(1).mean() - penalty * u.abs().sum(1).mean())

    judge = {c: value(c, 1.0) for c in (1, 4, 16, 64, 256)}
    assert [round(v, 4) for v in judge.values()] == [-5.1030, -2.0365, -0.6003, -0.1569, -0.0397]
    wrong = {
        "nothing changes": lambda c: value(1, 1.0),
        "the error alone is left": lambda c: judge[1] / c,
        "in proportion to the square": lambda c: value(1, 1.0 / c**2),
    }
    return lambda rule: max(abs(rule(c) - v) for c, v in judge.items()), lambda c: value(1, 1.0 / c), wrong, 1e-9


CHECKS = {"L1": l1, "L1b": l1b, "L1c": l1c, "L1d": l1d, "L2": l2, "L2b": l2b, "L2c": l2c, "L2d": l2d}
