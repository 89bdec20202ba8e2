"""Ledger checks of regression (G9, G9b-f); see `test_ledger` for their form."""

import numpy as np
import torch
from gaelib import LGAE, LinearRegression, LogisticRegression, data
from gaelib.core import Given, objective
from gaelib.models.regression import Logistic
from scipy.optimize import brentq
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression as ReferenceLinear
from sklearn.linear_model import LogisticRegression as ReferenceLogistic


def one_against_the_rest(u, y):
    p = np.stack([ReferenceLogistic().fit(u, y == digit).predict_proba(u)[:, 1] for digit in range(10)], 1)
    return p / p.sum(1, keepdims=True)


def g9():
    """Two regressions: the statement is a pair of fits, the judge scikit-learn's predictions."""
    digits, y = data.digits()
    u = LGAE(5).fit_transform(digits) / 10
    linear = ReferenceLinear().fit(u, digits).predict(u)
    logistic = ReferenceLogistic(tol=1e-9, max_iter=5000).fit(u, y).predict_proba(u)

    def residual(statement):
        fit_linear, fit_logistic = statement
        return max(np.abs(fit_linear() - linear).max(), np.abs(fit_logistic() - logistic).max())

    def ours():
        return LinearRegression().fit(u, digits).predict(u)

    def ours_too():
        return LogisticRegression().fit(u, y).predict_proba(u)

    wrong = {
        "no intercept": (lambda: u @ np.linalg.lstsq(u, digits, rcond=None)[0], ours_too),
        "no penalty": (ours, lambda: LogisticRegression(C=1e4).fit(u, y).predict_proba(u)),
        "one against the rest": (ours, lambda: one_against_the_rest(u, y)),
    }
    return residual, (ours, ours_too), wrong, 1e-4


def axis(a, c, b):
    """Slope of the principal axis from the variances a and b and the covariance c."""
    return (b - a + np.sqrt((b - a) ** 2 + 4 * c**2)) / (2 * c)


def g9b():
    """Three lines: the statement is a rule (s_zz, s_zx, s_xx) -> slopes, the judge three fits to clouds of unlike
    variances, whose slopes are in order."""
    rng, judge = np.random.default_rng(0), []
    for spread in (0.3, 1.0, 4.0):
        z = rng.normal(size=500)
        x = spread * (0.8 * z + 0.6 * rng.normal(size=500))
        w = LGAE(1).fit(np.column_stack([z, x])).components_[0]
        forward = LinearRegression().fit(z[:, None], x).coef_[0]
        back = 1 / LinearRegression().fit(x[:, None], z).coef_[0]
        (a, c), (_, b) = np.cov(z, x)
        judge.append(((a, c, b), np.array([forward, w[1] / w[0], back])))
        assert forward < w[1] / w[0] < back

    def residual(rule):
        return max(np.abs(rule(*moments) - slopes).max() for moments, slopes in judge)

    wrong = {
        "the two regressions change places": lambda a, c, b: np.array([b / c, axis(a, c, b), c / a]),
        "the axis is the quotient of the spreads": lambda a, c, b: np.array([c / a, np.sqrt(b / a), b / c]),
        "all three are one": lambda a, c, b: np.full(3, c / a),
    }
    return residual, lambda a, c, b: np.array([c / a, axis(a, c, b), b / c]), wrong, 1e-8


def g9c():
    """The softmax of a linear map is an E-step: the statement is a rule (means, covariance, shares) -> (W, b), the
    judge scikit-learn's discriminant analysis and the mixture's own log joints."""
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1, 2], [20, 50, 90])
    z = rng.normal(size=(3, 4))[y] + rng.normal(size=(160, 4)) @ rng.normal(size=(4, 4))
    m = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(z, y)
    away = z[:, None] - m.means_
    logs = np.log(m.priors_) - 0.5 * np.einsum("nkd,de,nke->nk", away, np.linalg.inv(m.covariance_), away)
    judges = m.predict_proba(z), torch.tensor(logs).softmax(1).numpy()

    def residual(rule):
        W, b = rule(m.means_, m.covariance_, m.priors_)
        ours = torch.tensor(z @ W.T + b).softmax(1).numpy()
        return max(np.abs(ours - judge).max() for judge in judges)

    def rule(means, S, shares, half=0.5):
        W = np.linalg.solve(S, means.T).T
        return W, np.log(shares) - half * (W * means).sum(1)

    wrong = {
        "no half": lambda means, S, shares: rule(means, S, shares, 1.0),
        "no shares": lambda means, S, shares: rule(means, S, np.ones(3)),
        "the covariance instead of its inverse": lambda means, S, shares: rule(means, np.linalg.inv(S), shares),
    }
    return residual, rule, wrong, 1e-8


