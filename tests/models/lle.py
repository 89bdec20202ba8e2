"""Locally linear embedding against scikit-learn's weights and map, flat data, and the invariances of its weights."""

import inspect
import pickle

import numpy as np
import pytest
import registry
import torch
from gaelib import LocallyLinearEmbedding, data
from gaelib.models import lle
from gaelib.models.lle import Barycentre, bottom
from gaelib.solvers.neighbours import neighbours
from registry import HOLE
from registry import X as TABLE
from sklearn import manifold
from sklearn.datasets import make_swiss_roll
from sklearn.manifold._locally_linear import barycenter_kneighbors_graph

GROUPS = pytest.mark.filterwarnings("ignore:with n_neighbors=.*groups")


@pytest.fixture(scope="module")
def roll():
    return make_swiss_roll(500, random_state=0)[0]


def turned(found, wanted):
    """The largest difference after the best rotation."""
    left, _, right = np.linalg.svd(found.T @ wanted)
    return np.abs(found @ (left @ right) - wanted).max()


def test_weights_and_map_are_scikit_learns(roll, parity, record_property, monkeypatch):
    record_property("ledger", "L5")
    monkeypatch.setattr(lle, "ENTRIES", 1000)  # in many parts
    ours = LocallyLinearEmbedding(12).fit(roll)
    weights = barycenter_kneighbors_graph(roll, n_neighbors=12, reg=1e-3)
    assert abs(ours.weights_ - weights).max() < 1e-12
    theirs = manifold.LocallyLinearEmbedding(n_neighbors=12, eigen_solver="dense").fit(roll)
    assert abs(ours.reconstruction_error_ - theirs.reconstruction_error_) < 1e-12
    parity(LocallyLinearEmbedding, manifold.LocallyLinearEmbedding,
           "map of a roll of 500 points after a rotation, largest difference", turned(ours.embedding_, theirs.embedding_), 1e-6)  # fmt: skip


@pytest.mark.slow
def test_the_map_of_mnist_is_scikit_learns(real_data):
    pixels = data.mnist(train=False)[0][:1000] / 255.0
    ours = LocallyLinearEmbedding(12).fit_transform(pixels)
    theirs = manifold.LocallyLinearEmbedding(n_neighbors=12, eigen_solver="dense").fit_transform(pixels)
    assert turned(ours, theirs) < 1e-6


def test_dense_and_sparse_solvers_agree(roll, monkeypatch):
    W = LocallyLinearEmbedding(10).fit(roll).weights_
    sparse, values = bottom(W, 3)
    monkeypatch.setattr(lle, "FEW", 500)
    dense, exact = bottom(W, 3)
    assert turned(sparse, dense) < 1e-6 and np.abs(values - exact).max() < 1e-12


