"""Starts: drawn from a sample that is read once, alike however the rows are cut, and as good as from all rows."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from gaelib import LLGAE, GaussianMixture, KMeans, data
from gaelib.rows import Rows
from gaelib.solvers.starts import sample_rows, spread_rows
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
