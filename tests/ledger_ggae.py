"""The ledger's checks of the Gaussian-kernel codes (F1, F2, F2b, F3, F4); see `test_ledger` for their form."""

from math import e, exp, log, pi, sqrt

import numpy as np
import torch
from gaelib.joints.kernels import KernelMixture
from scipy.integrate import trapezoid
from scipy.optimize import linprog, minimize_scalar
from scipy.special import logsumexp, ndtr


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gates(z, w, b):
    """u_k(z) from their definition: z (..., E), w (K, E), b(z) (...) -> (..., K)."""
    kernels = np.exp(-((z[..., None, :] - w) ** 2).sum(-1))
    return kernels / (b + kernels.sum(-1))[..., None]


LINE = np.array([[-1.0], [0.0], [1.0]])
KITE = np.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.5]])
EDGE = KITE[:4]
SEGMENT = KITE[:3]  # a hull without an inside: its middle lies in the relative interior


def f1():
    """Without absorption: does the best code run away, if component k alone explains x, and if at a vertex it is only the
    best?  The statement is a rule (w, k, p) -> bool, the judge the best score near the prototypes against the best
    anywhere on a wide grid; a wrong answer costs the difference."""
    alone = [
        (LINE, 0),
        (LINE, 1),
        (LINE, 2),
        (EDGE, 0),
        (EDGE, 1),
        (EDGE, 3),
        (KITE, 1),
        (KITE, 4),
        (SEGMENT, 0),
        (SEGMENT, 1),
    ]
    cases, generator = [(w, k, np.eye(len(w))[k]) for w, k in alone], np.random.default_rng(0)
    for w, k in [(LINE, 0), (LINE, 2), (EDGE, 3), (KITE, 0), (KITE, 4), (SEGMENT, 2)]:
        p = 0.3 + 0.6 * generator.random(len(w))
        p[k] = 1.0  # the others explain x almost as well
        cases.append((w, k, p))

    def scores(w, p):  # the best code near the prototypes, what it scores, and what the best far away does
        side = np.linspace(-10, 10, 401)  # the best code of an interior prototype here lies within 2
        z = np.stack(np.meshgrid(*[side] * w.shape[1], indexing="ij"), -1).reshape(-1, w.shape[1])
        score = 2 * z @ w.T - (w**2).sum(1)  # the kernels' logarithms up to ||z||^2: they would underflow
        score = logsumexp(score, 1, b=p) - logsumexp(score, 1)
        near = np.abs(z).max(1) <= 2
        return z[near][score[near].argmax()], score[near].max(), score[~near].max()

    cost = [(w, k, p, *scores(w, p)[1:]) for w, k, p in cases]
    z, near, _ = scores(SEGMENT, np.array([0.0, 1.0, 0.0]))  # the figures of the ledger
    assert abs(z[0]) < 1e-9 and abs(near + 0.55144) < 5e-6
    z, near, far = scores(LINE, np.array([0.1, 1.0, 0.1]))
    assert abs(z[0]) < 1e-9 and near > far
    _, near, far = scores(np.r_[LINE[:1], [[-0.5]], LINE[1:]], np.array([0.9, 0.0, 1.0, 0.0]))
    assert near < far  # an interior prototype that is only the best may lose its code to a vertex

    def residual(rule):
        return max(max(0.0, near - far if rule(w, k, p) else far - near) for w, k, p, near, far in cost)

    def at_the_border(w, k, p):
        """Whether some direction leads from w_k out of the hull or along it, but not all prototypes lie along it."""
        apart = np.delete(w, k, 0) - w[k]
        best = linprog(apart.sum(0), A_ub=apart, b_ub=np.zeros(len(apart)), bounds=[(-1, 1)] * w.shape[1]).fun
        return best < -1e-9

    def vertex(w, k, p):
        apart = np.delete(w, k, 0) - w[k]
        d = np.c_[apart, np.ones(len(apart))]
        return linprog([0.0] * w.shape[1] + [-1.0], A_ub=d, b_ub=np.zeros(len(d)),
                       bounds=[(-1, 1)] * w.shape[1] + [(0, 1)]).fun < -1e-9  # fmt: skip

    wrong = {
        "codes always run": lambda w, k, p: True,
        "codes never run": lambda w, k, p: False,
        "only vertices run": vertex,
        "interior ones run": lambda w, k, p: not at_the_border(w, k, p),
        "only what explains x alone runs": lambda w, k, p: p.sum() == 1 and at_the_border(w, k, p),
    }
    return residual, at_the_border, wrong, 1e-6


def f2():
    """The best code and the price of b = exp(z^2): the statement is an equation for the code (w = 0, -1, the first
    explains x) and a bound on any gate as a function of |w|, the judges are a line search and a grid."""
    w = np.array([[0.0], [-1.0]])

    def score(z):
        z = np.array([z])
        return log(gates(z, w, np.exp(z @ z))[0])

    best = minimize_scalar(lambda z: -score(z), bounds=(-1, 1), method="bounded", options={"xatol": 1e-12}).x
    z = np.linspace(-6, 6, 120001)[:, None]
    price = {size: gates(z, np.array([[size]]), np.exp(z[:, 0] ** 2)).max() for size in (0.0, 0.5, 1.0, 4.0)}
    assert abs(best - 0.13529007) < 5e-8 and abs(exp(score(best)) - 0.43141) < 5e-6
    assert abs(price[4.0] - 3.4e-4) < 1e-5

    def residual(statement):
        equation, bound = statement
        return max(abs(equation(best)), *(abs(bound(size) - top) for size, top in price.items()))

    def equation(z):
        return 2 * z * exp(2 * z**2 + 2 * z + 1) - 1

    def bound(size):
        return 1 / (1 + exp(size**2 / 2))

    wrong = {
        "without the 2": (lambda z: z * exp(2 * z**2 + 2 * z + 1) - 1, bound),
        "that of the constant b = 1": (lambda z: z * exp(z**2 + 2 * z + 1) - 1, bound),
        "the code at its prototype": (lambda z: z * e, bound),
        "the price at the prototype": (equation, lambda size: 1 / (1 + exp(size**2))),
        "no price": (equation, lambda size: 0.5),
    }
    return residual, (equation, bound), wrong, 1e-6