def g9d():
    """Observed minus expected: the statement is a rule (one-hot labels, probabilities, z) -> the slopes in W and b,
    the judge those of the library's joint by autograd."""
    rng = np.random.default_rng(2)
    z, y = torch.tensor(rng.normal(size=(60, 4))), torch.tensor(rng.integers(0, 3, 60))
    joint = Logistic(torch.zeros(4).double(), torch.tensor(rng.normal(size=3)))
    joint.weights.data.copy_(torch.tensor(rng.normal(size=(3, 4))))
    objective(joint, y, Given(z)).sum().backward()
    shown, p = torch.eye(3).double()[y], joint.decode(z).softmax(1).detach()

    def residual(rule):
        W, b = rule(shown, p, z)
        return float(max((W - joint.weights.grad).abs().max(), (b - joint.bias.grad).abs().max()))

    wrong = {
        "expected minus observed": lambda e, p, z: ((p - e).T @ z, (p - e).sum(0)),
        "the observed alone": lambda e, p, z: (e.T @ z, e.sum(0)),
        "the most probable class for the mean": lambda e, p, z: (
            (e - torch.eye(3).double()[p.argmax(1)]).T @ z,
            (e - p).sum(0),
        ),
    }
    return residual, lambda e, p, z: ((e - p).T @ z, (e - p).sum(0)), wrong, 1e-8


def g9e():
    """Separable data: the statement is a rule C -> w for one label at -1 and one at 1, the judge the fits.  Along a
    direction that separates, the likelihood rises without end."""
    z, y = np.array([[-1.0], [1.0]]), [0, 1]
    coef = {C: LogisticRegression(C=C, tol=0).fit(z, y).coef_[:, 0] for C in (0.1, 1.0, 100.0, 1e4)}
    judge = {C: w[1] - w[0] for C, w in coef.items()}
    assert list(judge.values()) == sorted(judge.values())
    joint = Logistic(torch.zeros(1).double(), torch.zeros(2).double())
    along = []
    for t in (1, 3, 10, 15):
        joint.weights.data.copy_(torch.tensor([[-t], [t]]))
        along.append(joint.log_joint(torch.tensor(y), torch.tensor(z)).mean().item())
    assert along == sorted(along) and len(set(along)) == 4 and along[-1] < 0

    def law(C, factor=4):
        return brentq(lambda w: w * (1 + np.exp(w)) - factor * C, 0, 50, xtol=1e-12)

    wrong = {
        "one row of weights": lambda C: law(C, 2),
        "the logarithm alone": lambda C: np.log(4 * C),
        "without the one": lambda C: brentq(lambda w: w * np.exp(w) - 4 * C, 0, 50),
    }
    return lambda rule: max(abs(rule(C) - w) for C, w in judge.items()), law, wrong, 1e-6


def g9f():
    """Ridge as a prior: the statement is a rule s -> alpha, the judge the mean of x's normal posterior over W for
    noise of variance 1/2; and made-up rows give the library's least squares the same weights."""
    rng = np.random.default_rng(3)
    z, x = rng.normal(size=(30, 4)), rng.normal(size=30)
    z, x = z - z.mean(0), x - x.mean()
    judge = {s: s**2 * z.T @ np.linalg.solve(s**2 * z @ z.T + np.eye(30) / 2, x) for s in (0.1, 0.5, 3.0)}
    for s, weights in judge.items():
        made = np.eye(4) / (2 * s)
        longer = LinearRegression().fit(np.concatenate([z, made, -made]), np.pad(x, (0, 8)))
        assert np.abs(longer.coef_ - weights).max() < 1e-10

    def residual(rule):
        return max(np.abs(np.linalg.solve(z.T @ z + rule(s) * np.eye(4), z.T @ x) - w).max() for s, w in judge.items())

    wrong = {
        "noise of variance one": lambda s: 1 / s**2,
        "the variance itself": lambda s: s**2 / 2,
        "no square": lambda s: 1 / (2 * s),
        "no prior": lambda s: 0.0,
    }
    return residual, lambda s: 1 / (2 * s**2), wrong, 1e-8


CHECKS = {"G9": g9, "G9b": g9b, "G9c": g9c, "G9d": g9d, "G9e": g9e, "G9f": g9f}
