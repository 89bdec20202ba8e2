"""The document's recipe in `benchmarks.recipe`: its inference, its gradient and what it reports."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gaelib import data
from gaelib.core import climb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.recipe import FORMS, error, recipe, start


def small(n=6, K=3, D=5, p=2):
    """Rows, means and directions in general position: float64."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    return draw(n, D), draw(K, D).requires_grad_(), draw(K, D, p).requires_grad_()


def slopes(values, params):
    return torch.autograd.grad(values.sum(), params)


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_equals_finite_differences(form):
    x, *params = small()
    errors = error(x, *params, form, rate=0.05)
    for param, slope in zip(params, slopes(errors, params)):
        flat, h = param.detach().view(-1), 1e-6
        for i in range(len(flat)):
            kept = flat[i].clone()
            up, down = (error(x, *params, form, rate=0.05).sum().item() for flat[i] in (kept + h, kept - h))
            flat[i] = kept
            assert abs((up - down) / (2 * h) - float(slope.view(-1)[i])) < 1e-7


@pytest.mark.parametrize("form", FORMS)
def test_its_steps_are_the_core_s_unrolled_climb(form):
    """By autograd twice: the codes climb -(|x - mu - W z|^2 + |z|^2) / 2, and the loss goes back through the steps."""
    x, mu, W = small()

    def joint(z):  # z (n, K, p), as the core wants it
        left = x[:, None] - mu - torch.einsum("kdp,nkp->nkd", W, z)
        return -0.5 * (left.square().sum((1, 2)) + z.square().sum((1, 2)))

    z = climb(joint, torch.zeros(6, 3, 2, dtype=torch.float64), 5, 0.05, unroll=True)
    left = (x[:, None] - mu - torch.einsum("kdp,nkp->nkd", W, z)).square().mean(2)
    theirs, ours = left.min(1).values, error(x, mu, W, form, rate=0.05)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    through = slopes(theirs, (mu, W))
    for a, b in zip(slopes(ours, (mu, W)), through):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)
    early = climb(joint, torch.zeros(6, 3, 2, dtype=torch.float64), 5, 0.05)  # detached: another gradient
    cut = (x[:, None] - mu - torch.einsum("kdp,nkp->nkd", W, early)).square().mean(2).min(1).values
    assert not torch.allclose(slopes(cut, (mu, W))[1], through[1], atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_many_steps_reach_the_closed_form(form):
    x, mu, W = small()
    gram = W.mT @ W + torch.eye(2, dtype=torch.float64)
    away = x - mu[:, None]
    z = torch.linalg.solve(gram, (away @ W).mT).mT
    closed = (away - z @ W.mT).square().mean(2).min(0).values
    assert torch.allclose(error(x, mu, W, form, steps=2000, rate=0.05), closed, rtol=0, atol=1e-10)


def test_the_start_is_small_and_uniform():
    mu, W = start(11, 784, 20, torch.Generator().manual_seed(0))
    for part, bound in ((mu, 784**-0.5), (W, (11 * 784 * 20) ** -0.5)):
        assert part.requires_grad and 0.95 * bound < part.abs().max() <= bound
        assert abs(float(part.detach().std()) - bound / 3**0.5) < 0.02 * bound


def test_a_run_reports_falling_losses_and_the_time_of_an_epoch():
    X = data.digits()[0]
    runs = {form: recipe(X, 3, 4, batches=30, seed=1, form=form, batch=200) for form in FORMS}
    for run in runs.values():
        assert len(run["losses"]) == 30 and run["losses"][-1] < 0.9 * run["losses"][0]
        assert run["seconds_per_epoch"] == run["seconds_per_batch"] * len(X) / 200 > 0
        assert np.allclose(run["losses"], runs["products"]["losses"], rtol=1e-3)
    again = recipe(X, 3, 4, batches=30, seed=1, batch=200)
    assert again["losses"] == runs["products"]["losses"]


def test_one_batch_is_refused():
    with pytest.raises(ValueError, match=r"batches=1 leaves none to time.*at least 2"):
        recipe(np.eye(3), 1, 1, batches=1)
