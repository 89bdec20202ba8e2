"""PPCA against scikit-learn's PCA, closed forms and sampling."""

import math

import numpy as np
import pytest
import registry
import torch
from gaelib import PPCA
from gaelib.core import Soft, alternate, objective
from gaelib.joints.linear import LinearGaussian
from lgae import sine
from registry import X
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(10, svd_solver="full").fit(digits)


def test_ppca_equals_pca_score_at_its_parameters(digits, pca, parity):
    weights = pca.components_.T * np.sqrt(pca.explained_variance_ - pca.noise_variance_)
    joint = LinearGaussian(torch.tensor(pca.mean_), torch.tensor(weights), float(pca.noise_variance_))
    ours = objective(joint, torch.tensor(digits), Soft(1.0)).numpy()
    difference = np.abs(ours / pca.score_samples(digits) - 1).max()
    parity(PPCA, PCA, "log evidence of each digit at PCA's parameters, largest relative difference", difference, 1e-10)
    assert abs(ours.mean() - pca.score(digits)) < 1e-10


@pytest.mark.parametrize("solver", ["eigh", "em"])
def test_its_own_fit_scores_no_less(digits, pca, solver, parity):
    ours = PPCA(10, solver=solver, random_state=0, tol=1e-12, max_iter=3000).fit(digits)
    assert ours.score(digits) >= pca.score(digits) - 1e-9
    angle = sine(pca.components_, ours.components_)
    parity(PPCA, PCA, f"subspace of 10 axes on digits by {solver}, sine of the largest angle", angle, 1e-3)


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_the_noise_has_the_data_s_precision_in_any_unit(digits, unit):
    variance = np.linalg.eigvalsh(np.cov(digits.T, bias=True))[:-10].mean()
    assert abs(PPCA(10).fit(digits * unit).noise_variance_ / (variance * unit**2) - 1) < 1e-12


def test_em_never_lowers_the_evidence_and_ends_at_the_closed_form(digits):
    closed, em = (
        PPCA(3, solver=solver, random_state=1, tol=1e-13, max_iter=5000).fit(digits[:, 2:9])
        for solver in ("eigh", "em")
    )
    assert np.diff(em.history_).min() > -1e-10
    assert abs(em.score(digits[:, 2:9]) - closed.score(digits[:, 2:9])) < 1e-8
    assert abs(em.noise_variance_ - closed.noise_variance_) < 1e-4 * closed.noise_variance_


def test_the_density_is_the_gaussian_it_should_be_and_integrates_to_one():
    joint = LinearGaussian(
        torch.tensor([0.5, -0.2], dtype=torch.float64), torch.tensor([[1.0], [0.7]], dtype=torch.float64), 0.3
    )
    grid = torch.linspace(-9, 9, 601, dtype=torch.float64)
    x = torch.cartesian_prod(grid, grid)
    density = objective(joint, x, Soft(1.0))
    W = joint.weights.numpy()
    reference = multivariate_normal([0.5, -0.2], W @ W.T + 0.3 * np.eye(2)).logpdf(x.numpy())
    assert np.abs(density.numpy() - reference).max() < 1e-10
    assert abs(float(density.exp().sum()) * float(grid[1] - grid[0]) ** 2 - 1) < 1e-9


@pytest.mark.parametrize("T", [0.3, 1.0, 2.0])
def test_at_every_temperature_it_is_the_free_energy(T):
    """T log of the integral of exp(l/T), by quadrature."""
    joint = LinearGaussian(torch.zeros(2).double(), torch.tensor([[1.0], [0.7]]).double(), 0.3)
    x = torch.tensor([[1.0, -1.0], [0.2, 3.0]]).double()
    u = torch.linspace(-30, 30, 6001, dtype=torch.float64)[:, None]
    l = torch.stack([joint.log_joint(row.expand(len(u), 2), u) for row in x])
    free = T * ((l / T).logsumexp(1) + math.log(0.01))
    assert torch.allclose(objective(joint, x, Soft(T)), free, rtol=0, atol=1e-10)


