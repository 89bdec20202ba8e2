"""The figures of the self-map view's ledger rows come out again."""

from math import log, pi

import numpy as np
from ledger_selfmap import joint_term, posterior_term
from scipy.special import logsumexp, softmax


def test_figures():
    shifts = (0.0, 5.0, 50.0)
    assert [round(posterior_term(s), 5) + 0.0 for s in shifts] == [-0.26983, -0.00033, 0.0]
    assert [round(joint_term(s), n) for s, n in zip(shifts, (5, 5, 3))] == [-1.8142, -10.11209, -1202.612]


def test_the_encoder_maximised_out_and_the_gap_as_min_entropy():
    """R3 and R1: 2000 points and then six means, all drawn from N(0, I) in three dimensions by one generator of seed 1;
    q_r = N(x; mean, I) and a uniform prior."""
    generator = np.random.default_rng(1)
    x, means = generator.normal(size=(2000, 3)), generator.normal(size=(6, 3))
    decoder = -((x[:, None] - means) ** 2).sum(2) / 2 - 1.5 * log(2 * pi)  # log q_r(x|z), (2000, 6)
    best, evidence = (decoder - log(6)).max(1), logsumexp(decoder - log(6), 1)
    ends = best.mean(), evidence.mean(), decoder.max(1).mean()
    assert [round(float(v), 3) for v in ends] == [-5.642, -4.722, -3.850]
    entropy = -np.log(softmax(decoder, 1).max(1))
    assert round(float((evidence - best).mean()), 5) == round(float(entropy.mean()), 5) == 0.91987
