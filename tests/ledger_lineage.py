"""Ledger checks of denoising, contraction and chains (K0-K11, R8); see `test_ledger` for their form."""

import math
from fractions import Fraction

import numpy as np
import torch
from gaelib import KMeans
from gaelib.joints.rbm import RBM
from gaelib.models.denoising import jacobian
from scipy.cluster.vq import vq
from scipy.integrate import quad
from scipy.stats import gamma, nbinom, norm

D64 = {"dtype": torch.float64}
MIX = ([0.3, 0.7], [-2.0, 1.0], 0.5)  # weights, means, standard deviation of each
GRID = np.linspace(-4, 3, 701)
FINE = np.linspace(-9, 8, 4251)


def density(x, sigma=0.0, mix=MIX):
    """Of the mixture with noise added: (n,) -> (n,)."""
    weights, means, width = mix
    return norm.pdf(np.asarray(x)[:, None], means, math.hypot(width, sigma)) @ weights


def score(x, sigma=0.0, mix=MIX):
    """The slope of the log of `density`."""
    weights, means, width = mix
    v = width**2 + sigma**2
    parts = norm.pdf(np.asarray(x)[:, None], means, v**0.5) * weights
    return (parts * (np.asarray(means) - np.asarray(x)[:, None])).sum(1) / v / parts.sum(1)


def denoise(x, sigma, mix=MIX):
    """The posterior mean of the clean number, component by component (no score in it)."""
    weights, means, width = mix
    v = width**2 + sigma**2
    parts = norm.pdf(np.asarray(x)[:, None], means, v**0.5) * weights
    at = np.asarray(means) + width**2 / v * (np.asarray(x)[:, None] - np.asarray(means))
    return (parts * at).sum(1) / parts.sum(1)


def posterior(x, sigma):
    """Mean and variance of the clean number, by quadrature: a judge that knows no formula."""
    w = density(FINE) * norm.pdf(np.asarray(x)[:, None], FINE, sigma)
    w = w / w.sum(1, keepdims=True)
    mean = w @ FINE
    return mean, w @ FINE**2 - mean**2


def lloyd_max(K):
    """The best K centres of N(0, 1): Lloyd's algorithm with exact cells."""
    c = norm.ppf((np.arange(K) + 0.5) / K) * 3**0.5
    for _ in range(100 * K):
        e = np.r_[-np.inf, (c[1:] + c[:-1]) / 2, np.inf]
        new = (norm.pdf(e[:-1]) - norm.pdf(e[1:])) / np.diff(norm.cdf(e))
        if np.abs(new - c).max() < 1e-10:
            break
        c = new
    return c


def k0():
    """The reconstruction of k-means: the judge is the distortion of a library's vector quantiser."""
    X = np.random.default_rng(0).normal(size=(200, 3))
    model = KMeans(8, random_state=0).fit(X)
    order = ((X[:, None] - model.cluster_centers_) ** 2).sum(2).argsort(1)
    distortion = (vq(X, model.cluster_centers_)[1] ** 2).mean()
    wrong = {
        "the second nearest centre": lambda X: model.cluster_centers_[order[:, 1]],
        "the mean": lambda X: np.broadcast_to(X.mean(0), X.shape),
    }
    return (
        lambda decode: ((decode(X) - X) ** 2).sum(1).mean() - distortion,
        lambda X: model.inverse_transform(model.transform(X)), wrong, 1e-9,
    )  # fmt: skip


def k1():
    """The share of the best 64 centres of N(0, 1) within one deviation: the statement is the power of p that they follow."""
    share = np.mean(np.abs(lloyd_max(64)) < 1)
    uniform = (np.arange(4) + 0.5) / 4  # each centre in the middle of its cell, the cells' walls midway
    walls = np.r_[0, (uniform[1:] + uniform[:-1]) / 2, 1]
    assert np.array_equal((walls[1:] + walls[:-1]) / 2, uniform) and list(uniform) == [0.125, 0.375, 0.625, 0.875]
    wrong = {"they follow p": 1.0, "they sit at the mode": 1e6}
    return lambda power: 2 * norm.cdf(power**0.5) - 1 - share, 1 / 3, wrong, 0.0024


