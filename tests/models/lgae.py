"""LGAE against scikit-learn's PCA and closed forms; PPCA beside it where both must hold."""

import pickle

import numpy as np
import pytest
import registry
import torch
from gaelib import LGAE, PPCA, data
from gaelib.solvers.eigen import moments, upright
from sklearn.decomposition import PCA


@pytest.fixture(scope="module")
def pca(digits):
    return PCA(10, svd_solver="full").fit(digits)


def sine(A, B):
    """Sine of the largest principal angle between the row spaces of A and B (p, D), orthonormal."""
    return np.linalg.norm(A.T - B.T @ (B @ A.T), 2)


@pytest.mark.parametrize("solver", ["eigh", "svd", "alternate", "gradient"])
def test_every_solver_reaches_pca(digits, pca, solver, parity):
    ours = LGAE(10, solver=solver, random_state=0).fit(digits)
    angle = sine(pca.components_, ours.components_)
    parity(LGAE, PCA, f"subspace of 10 axes on digits by {solver}, sine of the largest angle", angle, 1e-6)
    errors = [((digits - m.inverse_transform(m.transform(digits))) ** 2).mean() for m in (ours, pca)]
    assert abs(errors[0] - errors[1]) < 1e-8
    assert np.abs(ours.mean_ - pca.mean_).max() < 1e-10
    assert np.allclose(ours.explained_variance_, pca.explained_variance_, rtol=1e-8)
    assert np.allclose(ours.components_ @ ours.components_.T, np.eye(10), atol=1e-10)


@pytest.mark.parametrize("solver", ["eigh", "svd"])
def test_closed_forms_equal_pca_entry_by_entry(digits, pca, solver):
    ours = LGAE(10, solver=solver).fit(digits)
    signs = np.sign((ours.components_ * pca.components_).sum(1))
    assert np.abs(ours.components_ - signs[:, None] * pca.components_).max() < 1e-8
    assert (
        np.abs(ours.inverse_transform(ours.transform(digits)) - pca.inverse_transform(pca.transform(digits))).max()
        < 1e-8
    )
    assert (np.take_along_axis(ours.components_, np.abs(ours.components_).argmax(1)[:, None], 1) > 0).all()


def test_batches_and_float32(digits):
    whole = LGAE(5).fit(digits)
    streamed = LGAE(5).fit([digits[i : i + 100] for i in range(0, len(digits), 100)])
    single = LGAE(5).fit(digits.astype(np.float32))
    assert np.abs(whole.components_ - streamed.components_).max() < 1e-10
    assert single.components_.dtype == np.float32 and sine(whole.components_, single.components_) < 1e-4


def test_wide_data(pca):
    X = np.random.default_rng(0).normal(size=(8, 300))
    reference = PCA(5, svd_solver="full").fit(X)
    for solver in ("eigh", "svd"):
        assert sine(reference.components_, LGAE(5, solver=solver).fit(X).components_) < 1e-8


def test_the_score_is_the_objective(digits):
    ours = LGAE(10).fit(digits)
    left = ((digits - ours.inverse_transform(ours.transform(digits))) ** 2).sum(1)
    assert np.abs(ours.score_samples(digits) - (-left - 32 * np.log(np.pi))).max() < 1e-9


@pytest.mark.parametrize("model", [LGAE(3), PPCA(3)], ids=lambda m: type(m).__name__)
def test_torch_and_pickle(model, digits):
    X = torch.tensor(digits)
    model.fit(X)
    assert torch.is_tensor(model.components_) and torch.is_tensor(model.inverse_transform(model.transform(X)))
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again.transform(X), model.transform(X))


@pytest.mark.slow
@pytest.mark.data
def test_fashion_mnist_figures(real_data):
    for centred, expected in ((False, (1215.87, 1216.27)), (True, (1207.76, 1207.98))):
        train, test = (data.fashion_mnist(train=part)[0] for part in (True, False))
        if centred:  # the document author's loader removes each image's own mean
            train, test = (X - X.mean(1, keepdims=True) for X in (train, test))
        ours = LGAE(20).fit(train)
        for X, figure in zip((train, test), expected):
            error = -ours.score(X) / 784 - 0.5 * np.log(np.pi)  # the score is minus the squared error, plus constants
            assert abs(error - figure) < 0.01


class Counted(list):
    """Batches that count how often they are read."""

    readings = 0

    def __iter__(self):
        self.readings += 1
        return super().__iter__()


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 2e-6), (torch.float64, 1e-14)], ids=str)
@pytest.mark.parametrize(("shift", "readings"), [(0.0, 1), (2.0, 1), (30.0, 2), (3e3, 2)])
def test_moments_are_read_once_near_the_origin(dtype, relative, shift, readings):
    """And twice far from it, where sums about the origin would lose the digits that the distance has."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 5, generator=generator, dtype=torch.float64) * torch.arange(1.0, 6.0) + shift
    x = x.to(dtype)
    batches = Counted(x.split(700))
    n, mean, covariance = moments(batches)
    expected = np.cov(x.double().numpy().T, bias=True)
    assert n == 3000 and batches.readings == readings
    assert (mean - x.double().mean(0)).abs().max() <= relative * (1 + shift)
    assert np.abs(covariance.numpy() - expected).max() <= relative * (1 + shift / 10) * expected.max()


def test_moments_of_a_constant_column_and_of_batches_apart():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 0] = 7.3
    x[:10, 1] += 1e6  # the first batch is like no other
    batches = Counted([x[:10], x[10:]])
    _, mean, covariance = moments(batches)
    assert batches.readings == 2 and covariance[0].abs().max() < 1e-9 * 7.3 * covariance[1, 1].sqrt()
    assert covariance[0, 0].abs() < 1e-25 and mean[0] == pytest.approx(7.3, abs=1e-14)
    assert np.allclose(covariance, np.cov(x.numpy().T, bias=True), rtol=1e-12, atol=1e-6)


# --- for the tests that go over every model: tests/registry.py ---


def test_the_side_of_an_axis_does_not_hang_on_rounding():
    """Entries as large as each other, as of two groups of one size: a card rounds them otherwise."""
    axis = torch.tensor([[0.1], [-0.5], [0.5]], dtype=torch.float64)
    for off in (1e-15, -1e-15):
        near = axis * torch.tensor([[1], [1 + off], [1]], dtype=torch.float64)
        assert upright(near)[1] > 0 and torch.equal(upright(-near), upright(near))


ESTIMATORS = [LGAE(n_components=1)]
BAD = {
    "more axes than columns": (lambda: LGAE(5).fit(registry.X), ValueError, "n_components=5", "4 feature", "fewer components"),
    "fewer axes than none": (lambda: LGAE(-1).fit(registry.X), ValueError, "n_components=-1", "at least 1", "pass n_components=1"),
}  # fmt: skip
DEVICES = {
    "LGAE": (LGAE(2), registry.CLOUDS),
    "LGAE by svd": (LGAE(2, solver="svd"), registry.CLOUDS),
    "LGAE in turn": (LGAE(2, solver="alternate", **registry.SEED), registry.CLOUDS),
    "LGAE by gradient": (LGAE(2, solver="gradient", max_iter=3, **registry.SEED), registry.CLOUDS),
}
