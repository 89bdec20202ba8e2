"""The figures of the ledger's rows on the marginal, and the laws that its closed forms stand for."""

import itertools
import math

import numpy as np
import torch
from gaelib import data
from gaelib.core import climb
from ledger_marginal import POINT, START, STEP, Bent, reach
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar
from scipy.special import xlogy


def gap(variance, x=0.7):
    """Log evidence minus max of N(0, 1) and N(x; z, variance), by quadrature."""

    def l(z):
        return -(z**2) / 2 - (x - z) ** 2 / (2 * variance) - math.log(2 * math.pi) - math.log(variance) / 2

    best = x / (1 + variance)
    return math.log(quad(lambda z: math.exp(l(z) - l(best)), -10, 10, points=[best])[0])


def test_the_bound_fails_for_densities():
    assert [round(gap(v), 5) for v in (0.05, 1.0)] == [-0.60332, 0.57236]
    assert abs(gap(0.05, x=-2.0) - gap(0.05, x=0.0)) < 1e-9  # the same at every x
    assert round(brentq(gap, 0.05, 1.0, xtol=1e-10), 5) == round(1 / (2 * math.pi - 1), 5) == 0.18928


def test_the_argmax_moves_with_the_scale():
    def l(z):
        return -(z**2) / 2 - (0.7 - z) ** 2 / 2

    in_z = minimize_scalar(lambda z: -l(z), bounds=(-2, 2), method="bounded", options={"xatol": 1e-9}).x
    in_y = minimize_scalar(lambda y: -l(math.sinh(y)) - math.log(math.cosh(y)), bounds=(-2, 2), method="bounded").x
    assert (round(in_z, 3), round(math.sinh(in_y), 3)) == (0.350, 0.564)


def test_the_area_under_the_entropy_of_seven_codes():
    l = np.array([0, -0.5, -1, -2, -3, -5, -8])

    def entropy(T):
        q = np.exp(l / T) / np.exp(l / T).sum()
        return -xlogy(q, q).sum()

    area, gap = quad(entropy, 0.005, 1, epsabs=1e-9)[0], np.log(np.exp(l).sum())  # below, the entropy is no more
    assert round(float(area), 5) == round(float(gap), 5) == 0.77316


def test_on_short_codes_the_free_energy_falls_for_ever():
    z = np.linspace(0, 0.5, 2001)
    free = [T * math.log(np.trapezoid(np.exp(-(z**2) / T), z)) for T in np.logspace(-3, 3, 80)]
    assert max(np.diff(free)) < 0


def test_the_area_under_a_normal_s_entropy():
    v = 0.05 / 1.05
    area = quad(lambda T: 0.5 * math.log(2 * math.pi * math.e * T * v), 0, 1)[0]
    assert round(area, 5) == -0.60332


def test_the_free_energy_of_a_density_dips_first():
    """Quadrature at several temperatures: F_T falls from the max until T = 1/(2 pi e v), for a wide decoder
    too."""
    for variance in (0.05, 1.0):
        v = variance / (1 + variance)
        turn = 1 / (2 * math.pi * math.e * v)

        def above(T, v=v):  # F_T minus the max
            return T * math.log(quad(lambda z: math.exp(-(z**2) / (2 * v * T)), -20, 20, points=[0])[0])

        assert above(turn / 2) > above(turn) < above(2 * turn) and above(turn) < 0
        assert abs(above(math.e * turn)) < 1e-9