def k2():
    """The score of the noisy density, from the best denoiser: the judge is the density's own slope."""
    far = {s: np.abs((denoise(GRID, s) - GRID) / s**2 - score(GRID)).max() for s in (1, 0.3, 0.1, 0.03)}
    assert [round(value, 4) for value in far.values()] == [6.3998, 2.1176, 0.3077, 0.0287]
    assert max(np.abs(denoise(GRID, s) - posterior(GRID, s)[0]).max() for s in (1, 0.3, 0.1)) < 1e-12
    wrong = {
        "without sigma^2": (lambda r, x, s: r - x, score),
        "divided by sigma": (lambda r, x, s: (r - x) / s, score),
        "the score of p itself": (lambda r, x, s: (r - x) / s**2, lambda x, s: score(x)),
    }

    def residual(statement):
        rule, field = statement
        return max(np.abs(rule(denoise(GRID, s), GRID, s) - field(GRID, s)).max() for s in far)

    tweedie = (lambda r, x, s: (r - x) / s**2, score)
    wide = [np.abs((denoise(GRID, s) - GRID) / s**2 - score(GRID, s)).max() for s in (1, 0.3, 0.1)]
    assert max(wide) < 1e-12
    return residual, tweedie, wrong, 2e-12  # at s = 0.03 one rounding of r near 4, over s^2, is 1e-12 itself


def k2b():
    """The slope of the best denoiser, from the posterior's variance by quadrature."""
    s, step = 0.4, 1e-4
    slope = (denoise(GRID + step, s) - denoise(GRID - step, s)) / (2 * step)
    bend = (score(GRID + step, s) - score(GRID - step, s)) / (2 * step)
    variance = posterior(GRID, s)[1]
    assert np.abs(slope - 1 - s**2 * bend).max() < 1e-8 and slope.min() > 0
    wrong = {
        "the variance itself": lambda v: v,
        "divided by sigma": lambda v: v / s,
        "its complement": lambda v: 1 - v / s**2,
    }
    return lambda rule: np.abs(rule(variance) - slope).max(), lambda v: v / s**2, wrong, 1e-6


def k2c():
    """The best denoiser of counts, from their own law: x ~ Gamma(2, 1), n ~ Poisson(x); the judge integrates."""
    n = np.arange(4)

    def moment(k, power):
        return quad(lambda x: x**power * gamma.pdf(x, 2) * x**k * math.exp(-x) / math.factorial(k), 0, 80)[0]

    best = np.array([moment(k, 1) / moment(k, 0) for k in n])
    assert np.allclose(best, [1, 1.5, 2, 2.5], atol=1e-9)
    wrong = {
        "the count": lambda n, p: n,
        "without the 1": lambda n, p: n * p(n + 1) / p(n),
        "Tweedie's formula with sigma^2 = n": lambda n, p: n + n * (np.log(p(n + 1)) - np.log(p(n))),
    }
    return (
        lambda rule: np.abs(rule(n, lambda n: nbinom.pmf(n, 2, 0.5)) - best).max(),
        lambda n, p: (n + 1) * p(n + 1) / p(n), wrong, 1e-8,
    )  # fmt: skip


def k3():
    """The direction that the best denoiser shrinks least, on a circle in R^10: the judge is its covariance over s^2."""
    generator = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(10, 2, generator=generator, **D64)).Q
    turn = torch.arange(200, **D64) * 2 * math.pi / 200
    points = torch.stack([turn.cos(), turn.sin()], 1) @ plane.T

    def best(x):
        w = (-(points - x[:, None]).square().sum(2) / (2 * s**2)).softmax(1)
        return w @ points

    found = {}
    for s in (0.3, 0.1):
        values, vectors = torch.linalg.eigh(jacobian(best, points[17:18])[0])
        found[s] = values.flip(0)[:2].tolist()
    assert np.allclose(found[0.3], [0.954, 0.047], atol=5e-4) and np.allclose(found[0.1], [0.995, 0.005], atol=5e-4)
    x, leading = points[17], vectors[:, -1]
    wrong = {"outwards": x, "the plane's first axis": plane[:, 0]}

    def residual(direction):
        return (1 - (direction @ leading / direction.norm()) ** 2).clamp(min=0).sqrt()

    return residual, plane @ torch.stack([-turn[17].sin(), turn[17].cos()]), wrong, 1e-6


