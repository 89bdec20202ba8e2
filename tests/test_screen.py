"""Screening gives the answer of the whole search, and skips most of it."""

import pytest
import torch
from gaelib import data
from gaelib.core import Exact, alternate
from gaelib.joints.flats import Flats, nearest, project
from gaelib.solvers.pruning import Screen


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def fitted():
    x = torch.tensor(data.digits()[0])
    joint = Flats(x[:40], torch.linalg.qr(normal(40, 64, 5)).Q)
    alternate(joint, [x], Exact(), 10)
    axes = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0))).eigenvectors[:, -15:]
    return x, joint, axes


def test_the_bound_is_one_for_any_flats_and_axes():
    for seed in range(20):
        x, means = normal(50, 12, seed=seed), normal(6, 12, seed=seed + 100)
        bases, axes = (
            torch.linalg.qr(normal(6, 12, 3, seed=seed + 200)).Q,
            torch.linalg.qr(normal(12, 7, seed=seed)).Q,
        )
        screen, squares = Screen(means, bases, axes), project(x, means, bases)[0]
        assert (screen.bound(x @ axes) <= squares + 1e-9).all()
        assert torch.equal(screen.nearest(x)[0], squares.argmin(1))
    tight = Screen(means, bases, torch.eye(12, dtype=torch.float64))
    assert (tight.bound(x) - squares).abs().max() < 1e-9  # all axes: no bound but the distance itself


def test_the_answer_is_that_of_the_whole_search(fitted):
    x, joint, axes = fitted
    screen = Screen(joint.means, joint.bases, axes)
    k, u = screen.nearest(x)
    expected = nearest(x, joint.means, joint.bases)
    assert torch.equal(k, expected[0]) and (u - expected[1]).abs().max() < 1e-9
    assert torch.equal(screen.nearest(x, x @ axes)[0], k)


def test_most_distances_are_never_computed(fitted):
    x, joint, axes = fitted
    screen = Screen(joint.means, joint.bases, axes)
    screen.nearest(x)
    assert len(x) <= screen.asked < 0.1 * len(x) * len(joint.means)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rounding_alone_rules_nobody_out(dtype):
    """With all axes the bound is the distance itself, and a copy of the best flat must not lose by its last digit."""
    means = 50 * normal(4, 12, seed=1)
    bases = torch.linalg.qr(normal(4, 12, 2, seed=2)).Q
    x = means.repeat(100, 1) + 5 * normal(400, 12, seed=3)
    x, means, bases = (part.to(dtype) for part in (x, means.repeat(2, 1), bases.repeat(2, 1, 1)))
    screen = Screen(means, bases, torch.linalg.qr(normal(12, 12)).Q.to(dtype))
    screen.nearest(x)
    assert screen.asked >= 2 * len(x)


def test_useless_axes_cost_time_and_no_answer(fitted):
    x, joint, _ = fitted
    screen = Screen(joint.means, joint.bases, torch.eye(64, dtype=torch.float64)[:, :6])  # pixels at the rim
    assert torch.equal(screen.nearest(x)[0], nearest(x, joint.means, joint.bases)[0])
    assert screen.asked > 0.5 * len(x) * len(joint.means)
