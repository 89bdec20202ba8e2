"""Ledger checks of the original losses (D4-D13, R6); see `test_ledger` for their form."""

from fractions import Fraction
from itertools import combinations, product
from math import comb, log, pi

import numpy as np
import torch
from gaelib import data
from gaelib.core import climb, floor, mean, soft_floor
from gaelib.noise import gaussian
from scipy.integrate import quad
from scipy.optimize import brentq, minimize
from scipy.stats import multivariate_normal

LINE = torch.tensor([0, 0.2, 0.5, 0.6, 0.9, 1.1, 1.4, 3.0], dtype=torch.float64)  # the chapter's eight points
ERRORS = (LINE - LINE.mean()).square()  # d of a decoder that answers the mean
BETAS = (0.1, 0.5, 1.0, 3.0, 10.0)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SETS = [ERRORS, *normal(20, 12).square(), torch.full((5,), 0.7, dtype=torch.float64)]  # several d


def above(low, high):
    """By how much low exceeds high."""
    return max(float(low - high), 0.0)


def d4():
    """The sum as a floor: the statement is a loss (d, beta) -> L, the judge its brackets and equal errors."""

    def residual(loss):
        off = 0.0
        for d in SETS:
            for b in BETAS:
                low, high = floor(-d) - log(len(d)) / b, floor(-d)
                off = max(off, above(low, loss(d, b)), above(loss(d, b), high))
        equal = SETS[-1]  # N equal errors attain the lower bracket
        return max(off, *(abs(float(loss(equal, b)) + 0.7 + log(5) / b) for b in BETAS))

    wrong = {
        "as printed, without 1/beta": lambda d, b: -torch.logsumexp(b * d, 0),
        "the mean in place of the sum": lambda d, b: soft_floor(b)(-d),
        "the ceiling": lambda d, b: torch.logsumexp(-b * d, 0) / b,
        "without the logarithm": lambda d, b: -(b * d).exp().sum() / b,
    }
    return residual, lambda d, b: -torch.logsumexp(b * d, 0) / b, wrong, 1e-9


def d5():
    """The soft floor: the statement is a loss (d, beta) -> L, the judge its brackets and both its limits."""

    def residual(loss):
        off = 0.0
        for d in SETS:
            for b in BETAS:
                off = max(off, above(floor(-d), loss(d, b)), above(loss(d, b), mean(-d)))
            off = max(off, abs(float(loss(d, 1e-7) - mean(-d))), abs(float(loss(d, 1e7) - floor(-d))))
        return off

    wrong = {
        "as printed, without 1/beta": lambda d, b: -(torch.logsumexp(b * d, 0) - log(len(d))),
        "the sum in place of the mean": lambda d, b: -torch.logsumexp(b * d, 0) / b,
        "the ceiling": lambda d, b: (torch.logsumexp(-b * d, 0) - log(len(d))) / b,
        "the mean": lambda d, b: mean(-d),
        "the floor": lambda d, b: floor(-d),
    }
    return residual, lambda d, b: soft_floor(b)(-d), wrong, 1e-5


def over_batches(v, f, B):
    """Mean of f over all minibatches of B values; exact for fractions."""
    batches = list(combinations(v, B))
    return sum((f(batch) for batch in batches), type(v[0])(0)) / len(batches)


def d5b():
    """Which losses are expectations: the statement is (an estimator said to be unbiased, the law of the floor's mean
    over all minibatches), the judge a list of all minibatches.  The first is exact in rational numbers."""
    generator = np.random.default_rng(0)
    tables = [[Fraction(int(n), 1000) for n in generator.integers(1, 9000, size)] for size in (5, 7, 8)]

    def residual(statement):
        estimator, law = statement
        off = 0
        for d in tables:
            for B in range(1, len(d) + 1):
                off = max(off, abs(over_batches(d, estimator, B) - estimator(d)))
                off = max(off, abs(over_batches([-v for v in d], min, B) - law(sorted(-v for v in d), B)))
        return off

    def exponential(d):  # any positive number may stand for e^(beta d): here its first terms
        return sum((1 + v + v * v / 2 + v**3 / 6 for v in d), Fraction(0)) / len(d)

    def order_statistics(v, B):
        n = len(v)
        return sum(v[i] * comb(n - 1 - i, B - 1) for i in range(n)) / comb(n, B)

    def soft(d):
        return Fraction(-log(sum(np.exp([float(v) for v in d])) / len(d)))

    wrong = {
        "the soft floor is an expectation": (soft, order_statistics),
        "the floor is one": (lambda d: -max(d), order_statistics),
        "the sum needs no scale": (lambda d: exponential(d) * len(d), order_statistics),
        "a minibatch has the floor of all": (exponential, lambda v, B: v[0]),
        "drawn with replacement": (
            exponential,
            lambda v, B: (
                sum(x * ((len(v) - i) ** B - (len(v) - i - 1) ** B) for i, x in enumerate(v)) / Fraction(len(v) ** B)
            ),
        ),
    }
    return residual, (exponential, order_statistics), wrong, 1e-15


