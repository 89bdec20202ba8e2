"""Ledger checks of the generators without inference (L7, L7b-L7d, L16, L16b); see `test_ledger` for their form."""

import itertools
import math

import torch
from gaelib.core import Climb, Given, Joint, objective
from gaelib.joints.network import Network
from gaelib.models.gan import critic_value, generator_value
from gaelib.models.generators import BestOf
from ledger_neural import D64, ROWS, SPECTRUM, best, normal
from torch import nn


def linear(weights):
    """``-||x - W z||^2 + c`` with W (10, p)."""
    decoder = nn.Linear(*weights.T.shape, bias=False).double()
    decoder.weight = nn.Parameter(weights.clone())
    return Network(decoder, prior="flat", centre=torch.zeros(10, **D64)).double()


def origin(p, step, unroll=True):
    return Climb(lambda joint, x: x.new_zeros(len(x), p), 1, step, unroll=unroll)


def l7(step=0.3):
    """W'W of a linear decoder whose code is one step of size s from zero: the judge is training."""
    joint = linear(0.3 * normal(10, 5))
    best(lambda: objective(joint, ROWS, origin(5, step)).mean(), joint.decoder.parameters(), 30)
    weights = joint.decoder.weight.detach()
    left = 1 - torch.linalg.svdvals(torch.linalg.qr(weights).Q[:5])  # of the angles to the five leading axes
    assert left.max() < 1e-12
    gram = weights.T @ weights
    wrong = {
        "orthonormal columns, as PCA's": lambda s: torch.eye(5, **D64),
        "without the two": lambda s: torch.eye(5, **D64) / s,
        "the scales of PCA": lambda s: SPECTRUM[:5].diag() / (2 * s),
    }
    return lambda rule: (rule(step) - gram).abs().max(), lambda s: torch.eye(5, **D64) / (2 * s), wrong, 1e-6


def l7b(step=0.3):
    """The slope of the objective in W where the step is not differentiated through; steps of any size."""
    weights = 0.5 * normal(10, 3)
    joint = linear(weights)
    value = objective(joint, ROWS, origin(3, step, unroll=False)).mean()
    (slope,) = torch.autograd.grad(value, list(joint.decoder.parameters()))
    cov = ROWS.T @ ROWS / len(ROWS)
    z = 2 * step * ROWS @ weights  # (n, 3)

    def oja(scale, z=z):
        return scale * ((ROWS - z @ weights.T).T @ z / len(ROWS))

    whole = 2 * cov @ weights * 2 * step - 4 * step**2 * weights @ (weights.T @ cov @ weights) * 2
    assert (whole - slope).abs().max() < 1e-12
    wrong = {
        "Oja's rule itself": lambda: oja(1.0),
        "the slope through the step": lambda: torch.autograd.grad(
            objective(joint, ROWS, origin(3, step)).mean(), list(joint.decoder.parameters())
        )[0],
        "Hebb's rule": lambda: 2 * ROWS.T @ z / len(ROWS),
    }
    return lambda rule: (rule() - slope).abs().max(), lambda: oja(2.0), wrong, 1e-12


def l7c():
    """The squared error that free codes and a linear decoder leave: the judge is training both."""
    joint, z = linear(0.3 * normal(10, 4)), 0.3 * normal(10, 4, seed=1)
    params = [*joint.decoder.parameters(), z]
    best(lambda: objective(joint, ROWS, Given(z)).mean(), params, 30)
    with torch.no_grad():
        error = float((ROWS - joint.decode(z)).square().sum(1).mean())
    wrong = {
        "nothing: every row has its own code": lambda s: 0.0,
        "the largest variances": lambda s: s[:4].sum(),
        "a share of all": lambda s: s.sum() * 6 / 10,
    }
    return lambda rule: rule(SPECTRUM) - error, lambda s: s[4:].sum(), wrong, 1e-9


class Six(Joint):
    """Six codes of equal prior, one number decoded from each."""

    means = torch.tensor([-2.0, -1.2, -0.1, 0.4, 1.1, 2.5], **D64)

    def log_joint(self, x, z):
        return -((x[:, 0] - self.means[z]) ** 2) - 0.5 * math.log(math.pi) - math.log(6)

    def log_joints(self, x, z):
        return torch.stack([self.log_joint(x, code.expand(len(x))) for code in z], 1)


def enumerated(m, x):
    """The mean, over all 6^m draws, of IMLE's objective and of the log of the mean weight: nats."""
    joint, prior = Six(), -math.log(6)
    found = []
    for draw in itertools.product(range(6), repeat=m):
        z = torch.tensor(draw)
        answer = BestOf(lambda n, z=z: (z, torch.full((n,), prior, **D64)), m)
        weights = joint.log_joints(x, z) - prior
        found.append((float(objective(joint, x, answer)), float(weights.logsumexp(1)) - math.log(m)))
    return torch.tensor(found, **D64).mean(0).tolist()