def f2b():
    """Prior times decoder: the statement is a pair (log q_w, log q_r) on a grid of codes and points in one dimension.
    It must give the score up to a constant, and the decoder must integrate to one; the judges are the definition of
    the gates and quadrature.  The prior must be integrable: twice the range may not add to its integral."""
    w, mu = np.array([[-1.0], [0.5], [2.0]]), np.array([-2.0, 0.0, 1.5])
    x = np.linspace(-14, 14, 2801)
    p = np.exp(-((x[:, None] - mu) ** 2)) / sqrt(pi)  # (x, K)
    grids = [np.linspace(-side, side, 401)[:, None] for side in (8, 16)]
    absorbs = [lambda z: 0.3 + 0 * z[:, 0], lambda z: np.exp(z[:, 0] ** 2)]

    def residual(statement):
        log_prior, log_decoder = statement
        off = []
        for b in absorbs:
            mass = []
            for z in grids:
                u, k = gates(z, w, b(z)), np.exp(-((z - w.T) ** 2))
                if z is grids[0]:
                    both = log_prior(u, k, b(z))[:, None] + log_decoder(u, k, b(z), p)
                    off += [np.ptp(both - np.log(u @ p.T))]
                    off += [np.abs(trapezoid(np.exp(log_decoder(u, k, b(z), p)), x, axis=1) - 1).max()]
                mass.append(trapezoid(np.exp(log_prior(u, k, b(z))), z[:, 0]))
            off += [abs(mass[1] - mass[0])]
        return max(off)

    def prior(u, k, b):
        with np.errstate(divide="ignore"):
            return np.log(u.sum(1))

    def decoder(u, k, b, p):
        return np.log(k / k.sum(1, keepdims=True) @ p.T)

    wrong = {
        "b in the decoder too": (prior, lambda u, k, b, p: np.log(u @ p.T)),
        "a flat prior": (lambda u, k, b: 0 * b, decoder),
        "a flat prior, and b in the decoder": (lambda u, k, b: 0 * b, lambda u, k, b, p: np.log(u @ p.T)),
        "the absorbing gate as prior": (lambda u, k, b: np.log(1 - u.sum(1)), decoder),
    }
    return residual, (prior, decoder), wrong, 1e-8


def f3():
    """The gradient in z: the statement is a formula, the judge autograd, for a constant b and for exp(z^T z)."""
    mu, w, x, z = normal(5, 3, seed=1), normal(5, 2, seed=2), normal(100, 3), normal(100, 2, seed=3)
    cases = []
    for absorb in (0.3, 1.0, "exp"):
        model, code = KernelMixture(mu, w, absorb), z.clone().requires_grad_()
        slope = torch.autograd.grad(model.log_joint(x, code).sum(), code)[0]
        u = model.gates(z)
        r = u[:, :-1] * model.log_components(x).exp()
        cases.append((slope, r / r.sum(1, keepdim=True), u, 2 * z if absorb == "exp" else 0 * z))
    for b, far in ((1.0, 0.224), (0.01, 1.120)):  # the best code leaves the hull [-1, 0]
        line = torch.tensor([[0.0], [-1.0]], dtype=torch.float64)
        best = KernelMixture(1e3 * line, line, b).argmax(line[:1])
        assert abs(float(best) - far) < 1e-3

    def pull(weights):
        return 2 * (weights[:, :, None] * (w - z[:, None])).sum(1)

    def residual(formula):
        return max((formula(r, u[:, :-1], u[:, -1:], bent) - slope).abs().max() for slope, r, u, bent in cases)

    wrong = {
        "the companion note's, without the normaliser": lambda r, u, u0, bent: pull(r),
        "without the slope of b": lambda r, u, u0, bent: pull(r - u),
        "the slope of b added": lambda r, u, u0, bent: pull(r - u) + u0 * bent,
        "b once for each component": lambda r, u, u0, bent: pull(r - u) - bent,
    }
    return residual, lambda r, u, u0, bent: pull(r - u) - u0 * bent, wrong, 1e-12


def f4():
    """What a soft gate can tell its decoder: two components a apart, blended by a gate that is uniform on [0, 1], seen
    through noise of standard deviation 1.  The statement is a rule a -> nats, the judge the mutual information."""
    carried = {}
    for a in (1e4, 3e4, 1e5):
        x = np.unique(np.r_[np.linspace(-12, 12, 20001), np.linspace(a - 12, a + 12, 20001)])
        density = (ndtr(x) - ndtr(x - a)) / a  # of the blend plus noise
        density = np.maximum(density, 1e-300)
        carried[a] = -trapezoid(density * np.log(density), x) - 0.5 * log(2 * pi * e)

    def residual(rule):
        return max(abs(rule(a) - nats) for a, nats in carried.items())

    wrong = {
        "no more than a hard gate, log K": lambda a: log(2),
        "a number of 32 bits": lambda a: 32 * log(2),
        "steps of the noise, their volume forgotten": lambda a: log(a),
    }
    return residual, lambda a: log(a) - 0.5 * log(2 * pi * e), wrong, 1e-3


CHECKS = {"F1": f1, "F2": f2, "F2b": f2b, "F3": f3, "F4": f4}
