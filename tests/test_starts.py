"""Starts: drawn from a sample that is read once, alike however the rows are cut, and as good as from all rows."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from gaelib import LLGAE, GaussianMixture, KMeans, data
from gaelib.rows import Rows
from gaelib.solvers.starts import sample_rows, spread_rows
from gaelib.solvers.together import _falls, ahead
from sklearn.cluster import kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Batches:
    """Counts how often it is read."""

    def __init__(self, *parts):
        self.parts, self.readings = parts, 0

    def __iter__(self):
        self.readings += 1
        return iter(self.parts)


def test_one_row_of_each_share_whatever_the_batches():
    x = np.arange(49_152.0)[:, None]  # twelve times 4096
    whole = sample_rows(Rows(x, KMeans(), reset=True), 8, generator())
    assert len(whole) == 4096
    assert (whole[:, 0] // 12).tolist() == list(range(4096))  # no share is missed
    for rows in (999, 20_000):
        parts = [x[i : i + rows] for i in range(0, len(x), rows)]
        assert torch.equal(sample_rows(Rows(parts, KMeans(), reset=True), 8, generator()), whole)
    assert len(sample_rows(Rows(x, KMeans(), reset=True), 200, generator())) == 6400
    few = sample_rows(Rows(x[:300], KMeans(), reset=True), 8, generator())
    assert np.array_equal(few.numpy(), x[:300])  # all of them


@pytest.mark.parametrize("K", [2, 60])
def test_batches_are_read_as_often_for_many_clusters_as_for_few(K):
    x = np.random.default_rng(0).normal(size=(6000, 4))
    batches = Batches(x[:2500], x[2500:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        KMeans(K, max_iter=2, random_state=0).fit(batches)
    assert batches.readings <= 8


def test_a_read_only_memmap_is_not_copied(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200_000, 40)))  # 61 MiB
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    views = Rows(x, KMeans(), reset=True).views
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22 and all(np.shares_memory(view.numpy(), x) for view in views)


def test_rows_far_from_each_other_are_chosen():
    x = torch.cat([torch.randn(500, 3, generator=generator(k)) * 0.01 + 10 * k for k in range(5)]) + 1e4
    for seed in range(5):
        chosen = spread_rows(x, 5, generator(seed))
        assert ((chosen[:, 0] - 1e4) / 10).round().sort().values.tolist() == [0, 1, 2, 3, 4]


def test_of_the_proposed_rows_the_best_is_kept():
    """As near to all rows as scikit-learn's greedy start, over ten seeds; the worst proposal would leave twice as much."""
    x = np.random.default_rng(0).normal(size=(600, 2))
    left = lambda chosen: ((x[:, None] - chosen) ** 2).sum(2).min(1).sum()
    ours = [left(spread_rows(torch.tensor(x), 20, generator(seed)).numpy()) for seed in range(10)]
    theirs = [left(kmeans_plusplus(x, 20, random_state=seed)[0]) for seed in range(10)]
    assert np.median(ours) < 1.1 * np.median(theirs)


def test_from_a_sample_as_good_as_from_all_rows():
    """Five seeds; the figure of all rows is that of the same draws with every row in the sample."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40_000, 8)) + 4 * rng.normal(size=(30, 8))[rng.integers(30, size=40_000)]
    ends = {True: [], False: []}
    for seed in range(5):
        for sampled, found in ends.items():
            rows = sample_rows(Rows(x, KMeans(), reset=True), 30, generator(seed)) if sampled else torch.tensor(x)
            start = spread_rows(rows, 30, generator(seed)).numpy()
            found.append(KMeans(30, init=start).fit(x).inertia_)
    assert np.median(ends[True]) < 1.01 * np.median(ends[False])


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
@pytest.mark.parametrize("make", [KMeans, lambda K, **rest: LLGAE(K, 1, **rest), GaussianMixture])
def test_fewer_distinct_rows_than_clusters_are_said_with_both_numbers(make, scale):
    x = np.repeat(scale * np.array([[0.0, 0.0], [1, 1], [1, 0], [0, 1]]), 3, 0)
    for rows in (x, [x[:5], x[5:]]):
        with pytest.warns(ConvergenceWarning, match=r"4 distinct rows for n_clusters=6"):
            make(6, random_state=0).fit(rows)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*distinct")
        warnings.filterwarnings("ignore", message=".*max_iter")
        make(4, random_state=0).fit(x)


def test_figures_of_fashion_mnist(real_data):
    """Medians of five seeds: what starts on a sample end with, and on all rows."""
    x = data.fashion_mnist()[0][::10]
    ends = []
    for seed in range(5):
        sample = sample_rows(Rows(x, KMeans(), reset=True), 10, generator(seed))
        starts = (spread_rows(rows, 10, generator(seed)).numpy() for rows in (sample, torch.tensor(x)))
        ends.append([KMeans(10, init=start).fit(x).inertia_ for start in starts])
    sampled, whole = np.median(ends, 0)
    assert sampled < 1.01 * whole


# --- many starts side by side ------------------------------------------------------------------------------


def runs(X, starts):
    """What each start ends with, alone and exactly."""
    return [KMeans(len(start), init=start, tol=0).fit(X).inertia_ for start in starts]


def test_a_start_races_on_by_the_rule_of_alternate():
    """A part of the fall since the second pass, however far the first one came."""
    assert _falls([1e6, 10.0, 9.0, 8.5], 0.2) and not _falls([1e6, 10.0, 9.0, 8.9], 0.2)


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_start_that_ends_best_wins_the_race(seed, offset):
    X = data.digits()[0].astype(np.float32)
    starts = X[np.random.default_rng(seed).integers(0, len(X), (6, 10))]
    expected = runs(X, starts)
    for batches in (X + offset, [X[:700] + offset, X[700:] + offset]):
        won = ahead(Rows(batches, KMeans(), reset=True), torch.tensor(starts + offset), 300, 0.0)
        assert expected[won] <= min(expected) * (1 + 1e-5)
    assert max(expected) > min(expected) * (1 + 1e-3)  # there was something to win


def test_the_race_changes_how_fast_the_best_is_found_and_not_which(monkeypatch):
    X = data.digits()[0]
    model = KMeans(10, n_init=6, random_state=1)
    raced = model.fit(X).labels_.copy(), list(model.history_)
    monkeypatch.setattr("gaelib.solvers.together.RACE", 0)
    in_turn = model.fit(X).labels_, model.history_
    assert np.array_equal(raced[0], in_turn[0]) and np.allclose(raced[1], in_turn[1], rtol=1e-12, atol=0)


def test_a_stream_is_read_once_a_pass_for_all_starts(monkeypatch):
    X, readings = data.digits()[0], []
    for small in (2**23, 0):
        monkeypatch.setattr("gaelib.solvers.together.RACE", small)
        batches = Batches(X[:900], X[900:])
        KMeans(10, n_init=8, random_state=0).fit(batches)
        readings.append(batches.readings)
    assert readings[0] < readings[1] / 2


def test_no_race_where_a_start_would_lose_a_point_or_on_large_tables():
    X = np.concatenate([np.zeros((5, 1)), np.ones((5, 1))])
    rows = Rows(X, KMeans(), reset=True)
    assert ahead(rows, torch.tensor([[[0.0], [9.0]], [[0.0], [1.0]]], dtype=torch.float64), 5, 0.0) is None
    large = Rows(np.zeros((2**20, 1)), KMeans(), reset=True)
    assert ahead(large, torch.zeros(2, 9, 1), 5, 0.0) is None