def chain(s, extra):
    """The variance at which a chain on N(0, 1) settles, its denoiser's mean followed by noise of variance ``extra``."""
    v = 3.0
    for _ in range(20000):
        v = (v + s**2) / (1 + s**2) ** 2 + extra
    return v


def k4():
    """The noise that must follow the denoiser, so that rounds end in N(0, 1): the statement gives its variance."""
    wrong = {"none: encode and decode": lambda s: 0.0, "that of the corruption": lambda s: s**2}
    return (
        lambda rule: max(abs(chain(s, rule(s)) - 1) for s in (0.3, 1.0)), lambda s: s**2 / (1 + s**2), wrong, 1e-9,
    )  # fmt: skip


def k5():
    """Where the chain of the mean settles on N(0, 1)."""
    found = {s: chain(s, 0.0) for s in (0.1, 0.3, 1.0)}
    assert [round(v, 5) for v in found.values()] == [0.49751, 0.47847, 0.33333]
    wrong = {
        "at p": lambda s: 1.0,
        "at p^2 whatever the noise": lambda s: 0.5,
        "shrunk once": lambda s: 1 / (1 + s**2),
    }
    return lambda rule: max(abs(rule(s) - v) for s, v in found.items()), lambda s: 1 / (2 + s**2), wrong, 1e-4


def six():
    """Six states in whole fractions: p, a corruption of full support, and one within two blocks."""
    rng = np.random.default_rng(0)
    n = rng.integers(1, 10, 6)
    p = np.array([Fraction(int(a), int(n.sum())) for a in n])
    full = np.array([[Fraction(int(a), int(row.sum())) for a in row] for row in rng.integers(1, 10, (6, 6))])
    blocks = np.full((6, 6), Fraction(0))
    blocks[:3, :3] = blocks[3:, 3:] = Fraction(1, 3)
    return p, full, blocks


def back(p, corruption):
    """The conditional of the clean state given the corrupted one."""
    joint = p[:, None] * corruption
    return (joint / joint.sum(0)).T


def second(kernel):
    return sorted(abs(np.linalg.eigvals(kernel.astype(float))))[-2]


def k5b():
    """The second eigenvalue of the walkback chain, from the plain one's: how much slower a chain forgets."""
    p, C, _ = six()
    once = C @ back(p, C)
    walked = once @ C
    chained = walked @ back(p, walked)
    assert all(p @ once == p) and all(p @ chained == p)  # both keep p, to the last fraction
    mode = np.zeros((6, 6))
    mode[np.arange(6), back(p, C).argmax(1)] = 1
    q = np.linalg.matrix_power(C.astype(float) @ mode, 5000)[0]
    assert np.abs(q - p.astype(float)).max() > 0.1  # a mode in place of a draw does not
    assert (round(second(once), 4), round(second(chained), 4)) == (0.1468, 0.0032)
    wrong = {"it gains: a higher power": lambda e: e**5, "nothing changes": lambda e: e}
    return lambda rule: rule(second(once)) - second(chained), lambda e: e**3, wrong, 1e-6


def k6():
    """The error of the best reconstruction, from the score: it vanishes in valleys too."""
    s, places = 0.3, np.array([-0.6132, 2.2])
    error, height = (denoise(GRID, s) - GRID) ** 2, density(GRID, s)
    at = (denoise(places, s) - places) ** 2
    assert at[0] < 1e-8 and round(at[1], 4) == 0.1009
    assert [round(v, 4) for v in density(places, s)] == [
        0.0226,
        0.0576,
    ]  # the valley is lower, and reconstructed better
    wrong = {
        "low where the density is high": -(s**2) * np.log(height),
        "with sigma^2": s**2 * score(GRID, s) ** 2,
        "with the score of p": s**4 * score(GRID) ** 2,
    }
    return lambda said: np.abs(said - error).max(), s**4 * score(GRID, s) ** 2, wrong, 1e-12


