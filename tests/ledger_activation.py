"""Ledger checks of maximal activation (J1-J3); see `test_ledger` for their form."""

import numpy as np
import torch
from gaelib import activate
from gaelib.core import Soft
from gaelib.joints.linear import LinearGaussian
from gaelib.pictures import Pixels
from gaelib.pictures.targets import Term, density, log_probability, logit
from scipy.special import logsumexp
from scipy.stats import norm
from torch import nn


class Network(nn.Module):
    """Three outputs on a line, (n, 1) -> (n, 3); one of them grows without end as x does."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), 2 * x - x**2, 4 * x - 6], 1)


def j1():
    """What the best input reaches: the statement is the target that is climbed, the judge the largest log probability
    on a fine grid."""
    grid = np.linspace(-4, 6, 200001)
    outputs = np.stack([0 * grid, 2 * grid - grid**2, 4 * grid - 6], 1)
    judge = (outputs[:, 1] - logsumexp(outputs, axis=1)).max()

    def residual(target):
        start = Pixels((1,), start=torch.zeros(1, dtype=torch.float64))
        found = activate(Network(), target, parametrisation=start, steps=500, lr=0.1, random_state=0)
        return log_probability(1).of(None, {"": Network()(found.images)}) - judge, found.target - judge

    wrong = {
        "the raw activation": logit(1),
        "the raw activation minus a rival's": logit(1) - logit(2),
        "the log probability, doubled": 2 * log_probability(1),
    }
    return lambda target: max(abs(float(r)) for r in residual(target)), log_probability(1), wrong, 1e-6


def j2():
    """The inverse of an autoencoder: its parameters and its code stay, and x climbs.  The statement is what is climbed,
    the judge the decoder."""
    generator = torch.Generator().manual_seed(0)
    W, mean, u = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((6, 2), (6,), (4, 2)))
    joint = LinearGaussian(mean, W, 0.5)
    before = {name: value.clone() for name, value in joint.state_dict().items()}

    def climbed(of):
        start = Pixels((6,), start=torch.zeros(6, dtype=torch.float64), spread=1.0)
        x = activate(nn.Identity(), Term(of), parametrisation=start, n=4, steps=400, lr=0.2, random_state=1).images
        moved = sum((joint.state_dict()[name] - value).abs().max() for name, value in before.items())
        return (x - joint.decode(u)).abs().max() + moved

    def likelihood(x, said):
        return joint.log_joint(x, u)

    def posterior(x, said):  # log q(u|x) alone: Gaussian around the argmax, with a covariance that no x moves
        off = u - joint.argmax(x)
        return -((off @ joint._precision()) * off).sum(1)

    wrong = {
        "log q(z|x) alone": posterior,
        "log q(x) alone": density(joint, Soft(1.0)).of,
        "the code of another": lambda x, said: joint.log_joint(x, u.flip(0)),
    }
    return climbed, likelihood, wrong, 1e-8


class Posterior(nn.Module):
    """Two classes on a line; its outputs are log q(x, class), so that its softmax is Bayes' rule.  Class 1 has two humps."""

    def forward(self, x):
        hump = torch.distributions.Normal(torch.tensor([-1.5, 1.5]), torch.tensor([0.6, 0.9])).log_prob(x)
        two = (hump + torch.tensor([0.35, 0.65]).log()).logsumexp(1)
        broad = torch.distributions.Normal(0.0, 3.0).log_prob(x[:, 0])
        return torch.stack([broad, two], 1) - np.log(2)


def j3():
    """A sample of a class needs the prior, and noise: the statement is (log q(x|z=1) from the classifier, the prior and the
    class's log probability; the temperature of the chain's noise).  The judges are the class's own density, and its
    cumulative sum, from which 2000 chains may lie 0.05 away."""
    x = np.linspace(-6, 9, 3001)
    classes = np.stack([norm(-1, 1).logpdf(x) + np.log(0.7), norm(2, 1.5).logpdf(x) + np.log(0.3)])
    evidence = logsumexp(classes, axis=0)
    said, judge = classes[1] - evidence, norm(2, 1.5).logpdf(x)

    net, grid = Posterior(), torch.linspace(-8, 8, 1601)
    area = (net(grid[:, None])[:, 1] + np.log(2)).exp().cumsum(0) * 0.01
    prior = Term(lambda x, said: net(x).logsumexp(1))

    def away(T):  # the largest distance of two cumulative shares
        options = {"noise": T, "n": 2000, "steps": 250, "lr": 0.05, "random_state": 0}
        start = Pixels((1,), spread=2.0)
        ends = activate(net, log_probability(1), parametrisation=start, prior=prior, **options).images[:, 0]
        return float((torch.searchsorted(ends.sort().values, grid) / 2000 - area).abs().max())

    distance = {T: away(T) for T in (0.0, 1.0)}
    assert distance[1.0] <= 0.05 and distance[0.0] >= 0.2

    wrong = {
        "the classifier alone": (lambda said, prior, c: said, 1.0),
        "the classifier alone, normalised": (lambda said, prior, c: said - logsumexp(said) - np.log(x[1] - x[0]), 1.0),
        "without c": (lambda said, prior, c: said + prior, 1.0),
        "c with the wrong sign": (lambda said, prior, c: said + prior + c, 1.0),
        "the prior twice": (lambda said, prior, c: said + 2 * prior - c, 1.0),
        "a maximum is a sample": (lambda said, prior, c: said + prior - c, 0.0),
    }

    def residual(statement):
        compose, T = statement
        return max(np.abs(compose(said, evidence, np.log(0.3)) - judge).max(), distance[T] - 0.05)

    return residual, (lambda said, prior, c: said + prior - c, 1.0), wrong, 1e-10


CHECKS = {"J1": j1, "J2": j2, "J3": j3}
