"""Products behind the nearest, and where empty components go."""

from contextlib import nullcontext

import pytest
import torch
from gaelib.core import Exact
from gaelib.joints.flats import Flats
from gaelib.solvers.nearest import affine, nearest, project, rounding, settle, settle_pairs
from gaelib.solvers.threads import shared


@pytest.mark.parametrize("within", [shared, nullcontext])  # whose products are different libraries'
def test_large_float32_products_carry_their_bias(within):
    generator = torch.Generator().manual_seed(0)
    x, means = (torch.randn(n, 200, generator=generator) for n in (500, 100))
    means *= torch.linspace(0.1, 3, 100)[:, None]  # of very different lengths: without the bias the longest wins
    squares = (x.double()[:, None] - means.double()).square().sum(2)
    with torch.no_grad(), within():
        assert means.numel() >= 2**14 and (affine(means, squares[0].float())(x[:1] * 0) - squares[0]).abs().max() < 1e-3
        assert torch.equal(nearest(x, means), squares.argmin(1))
        assert (project(x, means)[0] - squares).abs().max() < 1e-3 * squares.max()


def test_two_empty_components_go_to_two_places():
    joint = Flats(torch.tensor([[0.0], [100.0], [7.0], [7.0]], dtype=torch.float64))
    n, error = torch.tensor([[5.0, 5, 0, 0], [10.0, 8, 0, 0]], dtype=torch.float64)
    joint.update({"n": n, "x": torch.zeros(4, 1, dtype=torch.float64), "error": error})
    assert joint.means.round()[:, 0].tolist() == [0, 100, 0, 100]


def test_nearly_equal_is_not_equal():
    """The second point is nearer by float32's last digit: residuals tell, and the first of equals does not win."""
    x, means = torch.zeros(3, 2), torch.tensor([[1 + 2.0**-23, 0.0], [1.0, 0.0]])
    assert nearest(x, means).tolist() == [1, 1, 1]
    assert nearest(x, means, torch.tensor([[0.0], [1.0]]).expand(2, 2, 1))[0].tolist() == [1, 1, 1]


@pytest.mark.parametrize("p", [0, 1])
def test_far_from_the_origin_no_digits_are_lost(p):
    draw = lambda *shape, seed: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    x, means, bases = draw(30, 4, seed=1), draw(3, 4, seed=2), torch.linalg.qr(draw(3, 4, 1, seed=3)).Q
    x, means = (part.mul(256).round() / 256 for part in (x, means))  # so that adding 4096 rounds nothing
    here, there = (project(x + far, means + far, bases if p else None)[0] for far in (0, 4096))
    assert (here - there).abs().max() < 1e-4 * here.max()


@pytest.mark.parametrize("p", [0, 2])
@pytest.mark.parametrize("variance", [0.05, 0.5, 3.0])
def test_all_log_joints_are_those_of_each(p, variance):
    draw = lambda *shape, seed: torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    joint = Flats(draw(3, 4, seed=1), torch.linalg.qr(draw(3, 4, p, seed=2)).Q, variance)
    x = draw(20, 4, seed=3)
    for k in range(3):
        k = torch.full((20,), k)
        z = (k, joint.inside(x, k)) if p else k
        assert torch.allclose(joint.log_joints(x)[:, k[0]], joint.log_joint(x, z), rtol=1e-12)


@pytest.mark.parametrize(("left", "kept"), [(1e-9, True), (1e-11, True), (1e-14, False)])
def test_an_error_is_nothing_only_within_rounding(left, kept):
    """A row at 1 on a line through the origin, in float32: 1.2e-7 squared is the rounding of its code."""
    joint = Flats(torch.zeros(1, 2), torch.eye(2)[None, :, :1])
    sums = {"n": torch.ones(1).double(), "error": torch.tensor([left]).double()}
    found = joint.scored(sums, torch.ones(1, 2), torch.ones(1).double())
    assert (float(found["error"]) > 0) == (float(-found["objective"]) > 0) == kept


def test_the_directions_move_about_the_new_mean():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, generator=generator, dtype=torch.float64) + torch.tensor([9.0, -7, 5, 3]).double()
    joint = Flats(torch.zeros(1, 4).double(), torch.eye(4).double()[None, :, :2])
    z, _ = Exact()(joint, x)
    joint.update(joint.stats(x, z))
    away = x - x.mean(0)
    expected = torch.linalg.qr(away.T @ (z[1] - z[1].mean(0))).Q
    assert torch.allclose(joint.means[0], x.mean(0), rtol=1e-12)
    assert torch.allclose(joint.bases[0].abs(), expected.abs(), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_pairs_are_settled_as_a_table_is(dtype):
    """From a first pair and all others of each row: the nearest, though tables are blurred and points come twice."""
    generator = torch.Generator().manual_seed(0)
    x, means = (torch.randn(n, 5, generator=generator, dtype=dtype).mul(4).round() for n in (400, 30))
    exact, blur = (x[:, None] - means).square().sum(2), 1e3 * rounding(means) * torch.ones(400, dtype=dtype)
    squares = exact + blur[:, None] * (2 * torch.rand(exact.shape, generator=generator, dtype=dtype) - 1)
    k, least, gap = settle(x, squares.clone(), blur, means)
    assert torch.equal(k, exact.argmin(1)) and 0 < (gap <= 0).sum() < 400
    guess, every = torch.randint(30, (400,), generator=generator), torch.ones(400, 30, dtype=torch.bool)
    every[range(400), guess] = False
    rows, points = every.nonzero(as_tuple=True)
    first, others = (guess, squares[range(400), guess]), (rows, points, squares[every])
    found = settle_pairs(x, first, others, blur, means)
    assert torch.equal(found[0], k) and torch.equal(found[1], least)
    assert torch.allclose(found[2][guess == k], gap[guess == k], atol=1e-4) and (found[2] < gap + 1e-4).all()