def k7():
    """The energy whose slope a tied sigmoid denoiser is: the judge is the denoiser itself."""
    rng, s2 = np.random.default_rng(0), 0.3
    W, b, c, x, V = (torch.tensor(rng.normal(size=shape)) for shape in ((5, 4), 5, 4, 4, (5, 4)))
    rbm = RBM(W, b, c)
    x = x[None].requires_grad_()
    rbm.requires_grad_(False)

    def r(x, back):
        return c + (x @ W.T + b).sigmoid() @ back

    codes = torch.cartesian_prod(*[torch.arange(2.0, **D64)] * 5)
    by_hand = rbm.log_joint(x.expand(32, 4), codes).logsumexp(0)
    assert abs(by_hand - rbm.log_evidence(x)) < 1e-14
    twist = {name: float((J - J.T).abs().max().detach()) for name, J in (
        ("tied", jacobian(lambda x: r(x, W), x)[0]), ("untied", jacobian(lambda x: r(x, V), x)[0]),
    )}  # fmt: skip
    assert twist["tied"] < 1e-12 and round(twist["untied"], 2) == 1.29  # no energy has such a slope
    own = (x @ c - x.square().sum(1) / 2) / s2
    wrong = {
        "hidden inputs over sigma^2 too": own + torch.nn.functional.softplus((x @ W.T + b) / s2).sum(1),
        "the machine at sigma = 1": rbm.log_evidence(x),
    }

    def residual(energy):
        return (torch.autograd.grad(energy, x, retain_graph=True)[0] - (r(x, W) - x) / s2).detach().abs().max()

    return residual, rbm.log_evidence(x) / s2, wrong, 1e-12


def k8():
    """What denoising score matching has over explicit score matching of the noisy density, for three wrong scores."""
    s, x = 0.4, np.linspace(-8, 7, 6001)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights, cell = weights / weights.sum(), x[1] - x[0]
    gaps = []
    for psi in (lambda t: -t, lambda t: 0 * t, np.sin):
        noisy = (density(x)[:, None] * weights * (psi(x[:, None] + s * nodes) + nodes / s) ** 2).sum() * cell
        gaps.append(noisy - (density(x, s) * (psi(x) - score(x, s)) ** 2).sum() * cell)
    assert [round(gap, 6) for gap in gaps] == [4.164027] * 3
    information = (density(x, s) * score(x, s) ** 2).sum() * cell
    wrong = {
        "nothing": 0.0,
        "that of p": 1 / s**2 - (density(x) * score(x) ** 2).sum() * cell,
        "the noise's alone": 1 / s**2,
    }
    return lambda said: max(abs(gap - said) for gap in gaps), 1 / s**2 - information, wrong, 1e-8


