"""The soft gate in x: its inference is exact, its likelihood is none, and it leaks."""

from math import log, pi

import pytest
import torch
from gaelib.core import Climb, Exact, ascend, objective
from gaelib.models.soft_gate import SoftGate
from scipy.integrate import quad


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def joint(scale=0.5):
    return SoftGate(normal(3, 4, seed=1), torch.linalg.qr(normal(3, 4, 2, seed=2)).Q, scale)


def test_exact_is_where_the_climb_ends():
    gate, x = joint(), normal(20, 4)
    climbed = Climb(lambda joint, x: x.new_zeros(len(x), 2), 4000, 0.2)
    assert (objective(gate, x, Exact()) - objective(gate, x, climbed)).abs().max() < 1e-9
    for other in normal(10, 20, 2, seed=3):
        assert (gate.log_joint(x, other) <= objective(gate, x, Exact()) + 1e-12).all()


def test_rows_do_not_depend_on_each_other():
    gate, x = joint(), normal(20, 4)
    alone = torch.cat([objective(gate, row, Exact()) for row in x.split(1)])
    assert torch.allclose(alone, objective(gate, x, Exact()), rtol=0, atol=1e-12)


def test_a_short_scale_is_the_nearest_centre_s_flat():
    gate, x = joint(1e-3), normal(50, 4)
    k = torch.cdist(x, gate.means).argmin(1)
    residual = x - gate.means[k].detach()
    residual = residual - torch.einsum("nd,ndp,nep->ne", residual, gate.bases[k], gate.bases[k])
    assert (objective(gate, x, Exact()) + 2 * log(pi) + residual.square().sum(1)).abs().median() < 1e-9


@pytest.mark.parametrize(("mu", "integral"), [(0.2, 1.9135), (0.5**0.5, 3.1137), (2.0, 3.8466)])
def test_its_score_is_no_density(mu, integral):
    gate = SoftGate(torch.tensor([[-mu], [mu]], dtype=torch.float64), torch.zeros(2, 1, 0).double())

    def score(x):
        x = torch.tensor([[x]], dtype=torch.float64)
        return float(gate.log_joint(x, x.new_zeros(1, 0)).detach().exp()) * pi**0.5

    assert abs(quad(score, -12, 12, points=[-mu, 0, mu], epsabs=1e-9)[0] - integral) < 5e-5


def test_overlapping_centres_leak_x():
    gate = SoftGate(torch.linspace(-8, 8, 33).double()[:, None], torch.zeros(33, 1, 0).double())
    x = torch.linspace(-3.5, 3.5, 701).double()[:, None]
    decoded = gate.decode((gate.gates(x), x.new_zeros(len(x), 0)))
    assert (decoded - x).square().max() < 1e-21


def test_it_learns_by_gradient():
    x, gate = normal(200, 4), joint()
    history = ascend(lambda: objective(gate, x, Exact()).mean(), gate.parameters(), 50, 0.02)
    assert history[-1] > history[0] + 0.1


# --- for the tests that go over every model: tests/registry.py ---

UNBOUND = {"SoftGate": "Its decoder reads x: log_joint is a score, no density, and is learned by gradient alone."}
BAD = {"a scale of zero": (lambda: joint(0), ValueError, "scale=0", "must be above 0")}
