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


def j3():
    """A sample of a class needs the prior: the statement composes log q(x|z=1) on a grid from the classifier, the prior
    and the class's log probability; the judge is the class's own density."""
    x = np.linspace(-6, 9, 3001)
    classes = np.stack([norm(-1, 1).logpdf(x) + np.log(0.7), norm(2, 1.5).logpdf(x) + np.log(0.3)])
    evidence = logsumexp(classes, axis=0)
    said, judge = classes[1] - evidence, norm(2, 1.5).logpdf(x)

    wrong = {
        "the classifier alone": lambda said, prior, c: said,
        "the classifier alone, normalised": lambda said, prior, c: said - logsumexp(said) - np.log(x[1] - x[0]),
        "without c": lambda said, prior, c: said + prior,
        "c with the wrong sign": lambda said, prior, c: said + prior + c,
        "the prior twice": lambda said, prior, c: said + 2 * prior - c,
    }

    def residual(statement):
        return np.abs(statement(said, evidence, np.log(0.3)) - judge).max()

    return residual, lambda said, prior, c: said + prior - c, wrong, 1e-10


CHECKS = {"J1": j1, "J2": j2, "J3": j3}
