"""The figures of the original losses come out again, on the examples that the chapter states."""

from itertools import combinations
from math import comb, log

import numpy as np
import torch
from gaelib.core import floor, mean, soft_floor
from ledger_losses import ERRORS, LINE


def over_batches(values, reduce, B):
    return float(torch.stack([reduce(values[list(index)]) for index in combinations(range(len(values)), B)]).mean())


def test_the_dial_and_the_adversary():
    """R6's value on both sides, and the ends of the dial, for the errors of eight points about their mean."""
    assert round(float(soft_floor(1.0)(-ERRORS)), 5) == -2.21717
    assert round(float(mean(-ERRORS)), 5) == -0.77734
    assert round(float(floor(-ERRORS)), 5) == -4.15141


def test_the_bias_of_minibatches():
    """D5b: upwards, the whole way to the mean at B = 1, less with every larger B, and none at B = N."""
    soft = [over_batches(-ERRORS, soft_floor(1.0), B) for B in range(1, 9)]
    hard = [over_batches(-ERRORS, floor, B) for B in range(1, 9)]
    assert soft[0] == hard[0] and abs(soft[0] - float(mean(-ERRORS))) < 1e-12
    assert [round(v - soft[-1], 2) for v in soft] == [1.44, 1.10, 0.85, 0.63, 0.45, 0.28, 0.13, 0.0]
    assert [round(v - hard[-1], 2) for v in hard] == [3.37, 2.75, 2.21, 1.71, 1.25, 0.82, 0.40, 0.0]


def test_the_bias_moves_the_optimum_and_the_expectation_does_not():
    mu = torch.linspace(0.5, 2, 1501, dtype=torch.float64)
    d = (LINE - mu[:, None]).square()

    def best(loss, B):
        index = torch.tensor(list(combinations(range(8), B)))
        return round(float(mu[loss(d[:, index]).mean(1).argmax()]), 2)

    def soft(d):
        return -d.exp().mean(2).log()

    assert [best(soft, B) for B in (1, 2, 8)] == [0.96, 1.14, 1.41]
    assert {best(lambda d: -d.exp().mean(2), B) for B in (1, 2, 3, 8)} == {1.41}


def test_the_figures_of_the_mathematics_file():
    """Its example is not stated; 256 errors drawn evenly from [0, 3] with beta = 3 give its figures for the whole data,
    and those for minibatches of five up to the choice of minibatches (there -2.224 and -2.62)."""
    generator = np.random.default_rng(0)
    d = torch.tensor(3 * generator.random(256))
    v = (-d).sort().values
    assert round(float(soft_floor(3.0)(-d)), 3) == -2.355 and round(float(v[0]), 2) == -2.99
    law = sum(float(v[i]) * comb(255 - i, 4) for i in range(256)) / comb(256, 5)
    assert abs(law + 2.62) < 0.015
    batches = torch.tensor(generator.random((20000, 256)).argpartition(5, 1)[:, :5])
    soft = -(torch.logsumexp(3 * d[batches], 1) - log(5)) / 3
    assert abs(float(soft.mean()) + 2.224) < 0.015
