"""A memory of known rows finds what the full table finds, and it does so by its bounds."""

import numpy as np
import pytest
import torch
from gaelib import KMeans
from gaelib.core import Exact, alternate
from gaelib.joints.flats import Flats, nearest
from gaelib.rows import Rows
from gaelib.solvers import pruning
from gaelib.solvers.nearest import affine as nearest_affine
from gaelib.solvers.pruning import AXES, Known, worth_it


def clouds(n=3000, D=96, K=160, dtype=torch.float64, seed=0, width=6):
    """Rows around K centres that differ in few directions, and the centres: what screening is for."""
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(K, width, generator=generator, dtype=torch.float64) @ torch.randn(
        width, D, generator=generator, dtype=torch.float64
    )
    rows = means[torch.randint(K, (n,), generator=generator)]
    return (rows + 0.5 * torch.randn(n, D, generator=generator, dtype=torch.float64)).to(dtype), means.to(dtype)


def brute(x, means):
    return torch.cat([(part.double()[:, None] - means.double()).square().sum(2) for part in x.split(200)])


def ask(joint, x):
    return Known(joint, [x])(joint, x)[0]


def step(joint, size, seed):
    joint.means += size * torch.randn(
        joint.means.shape, generator=torch.Generator().manual_seed(seed), dtype=joint.means.dtype
    )


@pytest.fixture
def full(monkeypatch):
    """How many rows were compared with all points instead."""
    asked, whole = [], Flats.argmax

    def spied(weights, bias):  # a product with the points has all columns, one with their shadows few
        of = nearest_affine(weights, bias)
        return of if weights.shape[1] <= AXES + 1 else lambda x: asked.append(len(x)) or of(x)

    monkeypatch.setattr(Flats, "argmax", lambda self, x: asked.append(len(x)) or whole(self, x))
    monkeypatch.setattr(pruning, "affine", spied)
    return asked


def compared(monkeypatch):
    """Of how many rows the points were compared, call by call."""
    asked = []
    for name in ("settle", "settle_pairs"):
        whole = getattr(pruning, name)
        monkeypatch.setattr(pruning, name, lambda x, *args, f=whole: asked.append(len(x)) or f(x, *args))
    return asked


def assert_same(sums, expected, relative):
    """Equal sums, name by name, to a part of the largest entry."""
    assert set(sums) == set(expected)
    for name, value in expected.items():
        away = (sums[name].double() - value.double()).abs().max()
        assert away <= relative * value.double().abs().max(), (name, float(away))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("seed", range(3))
def test_is_the_nearest(dtype, shift, seed, full):
    x, means = clouds(dtype=dtype, seed=seed)
    x = torch.cat([x, (means[:80] + means[80:]) / 2 + 1e-3 * x[:80]])  # and rows that hardly know where they belong
    x, means = x + shift, means + shift
    joint = Flats(means)
    known = Known(joint, [x])
    for _ in range(4):  # the means move away from those that gave the axes
        code = known(joint, x)[0]
        assert torch.equal(code, brute(x, joint.means).argmin(1))
        step(joint, 0.3, seed)
    assert not full  # no full table was needed


def test_the_bound_is_below_every_distance():
    x, means = clouds(width=60)
    x = torch.cat([x, means])  # at a centre the distance is 0, and so the bound
    known = Known(Flats(means), [x])
    known._look(known.joint)
    sizes, codes = known._shorten(x)
    bounds = sizes[:, None] + torch.cat([torch.tensor(table.copy()) for _, table in known._bounds(codes)])
    squares = brute(x, means)
    assert (bounds <= squares + 1e-9 * sizes.max()).all()
    assert bounds.median() > 0.5 * squares.median()  # and not far below


def test_few_pairs_are_compared(monkeypatch):
    compared, squares = [], Known._squares

    def spy(self, x, starts, columns):
        compared.append(len(columns))
        return squares(self, x, starts, columns)

    monkeypatch.setattr(Known, "_squares", spy)
    x, means = clouds()
    joint = Flats(means)
    known = Known(joint, [x])
    known(joint, x)
    assert len(x) <= sum(compared) < 0.1 * len(x) * len(means)
    step(joint, 0.5, 0)  # so far that to keep slack would be dear
    known(joint, x)
    assert sum(compared) < 0.2 * len(x) * len(means)