def test_unrolling_is_super_efficient_on_the_bent_decoder():
    def gradient(t, unroll):
        m = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        z = climb(lambda z: Bent().log_joint(POINT, z, m), START, t, STEP, unroll=unroll)
        return torch.autograd.grad(Bent().log_joint(POINT, z, m).sum(), m)[0].item()

    top = reach(1.0, 2000)[0]
    hessian = torch.autograd.functional.hessian(lambda z: Bent().log_joint(POINT, z[None]).sum(), top)
    rho = 1 - STEP * float(torch.linalg.eigvalsh(-hessian)[0])
    ts, end = np.arange(100, 156, 5), gradient(2000, False)
    detached, unrolled = (np.log([abs(gradient(int(t), u) - end) for t in ts]) for u in (False, True))
    assert abs(np.polyfit(ts, detached, 1)[0] / math.log(rho) - 1) < 0.01
    assert abs(np.polyfit(ts, unrolled - np.log(ts), 1)[0] / math.log(rho) - 2) < 0.02
    # the error over rho^(2t) is a straight line in t: the factor t is there
    line = np.exp(unrolled) / rho ** (2 * ts)
    assert np.corrcoef(ts, line)[0, 1] > 0.99 and np.polyfit(ts, line, 1)[0] > 0.01
    gaps = [abs(gradient(t, True) - gradient(t, False)) / abs(end) for t in (1, 5, 50, 150)]
    assert all(b < a for a, b in itertools.pairwise(gaps))
    assert abs(gradient(500, True) - gradient(500, False)) / abs(end) < 1e-12


def relative(climbed, weights, steps):
    """The norm of the detached gradient less the unrolled one, over that of the unrolled one."""
    unrolled, detached = (climbed(weights, steps, unroll) for unroll in (True, False))
    return float((unrolled - detached).norm() / unrolled.norm())


def test_a_network_s_second_term_vanishes():
    """B10: 2-16 tanh-64, the first 64 digits over 16, q_w = N(0, I), sigma^2 = 1, z_0 = 0, steps of .1."""
    torch.manual_seed(0)
    wide = {"dtype": torch.float64}
    net = torch.nn.Sequential(torch.nn.Linear(2, 16, **wide), torch.nn.Tanh(), torch.nn.Linear(16, 64, **wide))
    x = torch.tensor(data.digits()[0][:64]) / 16

    def l(z):
        return -(x - net(z)).square().sum(1) / 2 - z.square().sum(1) / 2

    def climbed(weights, steps, unroll):
        z = climb(l, torch.zeros(64, 2, dtype=torch.float64), steps, 0.1, unroll=unroll)
        return torch.cat([slope.flatten() for slope in torch.autograd.grad(l(z).mean(), weights)])

    found = [relative(climbed, list(net.parameters()), steps) for steps in (1, 5, 50)]
    assert [f"{gap:.2e}" for gap in found] == ["4.14e-02", "2.84e-02", "1.15e-06"]
    assert relative(climbed, list(net.parameters()), 500) < 1e-15


def test_unrolling_squares_the_error_on_a_linear_decoder():
    """R7: W_ij = cos(pi (i + 1/2) j / 6), x = (1..6)/6, l = -|x - W z|^2/2 - |z|^2/2, steps of .5 / the steepest."""
    i, j = torch.arange(6.0, dtype=torch.float64)[:, None], torch.arange(3.0, dtype=torch.float64)
    W, x = torch.cos(math.pi * (i + 0.5) * j / 6).requires_grad_(), torch.arange(1, 7, dtype=torch.float64) / 6
    hessian = torch.linalg.eigvalsh((W.T @ W).detach() + torch.eye(3))
    assert round(float(1 - 0.5 * hessian[0] / hessian[-1]), 4) == 0.7143

    def l(z):
        return -(x - z @ W.T).square().sum(1) / 2 - z.square().sum(1) / 2

    def gradient(steps, unroll):
        z = climb(l, torch.zeros(1, 3, dtype=torch.float64), steps, float(0.5 / hessian[-1]), unroll=unroll)
        return torch.autograd.grad(l(z).sum(), W)[0]

    end, found = gradient(500, False), {}
    for t in (5, 10, 20):
        found[t] = [f"{float((gradient(t, unroll) - end).norm() / end.norm()):.2e}" for unroll in (False, True)]
    assert found == {5: ["3.04e-01", "2.00e-01"], 10: ["6.03e-02", "1.04e-02"], 20: ["2.13e-03", "2.27e-05"]}
