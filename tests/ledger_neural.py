"""Ledger checks of the neural autoencoders (L6, L8-L15, L19); see `test_ledger` for their form."""

import math
from functools import partial

import torch
from gaelib.core import ascend
from gaelib.joints.linear import LinearGaussian
from gaelib.joints.network import Network
from torch import nn

D64 = {"dtype": torch.float64}
SPECTRUM = torch.tensor([9, 6, 4, 2.5, 1.5, 1, 0.8, 0.6, 0.5, 0.4], **D64)
ROWS = (10 * SPECTRUM).sqrt().diag()  # ten rows, of which the second moments are the spectrum
ENTROPY = 0.5 * math.log(2 * math.pi * math.e)  # of N(., 1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **D64)


def best(f, params, steps=15):
    """Climb f by L-BFGS; its last value."""
    lbfgs = partial(torch.optim.LBFGS, max_iter=100, line_search_fn="strong_wolfe", tolerance_change=0)
    return ascend(f, [part.requires_grad_() for part in params], steps, 1.0, lbfgs)[-1]


def l6():
    """Squared singular values of a linear autoencoder whose weights cost c each squared: the judge is training."""
    c, encoder, decoder = 0.5, normal(5, 10, seed=0), normal(10, 5, seed=1)

    def value():
        left = ROWS - ROWS @ encoder.T @ decoder.T
        return -left.square().sum(1).mean() - c * (encoder.square().sum() + decoder.square().sum())

    best(value, [encoder, decoder])
    gram = (decoder @ decoder.T).detach()  # of the decoder's columns: diagonal where they span principal axes
    wrong = {
        "no shrinking": lambda s: torch.ones_like(s),
        "as in ridge regression": lambda s: s / (s + c),
        "the square": lambda s: (1 - c / s) ** 2,
    }

    def residual(rule):
        return (gram - torch.cat([rule(SPECTRUM[:5]), torch.zeros(5, **D64)]).diag()).abs().max()

    return residual, lambda s: 1 - c / s, wrong, 1e-5


# --- a decoder that bends: z ~ N(0, I), x = (z1, z2 + z1^2) + N(0, I/4) ---


class Bend(nn.Module):
    def forward(self, z):
        return torch.stack([z[:, 0], z[:, 1] + z[:, 0] ** 2], 1)


BENT = Network(Bend(), variance=0.25, centre=torch.zeros(2, **D64))
GRID = torch.linspace(-6, 6, 601, **D64)
CODES, CELL = torch.cartesian_prod(GRID, GRID), float(GRID[1] - GRID[0]) ** 2


def log_posterior(x):
    """(m, 2) -> (m, codes): log q(z|x) on the grid, and the log evidence (m,)."""
    values = torch.stack([BENT.log_joint(row.expand(len(CODES), 2), CODES) for row in x]).detach()
    evidence = (values.logsumexp(1) + math.log(CELL)).detach()
    return values - evidence[:, None], evidence


def elbo(x, mean, log_scale):
    """The bound of each row, in closed form: a square of a normal variable has a known variance."""
    s = (2 * log_scale).exp()
    first = (x[:, 0] - mean[:, 0]).square() + s[:, 0]
    spread = s[:, 1] + 4 * mean[:, 0] ** 2 * s[:, 0] + 2 * s[:, 0] ** 2
    second = (x[:, 1] - mean[:, 1] - mean[:, 0] ** 2 - s[:, 0]).square() + spread
    prior = -0.5 * (mean.square() + s).sum(1) - math.log(2 * math.pi)
    return -2 * (first + second) - math.log(2 * math.pi * 0.25) + prior + (log_scale + ENTROPY).sum(1)


def log_q(mean, log_scale):
    away = (CODES - mean[:, None]) / log_scale.exp()[:, None]
    return -0.5 * away.square().sum(2) - math.log(2 * math.pi) - log_scale.sum(1)[:, None]