def test_of_equals_the_first(full):
    x, means = clouds(K=80)
    assert torch.equal(ask(Flats(torch.cat([means, means])), x), nearest(x, means))
    full.clear()
    joint = Flats(torch.cat([means[:1], means, means, means[:1]])[1:])  # a copy far behind
    assert ask(joint, x).max() < len(means) and not full


def test_rounding_alone_rules_nobody_out(full):
    """Each row is a point that has a twin within float32's rounding; only residuals tell the two apart."""
    means = clouds(dtype=torch.float32)[1]
    twins = means * (1 + 1e-5 * torch.rand(means.shape, generator=torch.Generator().manual_seed(0)))
    points = torch.cat([means, twins])
    for x in (points, points.flip(0)):
        assert torch.equal(ask(Flats(points), x), brute(x, points).argmin(1)) and not full


def test_gives_up_where_the_bounds_rule_out_little(full):
    x = torch.randn(2000, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    joint = Flats(x[:200])  # noise without directions: every centre is about as far
    known = Known(joint, [x])
    assert torch.equal(known(joint, x)[0], brute(x, joint.means).argmin(1))
    assert sum(full) == 2000 and known.kept[id(x)].codes is None


def test_gives_up_on_overflow(full):
    x, means = clouds(dtype=torch.float32)
    x[5] *= 1e30
    assert torch.equal(ask(Flats(means), x), brute(x, means).argmin(1)) and sum(full) == len(x)


def test_unknown_batches_get_the_full_table(full):
    x, means = clouds()
    joint = Flats(means)
    known, copy = Known(joint, [x]), x.clone()
    k = known(joint, copy)[0]
    assert torch.equal(k, brute(x, means).argmin(1)) and full[0] == len(x)
    assert_same(known.stats(copy, k), joint.stats(x, k), 0)


@pytest.mark.parametrize("K", [1, 2, 7, 160])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_with_slack_are_not_read_and_keep_their_point(K, dtype, monkeypatch):
    x, means = clouds(K=K, D=70, dtype=dtype)
    x = torch.cat([x, (means + means.roll(1, 0)) / 2 + 1e-3 * x[:K]])  # and rows that soon change sides
    joint, asked = Flats(means), compared(monkeypatch)
    known = Known(joint, [x])
    for turn in range(12):
        k = known(joint, x)[0]
        assert torch.equal(k, brute(x, joint.means).argmin(1))
        assert_same(known.stats(x, k), joint.stats(x, k), 1e-4 if dtype == torch.float32 else 1e-11)
        step(joint, 0.02, turn)
    assert len(x) <= sum(asked) < 0.9 * 12 * len(x)


@pytest.mark.parametrize("K", [7, 160])
def test_rows_are_copied_only_if_few_are_asked(K, monkeypatch):
    x, means = clouds(K=K)
    asked, joint = [], Flats(means)
    for name in ("settle", "settle_pairs"):
        whole = getattr(pruning, name)
        monkeypatch.setattr(pruning, name, lambda x, *args, f=whole: asked.append(x) or f(x, *args))
    known = Known(joint, [x])
    known(joint, x)
    for part in (0.9, 0.5):
        asked.clear()
        known.kept[id(x)].slack[:] = torch.where(torch.arange(len(x)) < part * len(x), -1.0, torch.inf)
        assert torch.equal(known(joint, x)[0], brute(x, means).argmin(1))
        copied = [y for y in asked if y.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()]
        assert sum(map(len, asked)) == (len(x) if part > 0.75 else part * len(x)) and bool(copied) == (part < 0.75)


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-4), (torch.float64, 1e-11)], ids=str)
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_sums_are_those_of_all_rows(dtype, relative, shift, full):
    """Though only rows that changed sides are added and taken away, pass after pass."""
    x, means = clouds(dtype=dtype)
    x, means = x + shift, means + shift
    joint = Flats(means)
    known = Known(joint, [x])
    assert known.far == bool(shift) and known.rows > 700
    known.rows = 700  # several blocks, not all as long
    moved, before = torch.zeros(len(x), dtype=torch.int64), known(joint, x)[0].clone()
    for turn in range(6):
        code = known(joint, x)[0]
        k = code.clone()
        assert_same(known.stats(x, code), joint.stats(x, k), relative)
        step(joint, 1.2, turn)
        for z in (code, k):  # found for other means; and a copy, for which they are read anew
            assert_same(known.stats(x, z), joint.stats(x, z), relative)
        moved, before = moved + (k != before), k
    assert 0.05 < moved.double().mean() < 5 and not full


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("K", [5, 160])
def test_a_square_of_nothing_is_nothing(dtype, K):
    """Although it is found as a difference of large numbers."""
    means = clouds(dtype=dtype, K=K)[1]
    x = means.repeat(5, 1)
    joint = Flats(means)
    known = Known(joint, [x])
    assert known.stats(x, known(joint, x)[0])["error"].sum() == 0