def d6():
    """-d as a log likelihood: the statement is (c, the gates), the judges an integral and scipy's Gaussian."""
    A, x, logits = normal(3, 2), normal(30, 2, seed=1), normal(30, 3, seed=2)

    def residual(statement):
        c, gates = statement
        f = gates(logits[0])
        line = [
            quad(
                lambda t, s=s: sum(float(f[k]) * np.exp(-((t - s * k) ** 2) - c(1)) for k in range(3)),
                -20,
                20,
            )[0]
            for s in (0.0, 0.5, 2.0)
        ]  # one dimension: the mixture integrates to one, wherever its centres are
        d = (x[:, None] - A).square().sum(2)
        judge = np.stack([multivariate_normal(a.numpy(), 0.5).logpdf(x.numpy()) for a in A], 1)
        return max(*(abs(v - 1) for v in line), float((-d - c(2) - torch.tensor(judge)).abs().max()))

    def softmax(a):
        return a.softmax(0)

    wrong = {
        "as printed, c = 0": (lambda D: 0.0, softmax),
        "the constant of variance 1": (lambda D: D / 2 * log(2 * pi), softmax),
        "the constant of one dimension": (lambda D: 0.5 * log(pi), softmax),
        "gates that do not sum to one": (lambda D: D / 2 * log(pi), torch.sigmoid),
    }
    return residual, (lambda D: D / 2 * log(pi), softmax), wrong, 1e-8


def d7():
    """E log sum_k f_k p_k: the statement is a rule (x, f, A) -> L, the judge torch's own mixture."""
    A, x, f = normal(3, 2), normal(50, 2, seed=1), normal(50, 3, seed=2).softmax(1)
    parts = torch.distributions.Independent(torch.distributions.Normal(A, 0.5**0.5), 1)
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(f), parts)
    judge = mixture.log_prob(x).mean()

    def logs(x, A):
        return torch.stack([gaussian(x, a.expand_as(x)) for a in A], 1)

    wrong = {
        "the log outside the mean": lambda: (f * logs(x, A).exp()).sum(1).mean().log(),
        "the log inside the sum": lambda: (f * logs(x, A)).sum(1).mean(),
        "the error of the blend": lambda: gaussian(x, f @ A).mean(),
        "without c": lambda: torch.logsumexp(f.log() + logs(x, A) + log(pi), 1).mean(),
    }
    return lambda rule: rule() - judge, lambda: torch.logsumexp(f.log() + logs(x, A), 1).mean(), wrong, 1e-12


def d11():
    """Stages: the statement is (how codes move, order of (L, max over z, max over both)); the judge 20 rounds on the
    digits with a free linear decoder, which must keep the order and never lower L."""
    x = torch.tensor(data.digits()[0])
    x = x - x.mean(0)
    start = torch.linalg.qr(normal(64, 5)).Q
    best = float(-torch.linalg.svdvals(x)[5:].square().sum() / len(x))

    def value(W, u):
        return float(-(x - u @ W.T).square().sum(1).mean())

    def residual(statement):
        move, order = statement
        W, u, off, last = start, x.new_zeros(len(x), 5), 0.0, -np.inf
        for _ in range(20):
            u = move(W, u)
            now = value(W, u)
            low, middle, high = order(now, value(W, x @ torch.linalg.pinv(W).T), best)
            off, last = max(off, low - middle, middle - high, last - now), now
            W = torch.linalg.lstsq(u, x).solution.T
        return off

    dice = torch.Generator().manual_seed(0)

    def steps(W, u, lr=0.5):
        lr = lr / float(torch.linalg.eigvalsh(W.T @ W)[-1])
        return climb(lambda u: -(x - u @ W.T).square().sum(1), u, 1, lr)

    def upwards(now, over_z, over_both):
        return now, over_z, over_both

    wrong = {
        "restarting at zero never lowers L": (lambda W, u: steps(W, 0 * u), upwards),
        "any step size will do": (lambda W, u: steps(W, u, lr=2.5), upwards),
        "any codes will do": (lambda W, u: torch.randn(u.shape, generator=dice, dtype=u.dtype), upwards),
        "the order reversed": (steps, lambda now, over_z, over_both: (over_both, over_z, now)),
    }

    def both(W, u):  # kept codes in odd rounds, exact ones in even rounds
        both.round = not both.round
        return steps(W, u) if both.round else x @ torch.linalg.pinv(W).T

    both.round = False
    return residual, (both, upwards), wrong, 1e-9