def test_temperature_and_expectation_agree_with_sampling():
    joint = LinearGaussian(torch.zeros(3).double(), torch.tensor([[1.0, 0.2], [0.0, 1.0], [0.5, 0.5]]).double(), 0.4)
    x = torch.tensor([[1.0, -1.0, 0.3]]).double()
    (mean, spread), _ = joint.posterior(x, 0.7)
    draws = (
        mean
        + torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0)).double() @ torch.linalg.cholesky(spread).T
    )
    sampled = joint.log_joint(x.expand(len(draws), 3), draws).mean()
    assert abs(float(sampled - joint.log_joint(x, (mean, spread)))) < 0.01


def test_em_moves_the_mean_too():
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)).double() * 2 + torch.tensor([7.0, -3, 1])
    joint = LinearGaussian(torch.zeros(3).double(), torch.tensor([[1.0], [0.7], [0.2]]).double(), 0.3)
    alternate(joint, [x], Soft(1.0), 400, 0.0)
    assert (joint.mean - x.mean(0)).abs().max() < 1e-3


def test_samples_have_the_model_s_moments(digits):
    ours = PPCA(5).fit(digits)
    drawn = ours.sample(200_000, random_state=0)
    covariance = ours.components_.T * (
        ours.explained_variance_ - ours.noise_variance_
    ) @ ours.components_ + ours.noise_variance_ * np.eye(64)
    assert np.abs(drawn.mean(0) - ours.mean_).max() < 0.1
    assert np.abs(np.cov(drawn.T) - covariance).max() < 0.02 * covariance.max()
    assert np.array_equal(ours.sample(3, random_state=1), ours.sample(3, random_state=1))


def test_imputation_is_the_conditional_mean(digits):
    ours = PPCA(5).fit(digits)
    holes = digits[:20].copy()
    holes[np.random.default_rng(0).random(holes.shape) < 0.3] = np.nan
    filled = ours.impute(holes)
    W = ours.joint_.weights.numpy()
    covariance = W @ W.T + ours.noise_variance_ * np.eye(64)
    for row, answer in zip(holes, filled):
        gone = np.isnan(row)
        assert np.array_equal(answer[~gone], row[~gone])
        expected = ours.mean_[gone] + covariance[np.ix_(gone, ~gone)] @ np.linalg.solve(
            covariance[np.ix_(~gone, ~gone)], row[~gone] - ours.mean_[~gone]
        )
        assert np.abs(answer[gone] - expected).max() < 1e-9
    assert np.array_equal(ours.impute(digits[:5]), digits[:5])


# --- for the tests that go over every model: tests/registry.py ---


@pytest.mark.parametrize("solver", ["eigh", "em"])
def test_a_column_in_a_small_unit_leaves_noise_in_the_others(solver):
    """A variance 1e12 times another is no flat: its rounding is less than the other by far."""
    x = np.random.default_rng(0).normal(size=(500, 4)) * [1e6, 1, 1, 1]
    model = PPCA(1, solver=solver, random_state=0).fit(x)
    assert model.noise_variance_ == pytest.approx(x[:, 1:].var(0).mean(), rel=1e-2)


ESTIMATORS = [PPCA(n_components=1)]
UNBOUND = {
    "LinearGaussian": "Its code is a posterior with a covariance, not one of many points: it is tested against densities above."
}
BAD = {
    "rows without noise": (lambda: PPCA(1).fit(np.outer(np.arange(9.0), [1, 2, 3])), ValueError, "a flat of 1 dimension", "the other 2", "pass fewer components, or LGAE"),
    "as many axes as columns": (lambda: PPCA(4).fit(X), ValueError, "n_components=4", "4 feature", "pass at most 3"),
    "fewer than no axes": (lambda: PPCA(-1).fit(X), ValueError, "n_components=-1", "at least 1", "pass n_components=1"),
}  # fmt: skip
DEVICES = {
    "PPCA": (PPCA(2), registry.CLOUDS),
    "PPCA by EM": (PPCA(2, solver="em", max_iter=20, **registry.SEED), registry.CLOUDS),
}