def l7d():
    """IMLE's mean objective for n draws of six codes: the judge counts, for each rank, the draws of which it is best."""
    x = torch.tensor([[0.3]], **D64)
    values = Six().log_joints(x, torch.arange(6))[0] + math.log(6)
    values = values.sort().values
    found = {m: enumerated(m, x) for m in (1, 2, 3, 4)}
    evidence = float(values.logsumexp(0)) - math.log(6)
    assert all(best_of <= mean <= evidence for best_of, mean in found.values())

    def rule(m):
        ranks = torch.arange(7, **D64) / 6
        return float((values * (ranks[1:] ** m - ranks[:-1] ** m)).sum()) - math.log(m)

    wrong = {
        "the best of all codes": lambda m: float(values.max()),
        "without log n": lambda m: rule(m) + math.log(m),
        "the log of the mean weight": lambda m: found[m][1],
        "the evidence": lambda m: evidence,
    }
    return lambda rule: max(abs(rule(m) - best_of) for m, (best_of, _) in found.items()), rule, wrong, 1e-12


def tables():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        p, q = torch.distributions.Dirichlet(torch.ones(2, 6, **D64)).sample()
    return p, q


def js(p, q):
    m = (p + q) / 2
    return 0.5 * (p * (p / m).log()).sum() + 0.5 * (q * (q / m).log()).sum()


def l16():
    """The best critic of two densities on the line, and its worth; the judge climbs the value, on a grid."""
    x = torch.linspace(-9, 9, 181, **D64)
    p, q = (torch.distributions.Normal(m, s).log_prob(x).exp() for m, s in ((0.0, 1.0), (1.0, 0.5)))
    p, q, weights = p / p.sum(), q / q.sum(), torch.zeros(3, **D64)

    def value():
        logits = torch.stack([x**0, x, x**2], 1) @ weights
        return -(p * nn.functional.softplus(-logits)).sum() - (q * nn.functional.softplus(logits)).sum()

    found = best(value, [weights], 20)
    critic = (torch.stack([x**0, x, x**2], 1) @ weights).detach()
    assert (critic.sigmoid() - p / (p + q)).abs().max() < 1e-4
    draw = torch.Generator().manual_seed(0)
    rows = (torch.multinomial(density, 100_000, True, generator=draw) for density in (p, q))
    seen = critic_value("non-saturating", *(critic[i] for i in rows))  # as the package estimates it
    assert abs(float(seen) - found) < 0.02
    kl = (p * (p.clamp(min=1e-300) / q.clamp(min=1e-300)).log()).sum()
    wrong = {
        "it can tell nothing": lambda: -math.log(4),
        "JS once": lambda: js(p.clamp(min=1e-300), q.clamp(min=1e-300)) - math.log(4),
        "without log 4": lambda: 2 * js(p.clamp(min=1e-300), q.clamp(min=1e-300)),
        "KL in place of JS": lambda: kl - math.log(4),
    }
    return (
        lambda rule: rule() - found, lambda: 2 * js(p.clamp(min=1e-300), q.clamp(min=1e-300)) - math.log(4), wrong, 1e-6,
    )  # fmt: skip


def l16b():
    """What the non-saturating generator falls along at the best critic: q a softmax over six values of x, so that its
    slope is exact; the statement is the divergence whose slope it is."""
    p, q0 = tables()
    logits = q0.log().requires_grad_()
    q, critic = logits.softmax(0), (p / q0).log()  # the best critic's logits
    each = torch.stack([generator_value("non-saturating", c[None]) for c in critic])
    (slope,) = torch.autograd.grad(-(q * each).sum(), logits, retain_graph=True)

    def off(divergence):
        (other,) = torch.autograd.grad(divergence(p, q), logits, retain_graph=True)
        return (other - slope).abs().max()

    def kl(a, b):
        return (a * (a / b).log()).sum()

    wrong = {
        "2 JS": lambda p, q: 2 * js(p, q),
        "KL(q || p)": lambda p, q: kl(q, p),
        "KL(p || q) - 2 JS": lambda p, q: kl(p, q) - 2 * js(p, q),
        "KL(q || p) + 2 JS": lambda p, q: kl(q, p) + 2 * js(p, q),
    }
    return off, lambda p, q: kl(q, p) - 2 * js(p, q), wrong, 1e-10


CHECKS = {"L7": l7, "L7b": l7b, "L7c": l7c, "L7d": l7d, "L16": l16, "L16b": l16b}