def kl(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(1) * CELL


def l8():
    """What the bound lacks of the log evidence, for three q: closed form and quadrature."""
    x = torch.tensor([[1.4, -0.3]] * 3, **D64)
    mean, log_scale = torch.tensor([[0.8, -0.6], [0.0, 0.0], [1.1, -1.0]], **D64), normal(3, 2) * 0.3 - 1
    posterior, evidence = log_posterior(x)
    gap, q = evidence - elbo(x, mean, log_scale), log_q(mean, log_scale)
    wrong = {
        "the other way round": lambda: kl(posterior, q),
        "half of it": lambda: kl(q, posterior) / 2,
        "no gap": lambda: torch.zeros(3, **D64),
    }
    return lambda rule: (rule() - gap).abs().max(), lambda: kl(q, posterior), wrong, 1e-8


def l8b():
    """What a linear encoder loses against the best q of every point: the judge is the difference of two bounds."""
    z = normal(40, 2)
    x = torch.stack([z[:, 0], z[:, 1] + z[:, 0] ** 2], 1) + normal(40, 2, seed=1) / 2
    mean, log_scale = torch.zeros(40, 2, **D64), torch.zeros(40, 2, **D64)
    best(lambda: elbo(x, mean, log_scale).mean(), [mean, log_scale])
    weights, offset, common = torch.zeros(2, 2, **D64), torch.zeros(2, **D64), torch.zeros(2, **D64)
    best(lambda: elbo(x, x @ weights + offset, common.expand(40, 2)).mean(), [weights, offset, common])
    encoder = ((x @ weights + offset).detach(), common.expand(40, 2).detach())
    each = (mean.detach(), log_scale.detach())
    loss = float((elbo(x, *each) - elbo(x, *encoder)).mean())
    posterior, _ = log_posterior(x)
    gaps = [kl(log_q(*q), posterior).mean() for q in (encoder, each)]
    wrong = {
        "a network answers as well": 0.0,
        "the divergence of its answer from the best": kl(log_q(*encoder), log_q(*each)).mean(),
        "the whole gap": gaps[0],
    }
    return lambda said: said - loss, gaps[0] - gaps[1], wrong, 1e-4


def linear_bound(weights, mean, cov, variance):
    """The mean bound of ROWS for q = N(mean(x), cov), cov diagonal, under a linear decoder."""
    joint = LinearGaussian(ROWS.new_zeros(10), weights.detach(), 1.0)
    joint.weights, joint.variance = weights, torch.as_tensor(variance, **D64)
    entropy = 0.5 * cov.log().sum() + len(cov) * ENTROPY
    return (joint.log_joint(ROWS, (mean, cov.diag())) + entropy).mean()


def l9():
    """What a diagonal q costs a linear decoder: nothing along principal axes, and here along turned ones."""
    variance, turn = 0.66, torch.linalg.qr(normal(5, 5)).Q
    axes = (SPECTRUM[:5] - variance).sqrt().diag()
    weights = torch.cat([axes, torch.zeros(5, 5, **D64)]) @ turn
    M = weights.T @ weights / variance + torch.eye(5, **D64)
    mean = torch.linalg.solve(M, weights.T / variance) @ ROWS.T
    evidence = torch.distributions.MultivariateNormal(
        ROWS.new_zeros(10), weights @ weights.T + variance * torch.eye(10, **D64)
    ).log_prob(ROWS)
    gap = evidence.mean() - linear_bound(weights, mean.T, 1 / M.diagonal(), variance)
    wrong = {
        "any axes do": lambda M: 0.0,
        "without the half": lambda M: M.diagonal().log().sum() - torch.logdet(M),
        "the variances of the posterior": lambda M: (
            0.5 * (torch.linalg.inv(M).diagonal().log().sum() + torch.logdet(M))
        ),
    }
    return lambda rule: rule(M) - gap, lambda M: 0.5 * (M.diagonal().log().sum() - torch.logdet(M)), wrong, 1e-9


def l10():
    """What each code of a linear VAE carries at a fixed sigma^2 = 3: the judge is training."""
    weights, encoder, log_cov = 0.3 * normal(10, 6), 0.3 * normal(6, 10, seed=1), torch.zeros(6, **D64)
    best(lambda: linear_bound(weights, ROWS @ encoder.T, log_cov.exp(), 3.0), [weights, encoder, log_cov])
    with torch.no_grad():
        found = 0.5 * ((ROWS @ encoder.T).square().mean(0) + log_cov.exp() - log_cov - 1)
    found = found.sort(descending=True).values
    wrong = {
        "all are kept": lambda s: 0.5 * (s / 3).log().abs(),
        "a channel's capacity": lambda s: 0.5 * (1 + s / 3).log(),
        "without the half": lambda s: (s / 3).log().clamp(0),
        "none is kept": torch.zeros_like,
    }
    return lambda rule: (rule(SPECTRUM[:6]) - found).abs().max(), lambda s: 0.5 * (s / 3).log().clamp(0), wrong, 1e-3


def l11():
    """How fast the importance-weighted bound rises.  One Gaussian; E log of a mean of n weights by quadrature:
    ``E log S = integral of (exp(-t) - E exp(-t S)) / t``, and the mean over n draws is a power."""
    e, x = torch.linspace(-9, 9, 1001, **D64), 0.7
    p = (-0.5 * e**2).exp() / math.sqrt(2 * math.pi) * (e[1] - e[0])
    z = 0.5 + math.sqrt(0.1) * e
    joint = -0.5 * z**2 - 0.5 * (x - z) ** 2 / 0.05 - math.log(2 * math.pi) - 0.5 * math.log(0.05)
    evidence = -0.5 * x**2 / 1.05 - 0.5 * math.log(2 * math.pi * 1.05)
    w = (joint + 0.5 * e**2 + 0.5 * math.log(2 * math.pi * 0.1) - evidence).exp()
    variance = float((p * w**2).sum()) - 1
    u = torch.linspace(-40, 100, 4001, **D64)  # t = exp(u)

    def gap(n):
        each = torch.stack([(p * -torch.expm1(-t / n * w)).sum() for t in u.exp()])  # 1 - E exp(-t w / n)
        return -float(((-u.exp()).exp() - (1 - each.clamp(max=1)) ** n).sum() * (u[1] - u[0]))

    assert abs(gap(1) + float((p * w.log()).sum())) < 1e-6  # n = 1 is the plain bound
    found = {n: gap(n) for n in (200, 1000)}
    wrong = {
        "without the half": lambda n: variance / n,
        "as fast as a mean's error": lambda n: 0.5 * variance / n**0.5,
        "the divergence, shared": lambda n: gap(1) / n * 2,
    }
    return (
        lambda rule: max(abs(rule(n) / found[n] - 1) for n in found), lambda n: 0.5 * variance / n, wrong, 9e-3,
    )  # fmt: skip


def l11b():
    """What k weights say at least, row by row, given what fewer of them say: (1000, k) log weights, k = 2 ... 12."""

    def bound(log_w):
        return log_w.logsumexp(1) - math.log(log_w.shape[1])

    def without(log_w):
        k = log_w.shape[1]
        return torch.stack([bound(log_w[:, torch.arange(k) != i]) for i in range(k)])

    def residual(rule):
        rows = 3 * normal(1000, 12, seed=3)
        return max(float((rule(rows[:, :k]) - bound(rows[:, :k])).clamp(min=0).max()) for k in range(2, 13))

    wrong = {
        "the first k - 1 say less": lambda log_w: bound(log_w[:, :-1]),
        "the best k - 1 say less": lambda log_w: without(log_w).max(0).values,
        "their sum, not their mean": lambda log_w: without(log_w).logsumexp(0),
    }
    return residual, lambda log_w: without(log_w).mean(0), wrong, 1e-12


def l12():
    """The mean KL of an encoder to its prior, split: tables of 5 x 4."""
    tables = torch.distributions.Exponential(torch.ones(())).sample
    with torch.random.fork_rng():
        torch.manual_seed(0)
        px, q, p = (t.double() / t.double().sum(-1, keepdim=True) for t in (tables((5,)), tables((5, 4)), tables((4,))))
    whole = (px[:, None] * q * (q / p).log()).sum()
    mixed = px @ q
    information = (px[:, None] * q * (q / mixed).log()).sum()
    rest = (mixed * (mixed / p).log()).sum()
    wrong = {
        "the information alone": information,
        "the other way round": information + (p * (p / mixed).log()).sum(),
        "a difference": information - rest,
    }
    return lambda said: said - whole, information + rest, wrong, 1e-12


def l13():
    """Variances of two unbiased slopes of E f(z), z ~ N(m, 1), for f = z^2 and cos 10 z: (pathwise, score function)."""
    e = torch.linspace(-10, 10, 20001, **D64)
    p = (-0.5 * e**2).exp() / math.sqrt(2 * math.pi) * (e[1] - e[0])

    def variance(g):
        return float((p * g**2).sum() - (p * g).sum() ** 2)

    m = 1.0
    square = (variance(2 * (m + e)), variance((m + e) ** 2 * e))
    wave = (variance(-10 * (10 * (m + e)).sin()), variance((10 * (m + e)).cos() * e))
    assert wave[1] < 1 < 40 < wave[0]  # where f bends fast, the score function varies less
    wrong = {
        "the other way round": lambda m: (m**4 + 14 * m**2 + 15, 4),
        "second moments": lambda m: (4 + 4 * m**2, m**4 + 18 * m**2 + 15),
    }
    return (
        lambda rule: max(abs(a - b) for a, b in zip(rule(m), square)), lambda m: (4, m**4 + 14 * m**2 + 15), wrong, 1e-8,
    )  # fmt: skip


def l14():
    """Where q centres for x = 1, sigma^2 = 0.3: with an entropy weighed by T, and with a KL weighed by beta."""
    found = {}
    for weight in (0.1, 0.5, 2.0):
        for kind in ("T", "beta"):
            mean, log_scale = torch.zeros(1, **D64), torch.zeros(1, **D64)

            def value(mean=mean, log_scale=log_scale, kind=kind, weight=weight):
                s = (2 * log_scale).exp()
                fit, prior = -((1 - mean).square() + s) / 0.6, -0.5 * (mean.square() + s)
                return (fit + (prior if kind == "T" else weight * prior) + weight * log_scale).sum()

            best(value, [mean, log_scale])
            found[kind, weight] = float(mean.detach())
    wrong = {
        "beta is a temperature": lambda kind, w: 1 / 1.3,
        "a temperature is beta": lambda kind, w: 1 / (1 + 0.3 * w),
        "beta divides the noise": lambda kind, w: 1 / 1.3 if kind == "T" else 1 / (1 + 0.3 / w),
    }
    return (
        lambda rule: max(abs(rule(*key) - mean) for key, mean in found.items()),
        lambda kind, w: 1 / 1.3 if kind == "T" else 1 / (1 + 0.3 * w), wrong, 1e-5,
    )  # fmt: skip


def l15():
    """The objective of points on a plane in R^3, decoded without error, as sigma^2 falls."""
    plane = nn.Linear(2, 3, bias=False).double()
    z = normal(20, 2)
    found = {
        v: Network(plane, variance=v, prior="flat", centre=torch.zeros(3, **D64)).log_joint(plane(z), z).mean().item()
        for v in (1.0, 1e-2, 1e-4)
    }
    wrong = {
        "bounded": lambda v: -1.5 * math.log(2 * math.pi),
        "one dimension is missing": lambda v: -0.5 * math.log(2 * math.pi * v),
        "it falls": lambda v: 1.5 * math.log(v) - 1.5 * math.log(2 * math.pi),
    }
    return (
        lambda rule: max(abs(rule(v) - value) for v, value in found.items()),
        lambda v: -1.5 * math.log(2 * math.pi * v), wrong, 1e-5,
    )  # fmt: skip


def l19():
    """Which two independent bits answer a posterior best: the judge is the smallest KL(q || posterior) on a grid."""
    posterior = torch.tensor([[0.45, 0.05], [0.05, 0.45]], **D64)

    def divergence(a, b):
        q = torch.outer(torch.stack([1 - a, a]), torch.stack([1 - b, b]))
        return float((q * (q / posterior).log()).sum())

    grid = torch.linspace(0.001, 0.999, 999, **D64)
    least = min(divergence(a, a) for a in grid)
    answer = min(grid, key=lambda a: divergence(a, a))
    assert torch.isclose(posterior.sum(0)[1], torch.tensor(0.5, **D64))  # what sleep fits: the marginals
    wrong = {"sleep's answer, the marginals": (0.5, 0.5), "certainty": (0.999, 0.999)}

    def residual(bits):
        return divergence(*(torch.as_tensor(float(bit), **D64) for bit in bits)) - least

    return residual, (answer, answer), wrong, 1e-4


CHECKS = {
    "L6": l6, "L8": l8, "L8b": l8b, "L9": l9, "L10": l10, "L11": l11, "L11b": l11b, "L12": l12, "L13": l13, "L14": l14,
    "L15": l15,
    "L19": l19,
}  # fmt: skip
