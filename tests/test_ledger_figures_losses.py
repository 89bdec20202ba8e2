"""The figures of the original losses come out again, on the examples that the chapter states."""

from itertools import chain, combinations
from math import comb

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


def test_fifty_errors_over_all_minibatches_of_five():
    """D5b: d_i = 3(i - 1/2)/50 and beta = 3, over all 2,118,760 minibatches of five."""
    d = 3 * (np.arange(50) + 0.5) / 50
    index = np.fromiter(chain.from_iterable(combinations(range(50), 5)), np.int8).reshape(-1, 5)
    assert len(index) == 2_118_760
    grown = np.exp(3 * d)
    assert round(float(-np.log(grown.mean()) / 3), 5) == -2.26710
    assert round(float(-np.log(grown[index].mean(1)).mean() / 3), 5) == -2.10875
    law = sum(d[i] * comb(i, 4) for i in range(50)) / comb(50, 5)  # i is the largest of its minibatch
    assert (round(-d.max(), 2), round(-law, 2)) == (-2.97, -2.52)
    assert abs(d[index[:, -1]].mean() - law) < 1e-9


def test_four_errors_on_both_sides_of_the_adversary():
    """R6: d = (0, 1, 2, 3) at beta = 1."""
    d = torch.arange(4, dtype=torch.float64)
    q = d.softmax(0)
    assert [round(float(v), 4) for v in q] == [0.0321, 0.0871, 0.2369, 0.6439]
    paid = float((q * -d).sum() + (q * (q * 4).log()).sum())
    assert round(float(soft_floor(1.0)(-d)), 5) == round(paid, 5) == -2.05390