def test_a_second_start_begins_anew(full):
    x, means = clouds()
    joint, other = Flats(means), Flats(means.flip(0))
    known = Known(joint, [x])
    known.stats(x, known(joint, x)[0])
    k = known(other, x)[0]
    assert torch.equal(k, len(means) - 1 - ask(joint, x))
    assert_same(known.stats(x, k), other.stats(x, k), 1e-11)
    other.update(known.stats(x, k))
    assert not torch.equal(other.means, means.flip(0)) and torch.equal(joint.means, means) and not full


@pytest.mark.parametrize(("K", "D"), [(7, 3), (140, 80)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_k_means_with_it_is_k_means_without(K, D, dtype):
    X = clouds(K=K, D=D)[0].numpy().astype(dtype)
    start = X[:K].copy()
    ours = KMeans(K, init=start, tol=0).fit(X)
    joint = Flats(torch.tensor(start), seed=ours.joint_.seed)
    history = alternate(joint, [torch.tensor(X)], Exact(), 300)
    close = 1e-10 if dtype == "f8" else 1e-4
    assert np.abs(ours.cluster_centers_ - joint.means.numpy()).max() < close
    assert (ours.labels_ == brute(torch.tensor(X), joint.means).argmin(1).numpy()).all()
    same = min(len(history), ours.n_iter_)
    assert np.allclose(ours.history_[:same], history[:same], rtol=close)


def test_starts_share_it(monkeypatch):
    built = []

    class Counted(Known):
        def __init__(self, *args):
            built.append(1)
            super().__init__(*args)

    monkeypatch.setattr("gaelib.solvers.together.Known", Counted)
    X, _ = clouds(1000, K=140, D=480)
    KMeans(140, n_init=3, max_iter=4, tol=1, random_state=0).fit(X.numpy())
    assert len(built) == 1


@pytest.mark.parametrize(("K", "D", "expected"), [(64, 600, False), (65, 64, True), (600, 63, False)])
def test_shadows_are_for_many_points_with_many_columns(K, D, expected):
    X, _ = clouds(K, D=D, K=K)
    assert worth_it(X[:K]) == expected == (Known(Flats(X[:K]), [X]).axes is not None)


def test_views_are_the_callers_memory(tmp_path):
    X = clouds(500)[0].numpy()
    model = KMeans()
    views = Rows(X, model, reset=True).views
    assert np.shares_memory(views[0].numpy(), X) and sum(map(len, views)) == 500
    assert Rows(X[::-1], model, reset=True).views is None  # torch would copy
    assert Rows([X], model, reset=True).views is None
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.shares_memory(Rows(mapped, model, reset=True).views[0].numpy(), mapped)
    data = Rows(torch.tensor(X), model, reset=True)
    assert data.views[0].data_ptr() == data.X.data_ptr() and data.views is data.views


@pytest.mark.parametrize("K", [4, 80])
def test_what_is_kept_of_rows_goes_into_its_place(monkeypatch, K):
    """Small answers that stay between large temporaries would keep the heap from shrinking."""
    left, each = [], pruning.each

    def watched(f, parts):
        left.extend(found := each(f, parts))
        return found

    monkeypatch.setattr(pruning, "each", watched)
    x = torch.randn(5000, 64, generator=torch.Generator().manual_seed(0))
    batch = pruning.Known(Flats(x[:K]), [x]).kept[id(x)]
    assert left == [None] * 3 and torch.equal(batch.sizes, torch.linalg.vecdot(x, x))