def d12():
    """When argmax l_m is argmax log p(x|m,z): the statement gives, for the two weights of a prior, the border between
    the codes of the centres -1 and 1; the judge finds where both log joints are equal."""

    def border(weights):
        def difference(t):
            x = torch.tensor([[t]], dtype=torch.float64)
            scores = [log(w) + float(gaussian(x, torch.full_like(x, a))) for w, a in zip(weights, (-1.0, 1.0))]
            return scores[1] - scores[0]

        return brentq(difference, -5, 5, xtol=1e-14)

    def residual(rule):
        priors = ((0.5, 0.5), (0.9, 0.1), (0.2, 0.8))
        return max(abs(rule(*weights) - border(weights)) for weights in priors)

    wrong = {
        "the prior never matters": lambda a, b: 0.0,
        "the wrong sign": lambda a, b: log(b / a) / 4,
        "the variance of one": lambda a, b: log(a / b) / 2,
    }
    return residual, lambda a, b: log(a / b) / 4, wrong, 1e-9


def d13():
    """On how many points a gradient rests: the statement is (weights of the points, q -> their number), the judges the
    slopes of the loss and the variance of the weighted mean of independent signs, all of them enumerated."""
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=len(LINE))), dtype=torch.float64)

    def residual(statement):
        weights, number = statement
        off = 0.0
        for b in BETAS:
            value = (-ERRORS).requires_grad_()
            soft_floor(b)(value).backward()
            q = weights(ERRORS, b)
            variance = (signs @ q).square().mean()
            off = max(off, float((value.grad - q).abs().max()), abs(float(1 / number(q) - variance)))
        return off

    def tilt(d, b):
        return (b * d).softmax(0)

    def number(q):
        return 1 / q.square().sum()

    wrong = {
        "all points alike": (lambda d, b: torch.full_like(d, 1 / len(d)), number),
        "the worst alone": (lambda d, b: (d == d.max()).double(), number),
        "the good ones more": (lambda d, b: tilt(-d, b), number),
        "the exponential of the entropy": (tilt, lambda q: (-(q * q.log()).sum()).exp()),
        "one over the largest weight": (tilt, lambda q: 1 / q.max()),
    }
    return residual, (tilt, number), wrong, 1e-12


def r6():
    """The soft floor as an adversary's minimum: the statement is (her distribution q, the price of leaving p); the
    judges are the left side, a numerical minimum, and the excess KL(q || q_beta)/beta of any other q."""
    cases = [(ERRORS.numpy(), np.full(8, 1 / 8), 1.0), (ERRORS.numpy(), np.full(8, 1 / 8), 0.3)]
    generator = np.random.default_rng(0)
    cases += [(generator.random(5) * 3, generator.dirichlet(np.ones(5)), b) for b in (0.5, 2.0)]

    def kl(q, p):
        return float((q * np.log(q / p)).sum())

    judge = []
    for d, p, b in cases:

        def payoff(a, d=d, p=p, b=b):
            q = np.exp(a - a.max()) / np.exp(a - a.max()).sum()
            return -(q @ d) + kl(q, p) / b

        judge.append(minimize(payoff, np.zeros(len(d)), tol=1e-12, method="BFGS", options={"gtol": 1e-7}).fun)

    def residual(statement):
        adversary, price = statement
        off = 0.0
        for (d, p, b), lowest in zip(cases, judge):
            q, other = adversary(d, p, b), generator.dirichlet(np.ones(len(d)))
            left = -np.log(p @ np.exp(b * d)) / b
            off = max(off, abs(left - lowest), abs(-(q @ d) + price(q, p, b) - left))
            off = max(off, abs(-(other @ d) + price(other, p, b) - left - kl(other, q) / b))
        return off

    def tilt(d, p, b):
        q = p * np.exp(b * d)
        return q / q.sum()

    wrong = {
        "she prefers small errors": (lambda d, p, b: tilt(-d, p, b), lambda q, p, b: kl(q, p) / b),
        "she forgets p": (lambda d, p, b: tilt(d, np.ones_like(p), b), lambda q, p, b: kl(q, p) / b),
        "she does not move": (lambda d, p, b: p, lambda q, p, b: kl(q, p) / b),
        "the price without 1/beta": (tilt, lambda q, p, b: kl(q, p)),
        "the divergence the other way": (tilt, lambda q, p, b: kl(p, q) / b),
    }
    return residual, (tilt, lambda q, p, b: kl(q, p) / b), wrong, 1e-7


CHECKS = {"D4": d4, "D5": d5, "D5b": d5b, "D6": d6, "D7-D10": d7, "D11": d11, "D12": d12, "D13": d13, "R6": r6}