def test_the_weights_are_the_best_of_sum_one(roll):
    x = torch.tensor(roll[:60])
    joint = Barycentre(x, neighbours(x, 3)[1], reg=1e-12)
    z = joint.argmax(x)
    best = joint.log_joint(x, z)
    assert (z.sum(1) - 1).abs().max() < 1e-12
    for seed in range(5):
        step = 0.1 * torch.randn(60, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert (joint.log_joint(x, z + step - step.mean(1, keepdim=True)) < best).all()
    by_hand = -(x - (z[:, :, None] * x[joint.index]).sum(1)).square().sum(1) - 1.5 * np.log(np.pi)
    assert (best - by_hand).abs().max() < 1e-12


def test_the_weights_turn_with_the_data(roll):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    weights = LocallyLinearEmbedding(8).fit(roll).weights_
    for moved in (roll @ turn, roll + 50.0, 1e6 * roll, 1e-6 * roll):
        assert abs(LocallyLinearEmbedding(8).fit(moved).weights_ - weights).max() < 1e-8
    assert abs(LocallyLinearEmbedding(8).fit(roll * [1, 1, 3]).weights_ - weights).max() > 0.1


def test_flat_data_come_back_up_to_an_affine_map():
    rng = np.random.default_rng(0)
    flat = rng.random((300, 2))
    y = LocallyLinearEmbedding(8, reg=1e-10).fit_transform(flat @ rng.normal(size=(2, 5)) + 1)
    table = np.column_stack([y, np.ones(300)])
    assert np.abs(table @ np.linalg.lstsq(table, flat)[0] - flat).max() < 1e-5
    assert np.abs(y.T @ y - np.eye(2)).max() < 1e-10 and np.abs(y.sum(0)).max() < 1e-6


def test_history_is_the_score_under_the_weights(roll):
    model = LocallyLinearEmbedding(8).fit(roll)
    left = roll - model.weights_ @ roll
    assert abs(model.history_[0] + (left**2).sum(1).mean() + 1.5 * np.log(np.pi)) < 1e-9 and model.n_iter_ == 1
    rest = model.embedding_ - model.weights_ @ model.embedding_
    assert abs((rest**2).sum() - model.reconstruction_error_) < 1e-10


def test_kinds_batches_and_order(roll):
    whole = LocallyLinearEmbedding(8).fit_transform(roll)
    assert np.abs(LocallyLinearEmbedding(8).fit_transform([roll[:200], roll[200:]]) - whole).max() < 1e-6
    single = LocallyLinearEmbedding(8).fit_transform(roll.astype(np.float32))
    assert single.dtype == np.float32 and turned(single.astype(float), whole) < 0.01
    tensor = LocallyLinearEmbedding(8).fit_transform(torch.tensor(roll))
    assert torch.is_tensor(tensor) and np.abs(tensor.numpy() - whole).max() < 1e-6
    order = np.random.default_rng(0).permutation(500)
    assert turned(LocallyLinearEmbedding(8).fit_transform(roll[order]), whole[order]) < 1e-6
    again = pickle.loads(pickle.dumps(LocallyLinearEmbedding(8).fit(roll)))
    assert np.array_equal(again.embedding_, whole)


def test_copies_are_neighbours(roll):
    y = LocallyLinearEmbedding(8).fit_transform(np.concatenate([roll[:150], roll[:150]]))
    assert np.isfinite(y).all() and np.abs(y[:150] - y[150:]).max() < 0.05 * np.ptp(y)


def test_a_point_among_copies_of_itself_has_even_weights():
    same = Barycentre(torch.ones(3, 2, dtype=torch.float64), torch.tensor([[1, 2], [0, 2], [0, 1]]))
    assert (same.argmax(same.points) == 0.5).all()


def test_groups_without_a_common_neighbour_are_told():
    islands = np.concatenate([np.random.default_rng(i).normal(size=(30, 3)) + 100 * i for i in range(3)])
    with pytest.warns(UserWarning, match=r"n_neighbors=4 the 90 rows fall into 3 groups.*pass more neighbours"):
        y = LocallyLinearEmbedding(4).fit_transform(islands)
    groups = y.reshape(3, 30, 2)
    assert np.ptp(groups, axis=1).max() < 1e-6 < 0.05 < np.ptp(y)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_rows(n):
    y = LocallyLinearEmbedding(n - 1, 1).fit_transform(np.random.default_rng(0).normal(size=(n, 2)))
    assert y.shape == (n, 1) and np.isfinite(y).all()


def test_the_defaults_are_scikit_learns():
    theirs = inspect.signature(manifold.LocallyLinearEmbedding).parameters
    for name, own in inspect.signature(LocallyLinearEmbedding).parameters.items():
        assert name == "device" or own.default == theirs[name].default, name


def test_other_rows_have_no_place():
    model = LocallyLinearEmbedding(4).fit(np.random.default_rng(0).normal(size=(20, 3)))
    assert not any(hasattr(model, name) for name in ("transform", "inverse_transform", "score", "score_samples"))
    assert model.get_feature_names_out().tolist() == ["locallylinearembedding0", "locallylinearembedding1"]


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [LocallyLinearEmbedding(4)]
EXCEPTIONS = {
    "LocallyLinearEmbedding": {
        "check_positive_only_tag_during_fit": "Four neighbours leave the irises in two groups: a warning, and here an error"
    }
}
UNBOUND = {
    "Barycentre": "Every point has neighbours of its own, and the points explain each other: a score, no density (L5c)."
}
BAD = {
    "more neighbours than others": (lambda: LocallyLinearEmbedding(10).fit(TABLE), ValueError, "n_neighbors=10", "got 10 samples", "fewer neighbours"),
    "one row to embed": (lambda: LocallyLinearEmbedding().fit(TABLE[:1]), ValueError, "n_neighbors=5", "got 1 sample", "pass more data"),
    "four rows to embed": (lambda: LocallyLinearEmbedding().fit(TABLE[:4]), ValueError, "at least 6", "got 4 samples", "pass more data"),
    "more axes than rows": (lambda: LocallyLinearEmbedding(3, 10).fit(TABLE), ValueError, "n_components=10", "got 10 samples", "fewer components"),
    "no neighbour": (lambda: LocallyLinearEmbedding(0).fit(TABLE), ValueError, "n_neighbors=0", "at least 1", "pass n_neighbors=1"),
    "weights without a ridge": (lambda: LocallyLinearEmbedding(reg=0).fit(TABLE), ValueError, "reg=0", "above 0", "pass reg=1e-3"),
    "a hole in what is embedded": (lambda: LocallyLinearEmbedding().fit(HOLE), ValueError, "row 3", "column 1", "drop or fill"),
    "new rows to embed": (lambda: LocallyLinearEmbedding(4).fit(TABLE).transform(TABLE), AttributeError, "LocallyLinearEmbedding", "transform", "no attribute"),
}  # fmt: skip
DEVICES = {"LocallyLinearEmbedding": (LocallyLinearEmbedding(8), registry.CLOUDS)}