def k9():
    """The denoising loss at s = 0.05, from the clean reconstruction and the slope; r is the best denoiser."""
    x = np.linspace(-6, 5, 8001)
    cell = x[1] - x[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()

    def parts(s):
        p, step = density(x) * cell, 1e-4
        noisy = (x[:, None] + s * nodes).ravel()
        loss = (p[:, None] * weights * (denoise(noisy, s).reshape(-1, 40) - x[:, None]) ** 2).sum()
        slope = (denoise(x + step, s) - denoise(x - step, s)) / (2 * step)
        return loss, (p * (denoise(x, s) - x) ** 2).sum(), (p * slope**2).sum()

    rest = {s: (loss - error - s**2 * slope) / s**4 for s in (0.2, 0.1, 0.05) for loss, error, slope in [parts(s)]}
    assert abs(rest[0.2]) < 0.03 and abs(rest[0.1]) < 0.0025 and abs(rest[0.05]) < 5e-4
    loss, error, slope = parts(0.05)
    wrong = {
        "no price": lambda s, error, slope: error,
        "half of it": lambda s, error, slope: error + s**2 / 2 * slope,
        "the slope of the encoder's square root": lambda s, error, slope: error + s * slope,
    }
    return (
        lambda rule: rule(0.05, error, slope) - loss, lambda s, error, slope: error + s**2 * slope, wrong, 1e-8,
    )  # fmt: skip


def k10():
    """The best denoiser of a class of functions, against the score of MIX: a class without the posterior mean has none."""
    s = 0.4
    p = density(FINE) / density(FINE).sum()
    mean, variance = p @ FINE, p @ FINE**2 - (p @ FINE) ** 2
    linear = mean + variance / (variance + s**2) * (GRID - mean)
    off = np.abs((linear - GRID) / s**2 - score(GRID, s)).max()
    assert round(off, 3) == 3.617
    wrong = {"lines": linear, "constants": np.full_like(GRID, mean)}
    return lambda r: np.abs((r - GRID) / s**2 - score(GRID, s)).max(), posterior(GRID, s)[0], wrong, 1e-9


def k11():
    """The mass of states 3 to 5 after 50 rounds from state 0: the statement is the corruption."""
    p, full, blocks = six()
    assert round(float(p[3:].sum()), 4) == 0.2692

    def residual(corruption):
        kernel = (corruption @ back(p, corruption)).astype(float)
        return np.linalg.matrix_power(kernel, 50)[0, 3:].sum() - float(p[3:].sum())

    assert residual(blocks) == -float(p[3:].sum())
    return residual, full, {"one that never leaves a block": blocks, "none": np.diag([Fraction(1)] * 6)}, 1e-12


R8_MIX, PLACES = ([0.3, 0.7], [-1.0, 1.2], 0.6), np.linspace(-6, 6, 801)


def variance(p, at=PLACES):
    p = p / p.sum()
    return p @ at**2 - (p @ at) ** 2


def settled(s, drift):
    """The variance of the stationary law of ``x + drift (r(x) - x) + s noise``; with the whole drift, after the denoiser."""
    to = PLACES + drift * (denoise(PLACES, s, R8_MIX) - PLACES)
    kernel = norm.pdf(PLACES, to[:, None], s)
    kernel /= kernel.sum(1, keepdims=True)
    system = np.r_[(kernel.T - np.eye(801))[:-1], np.ones((1, 801))]
    law = np.linalg.solve(system, np.r_[np.zeros(800), 1.0])
    return variance(law, to if drift == 1 else PLACES)


def r8():
    """The limits of two chains as s falls, (mean only, half the drift): from their laws at two s, by Richardson's rule."""
    found = {drift: [settled(s, drift) for s in (0.3, 0.15, 0.075)] for drift in (1, 0.5)}
    assert [round(v, 4) for v in found[1]] == [0.7921, 0.8069, 0.8112]
    assert [round(v, 4) for v in found[0.5]] == [1.4813, 1.4024, 1.3829]
    p = density(PLACES, 0.0, R8_MIX)
    plain, square = variance(p), variance(p**2)
    assert (round(plain, 4), round(square, 4)) == (1.3764, 0.8127)
    for limit, (_, b, c) in ((square, found[1]), (plain, found[0.5])):
        assert abs((b - limit) / (c - limit) - 4) < 0.25  # errors of order s^2
    limits = [(4 * c - b) / 3 for _, b, c in (found[1], found[0.5])]
    wrong = {
        "both sample p": (plain, plain),
        "both sample p^2": (square, square),
        "the other way round": (plain, square),
    }
    return lambda said: max(abs(a - b) for a, b in zip(said, limits)), (square, plain), wrong, 1e-3


CHECKS = {
    "K0": k0, "K1": k1, "K2": k2, "K2b": k2b, "K2c": k2c, "K3": k3, "K4": k4, "K5": k5, "K5b": k5b, "K6": k6, "K7": k7, "K8": k8,
    "K9": k9, "K10": k10, "K11": k11, "R8": r8,
}  # fmt: skip
