"""The figures of the ledger's rows on the marginal, and the laws that its closed forms stand for."""

import itertools
import math

import numpy as np
import torch
from gaelib.core import climb
from ledger_marginal import POINT, START, STEP, Bent, reach
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar


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
