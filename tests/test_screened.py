"""Screening points finds what the full table finds, and it does so by its bounds."""

import numpy as np
import pytest
import torch
from gaelib import KMeans
from gaelib.core import Exact, alternate
from gaelib.joints.flats import Flats, nearest
from gaelib.rows import Rows
from gaelib.solvers import pruning as screen
from gaelib.solvers.pruning import Screened


def clouds(n=3000, D=96, K=80, dtype=torch.float64, seed=0, width=6):
    """Rows around K centres that differ in few directions, and the centres: what screening is for."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(K, width, generator=generator, dtype=torch.float64) @ torch.randn(
        width, D, generator=generator, dtype=torch.float64
    )
    rows = means[torch.randint(K, (n,), generator=generator)]
    return (rows + 0.5 * torch.randn(n, D, generator=generator, dtype=torch.float64)).to(dtype), means.to(dtype)


def brute(x, means):
    return torch.cat([(part.double()[:, None] - means.double()).square().sum(2) for part in x.split(200)])


@pytest.fixture
def full(monkeypatch):
    """How often the full table was asked instead."""
    asked = []
    whole = Flats.argmax
    monkeypatch.setattr(Flats, "argmax", lambda self, x: asked.append(len(x)) or whole(self, x))
    return asked


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("seed", range(3))
def test_is_the_nearest(dtype, shift, seed, full):
    x, means = clouds(dtype=dtype, seed=seed)
    x = torch.cat([x, (means[:40] + means[40:]) / 2 + 1e-3 * x[:40]])  # and rows that hardly know where they belong
    x, means = x + shift, means + shift
    joint = Flats(means)
    screened = Screened(joint, [x])
    for _ in range(4):  # the means move away from those that gave the axes
        code = screened.argmax(x)
        squares = brute(x, joint.means)
        chosen = squares.gather(1, code[:, None])[:, 0]
        rounding = torch.finfo(dtype).eps * (1 + shift) * x.shape[1] * squares.max()
        assert (chosen - squares.min(1).values).max() <= rounding
        if dtype == torch.float64:
            assert torch.equal(code, squares.argmin(1))
        joint.means += 0.3 * torch.randn(joint.means.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    assert not full  # no full table was needed


def test_the_bound_is_below_every_distance():
    x, means = clouds(width=60)
    x = torch.cat([x, means])  # at a centre the distance is 0, and so the bound
    screened = Screened(Flats(means), [x])
    codes, sizes = screened.kept[id(x)].codes, screened.kept[id(x)].sizes
    point_sizes, points = screened._shorten(means)
    bounds = sizes[:, None] + point_sizes - 2 * codes @ points.T
    squares = brute(x, means)
    assert (bounds <= squares + 1e-9 * sizes.max()).all()
    assert bounds.median() > 0.5 * squares.median()  # and not far below


def test_few_pairs_are_compared(monkeypatch):
    compared, squares = [], Screened._squares

    def spy(self, x, starts, columns):
        compared.append(len(columns))
        return squares(self, x, starts, columns)

    monkeypatch.setattr(Screened, "_squares", spy)
    x, means = clouds()
    Screened(Flats(means), [x]).argmax(x)
    assert len(x) <= sum(compared) < 0.1 * len(x) * len(means)


def test_of_equals_the_first(full):
    x, means = clouds(K=40)
    joint = Flats(torch.cat([means, means]))
    assert torch.equal(Screened(joint, [x]).argmax(x), nearest(x, means))
    joint = Flats(torch.cat([means[:1], means, means[:1]])[1:])  # a copy far behind
    assert Screened(joint, [x]).argmax(x).max() < len(means)
    assert not full


def test_gives_up_where_the_bounds_rule_out_little(full):
    x = torch.randn(2000, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    joint = Flats(x[:100])  # noise without directions: every centre is about as far
    screened = Screened(joint, [x])
    assert torch.equal(screened.argmax(x), brute(x, joint.means).argmin(1))
    assert full == [2000] and not screened.kept


def test_gives_up_on_overflow(full):
    x, means = clouds(dtype=torch.float32)
    x[5] *= 1e30
    code = Screened(Flats(means), [x]).argmax(x)
    assert full == [len(x)] and code.max() < len(means)


def test_unknown_batches_get_the_full_table(full):
    x, means = clouds()
    screened, copy = Screened(Flats(means), [x]), x.clone()
    k = screened.argmax(copy)
    assert torch.equal(k, brute(x, means).argmin(1)) and full == [len(x)]
    assert_same(screened.stats(copy, k), Flats(means).stats(x, k), 0)


def assert_same(sums, expected, relative):
    """Equal sums, name by name, to a part of the largest entry."""
    assert set(sums) == set(expected)
    for name, value in expected.items():
        away = (sums[name].double() - value.double()).abs().max()
        assert away <= relative * value.double().abs().max(), (name, float(away))


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-4), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_sums_are_those_of_all_rows(dtype, relative, shift, full):
    """Though only rows that changed sides are added and taken away, pass after pass."""
    x, means = clouds(dtype=dtype)
    x, means = x + shift, means + shift
    joint = Flats(means)
    screened = Screened(joint, [x])
    assert screened.far == bool(shift)
    moved, before = torch.zeros(len(x), dtype=torch.int64), None
    for step in range(6):
        k = screened.argmax(x)
        assert_same(screened.stats(x, k), joint.stats(x, k), relative)
        joint.means += 1.2 * torch.randn(means.shape, generator=torch.Generator().manual_seed(step), dtype=dtype)
        assert_same(screened.stats(x, k), joint.stats(x, k), relative)  # found for other means: read anew
        moved, before = moved + (k != before if before is not None else 0), k
    assert 0.05 < moved.double().mean() < 5 and not full


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_square_of_nothing_is_nothing(dtype, full):
    """Although it is found as a difference of large numbers."""
    means = clouds(dtype=dtype)[1]
    x = means.repeat(5, 1)
    screened = Screened(Flats(means), [x])
    assert screened.stats(x, screened.argmax(x))["error"].sum() == 0 and not full


def test_a_second_start_begins_anew(full):
    x, means = clouds()
    joint, other = Flats(means), Flats(means.flip(0))
    screened = Screened(joint, [x])
    screened.stats(x, screened.argmax(x))
    k = screened.follow(other).argmax(x)
    assert screened.means is other.means and torch.equal(k, 79 - Screened(joint, [x]).argmax(x))
    assert_same(screened.stats(x, k), other.stats(x, k), 1e-12)
    screened.update(screened.stats(x, k))
    assert torch.equal(other.means, screened.means) and torch.equal(joint.means, means) and not full


def test_k_means_with_it_is_k_means_without(full):
    X, _ = clouds(K=70, D=480)
    start = X[:70].clone()
    ours = KMeans(70, init=start, tol=0).fit(X.numpy())
    assert not full
    joint = Flats(start, seed=ours.joint_.seed)
    history = alternate(joint, [X], Exact(), 300)
    assert np.abs(ours.cluster_centers_ - joint.means.numpy()).max() < 1e-10
    assert (ours.labels_ == brute(X, joint.means).argmin(1).numpy()).all()
    assert np.allclose(ours.history_, history, rtol=1e-12)


def test_starts_share_it(monkeypatch):
    built = []

    class Counted(Screened):
        def __init__(self, *args):
            built.append(1)
            super().__init__(*args)

    monkeypatch.setattr("gaelib.models.kmeans.Screened", Counted)
    X, _ = clouds(1000, K=70, D=480)
    KMeans(70, n_init=3, max_iter=4, tol=1, random_state=0).fit(X.numpy())
    assert len(built) == 1


@pytest.mark.parametrize(
    ("K", "D", "expected"), [(63, 600, False), (64, 512, True), (64, 511, False), (600, 63, False)]
)
def test_is_for_many_points_with_many_columns(K, D, expected, full):
    X, _ = clouds(max(300, K), D=D, K=K)
    KMeans(K, init=X[:K], max_iter=4, tol=1).fit(X.numpy())
    assert screen.worth_it(X[:K]) == expected == (not full)


def test_views_are_the_callers_memory(tmp_path):
    X = clouds(500)[0].numpy()
    model = KMeans()
    views = Rows(X, model, reset=True).views
    assert np.shares_memory(views[0].numpy(), X) and sum(map(len, views)) == 500
    assert Rows(X[::-1], model, reset=True).views is None  # torch would copy
    assert Rows([X], model, reset=True).views is None
    np.save(tmp_path / "x.npy", X)
    assert Rows(np.load(tmp_path / "x.npy", mmap_mode="r"), model, reset=True).views is None
    data = Rows(torch.tensor(X), model, reset=True)
    assert data.views[0].data_ptr() == data.X.data_ptr() and data.views is data.views
