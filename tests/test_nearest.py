"""Products behind the nearest, and where empty components go."""

import torch
from gaelib.joints.flats import Flats
from gaelib.solvers.nearest import affine, nearest, project


def test_large_float32_products_carry_their_bias():
    generator = torch.Generator().manual_seed(0)
    x, means = (torch.randn(n, 200, generator=generator) for n in (500, 100))
    means *= torch.linspace(0.1, 3, 100)[:, None]  # of very different lengths: without the bias the longest wins
    squares = (x.double()[:, None] - means.double()).square().sum(2)
    with torch.no_grad():
        assert means.numel() >= 2**14 and (affine(means, squares[0].float())(x[:1] * 0) - squares[0]).abs().max() < 1e-3
        assert torch.equal(nearest(x, means), squares.argmin(1))
        assert (project(x, means)[0] - squares).abs().max() < 1e-3 * squares.max()


def test_two_empty_components_go_to_two_places():
    joint = Flats(torch.tensor([[0.0], [100.0], [7.0], [7.0]], dtype=torch.float64))
    n, error = torch.tensor([[5.0, 5, 0, 0], [10.0, 8, 0, 0]], dtype=torch.float64)
    joint.update({"n": n, "x": torch.zeros(4, 1, dtype=torch.float64), "error": error})
    assert joint.means.round()[:, 0].tolist() == [0, 100, 0, 100]
