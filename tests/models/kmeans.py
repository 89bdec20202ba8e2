"""KMeans against scikit-learn, hand-computed cases and its own promises."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
import registry
import torch
from gaelib import KMeans
from gaelib.core import Exact, alternate
from gaelib.joints.flats import Flats, nearest, project
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import ENDLESS, HOLE, X
from sklearn.cluster import KMeans as Reference
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning


@pytest.fixture(scope="module")
def reference(digits):
    return Reference(10, init=digits[:10], n_init=1, tol=0, algorithm="lloyd").fit(digits)


def test_equals_scikit_learn(digits, reference, parity):
    ours = KMeans(10, init=digits[:10], tol=0).fit(digits)
    difference = np.abs(ours.cluster_centers_ - reference.cluster_centers_).max()
    parity(KMeans, Reference, "centres on digits from the same start, largest difference", difference, 1e-10)
    difference = abs(ours.inertia_ / reference.inertia_ - 1)
    parity(KMeans, Reference, "inertia, relative difference", difference, 1e-10)
    assert (ours.labels_ == reference.labels_).all()
    assert (ours.predict(digits) == reference.predict(digits)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "n"), [(1, 200), (100, 1797), (1797, 1797)])
def test_batches_equal_the_whole(digits, rows, n):
    X = digits[:n]
    whole = KMeans(10, random_state=0, tol=0).fit(X)
    streamed = KMeans(10, random_state=0, tol=0).fit([X[i : i + rows] for i in range(0, n, rows)])
    assert np.abs(whole.cluster_centers_ - streamed.cluster_centers_).max() < 1e-10
    assert (whole.labels_ == streamed.labels_).all()


def test_memmap_and_data_loader(digits, tmp_path):
    whole = KMeans(10, random_state=0).fit(digits)
    stored = np.memmap(tmp_path / "x", dtype=digits.dtype, mode="w+", shape=digits.shape)
    stored[:] = digits
    stored.flush()
    mapped = KMeans(10, random_state=0).fit(np.memmap(tmp_path / "x", dtype=digits.dtype, mode="r", shape=digits.shape))
    loader = torch.utils.data.DataLoader(torch.tensor(digits), batch_size=256)
    loaded = KMeans(10, random_state=0).fit(loader)
    assert np.abs(whole.cluster_centers_ - mapped.cluster_centers_).max() < 1e-10
    assert np.abs(whole.cluster_centers_ - loaded.cluster_centers_.numpy()).max() < 1e-10


def test_torch_in_torch_out(digits):
    X = torch.tensor(digits, dtype=torch.float32)
    km = KMeans(10, random_state=0).fit(X)
    for value in (
        km.cluster_centers_,
        km.predict(X),
        km.transform(X),
        km.score_samples(X),
        km.inverse_transform(km.transform(X)),
    ):
        assert torch.is_tensor(value)
    assert km.cluster_centers_.dtype == torch.float32
    assert isinstance(km.predict(digits), np.ndarray)  # an answer is of the kind of its question


def test_decoding_a_code_gives_the_centre(digits):
    km = KMeans(10, random_state=0).fit(digits)
    assert np.array_equal(km.inverse_transform(km.transform(digits)), km.cluster_centers_[km.labels_])


def test_score_is_the_objective(digits):
    km = KMeans(10, random_state=0, tol=0).fit(digits)
    D = digits.shape[1]
    by_hand = -np.log(10) - km.inertia_ / len(digits) - 0.5 * D * np.log(np.pi)
    assert abs(km.score(digits) - by_hand) < 1e-9
    assert abs(km.history_[-1] - by_hand) < 1e-9


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(3, 40), D=st.integers(1, 4), K=st.integers(1, 8), seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-6, 1.0, 1e6]), shift=st.sampled_from([0.0, 1e3]), copies=st.booleans(), bad_start=st.booleans(),
)  # fmt: skip
def test_the_objective_never_falls(n, D, K, seed, scale, shift, copies, bad_start):
    rng = np.random.default_rng(seed)
    K = min(K, n)
    X = (rng.integers(0, 3, (n, D)) if copies else rng.normal(size=(n, D))) * scale + shift * scale
    start = np.repeat(X[:1] + scale * 50, K, 0) if bad_start else X[:K]  # all centres on one far spot: K-1 are empty
    joint = Flats(torch.tensor(start, dtype=torch.float64), seed=seed)
    history = alternate(joint, [torch.tensor(X, dtype=torch.float64)], Exact(), 20)
    assert all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(history))


def test_empty_components_come_back():
    X = np.concatenate([np.random.default_rng(0).normal(c, 0.1, (50, 2)) for c in (0, 5, 10)])
    start = np.concatenate([X[:1], np.full((2, 2), 1e3)])
    km = KMeans(3, init=start, tol=0).fit(X)
    assert sorted(np.bincount(km.labels_, minlength=3)) == [50, 50, 50]


def test_a_cluster_of_copies_is_not_where_an_empty_one_goes():
    X = np.concatenate([np.zeros((100, 1)), np.array([[10.0], [12.0], [30.0], [32.0]])])
    km = KMeans(3, init=np.array([[0.0], [20.0], [1e6]]), tol=0).fit(X)
    assert sorted(km.cluster_centers_.ravel().round(6)) == [0.0, 11.0, 31.0]


def test_spreading_the_start_beats_chance(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        spread = [KMeans(10, random_state=s, max_iter=1).fit(digits).history_[0] for s in range(5)]
        rng = np.random.default_rng(0)
        chance = [
            KMeans(10, init=digits[rng.choice(len(digits), 10, False)], max_iter=1).fit(digits).history_[0]
            for _ in range(5)
        ]
    assert np.median(spread) > np.median(chance)


def test_more_starts_are_no_worse(digits):
    one, five = (KMeans(10, random_state=3, n_init=n).fit(digits) for n in (1, 5))
    assert five.history_[-1] >= one.history_[-1]


def test_same_seed_same_answer_and_nothing_global_moves(digits):
    before, torch_before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    a, b = (KMeans(10, random_state=7).fit(digits) for _ in range(2))
    KMeans(3).fit(digits[:50])
    assert np.array_equal(a.cluster_centers_, b.cluster_centers_)
    assert np.array_equal(before, np.random.get_state()[1]) and torch.equal(torch_before, torch.random.get_rng_state())  # noqa: NPY002


@pytest.mark.parametrize(
    "seed",
    [None, 0, np.int64(3), np.random.RandomState(0), np.random.default_rng(0)],
    ids=lambda seed: type(seed).__name__,
)
def test_every_kind_of_seed(digits, seed):
    assert KMeans(2, random_state=seed).fit(digits[:20]).inertia_ > 0


def test_pickle(digits):
    km = KMeans(10, random_state=0).fit(digits)
    assert np.array_equal(pickle.loads(pickle.dumps(km)).transform(digits), km.transform(digits))


def test_an_interrupted_fit_keeps_its_best(digits, monkeypatch):
    steps = []

    def update(self, sums, whole=Flats.update):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        whole(self, sums)

    monkeypatch.setattr(Flats, "update", update)
    km = KMeans(10, random_state=0, tol=0)
    with pytest.raises(KeyboardInterrupt):
        km.fit(digits)
    assert km.predict(digits).shape == (len(digits),) and km.n_iter_ == 3


def test_too_few_steps_warn(digits):
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        KMeans(10, random_state=0, max_iter=2).fit(digits)


def test_far_from_the_origin_no_digit_is_lost():
    X = torch.randn(200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centres = X[:7]
    brute = (X[:, None] - centres).square().sum(2)
    for shift in (0.0, 1e6):
        assert torch.allclose(project(X + shift, centres + shift)[0], brute, atol=1e-6)
        assert torch.equal(nearest(X + shift, centres + shift), brute.argmin(1))


def test_one_flat_reaches_pca(digits):
    X = torch.tensor(digits)
    basis = torch.linalg.qr(torch.randn(64, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    joint = Flats(X[:1], basis[None])
    alternate(joint, [X], Exact(), 400)
    pca = PCA(5, svd_solver="full").fit(digits)
    best = ((digits - pca.inverse_transform(pca.transform(digits))) ** 2).sum(1).mean()
    ours = float((X - joint.decode(joint.argmax(X))).square().sum(1).mean())
    assert abs(ours - best) < 1e-6 * best


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [KMeans(n_clusters=3, random_state=0)]


def km(**options):
    return KMeans(**({"n_clusters": 2, "random_state": 0} | options))


def fitted():
    return km().fit(X)


class iter_again:
    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        return iter(self.parts)


BAD = {
    "more clusters than samples": (lambda: km(n_clusters=12).fit(X), ValueError, "n_clusters=12", "10 samples", "fewer clusters"),
    "no clusters": (lambda: km(n_clusters=0).fit(X), ValueError, "n_clusters=0", "at least 1", "pass n_clusters=1 or more"),
    "clusters in words": (lambda: km(n_clusters="2").fit(X), ValueError, "n_clusters='2'", "integer", "pass n_clusters=1"),
    "half a step": (lambda: km(max_iter=1.5).fit(X), ValueError, "max_iter=1.5", "at least 1", "pass max_iter=1"),
    "no start": (lambda: km(n_init=0).fit(X), ValueError, "n_init=0", "at least 1", "pass n_init=1"),
    "negative tolerance": (lambda: km(tol=-1).fit(X), ValueError, "tol=-1", "at least 0", "pass tol=0"),
    "unknown init": (lambda: km(init="random").fit(X), ValueError, "'random'", "unknown", "pass 'k-means++'"),
    "init of the wrong shape": (lambda: km(init=X[:3]).fit(X), ValueError, "(3, 4)", "(2, 4)", "one row per cluster"),
    "init of the wrong width": (lambda: km(init=X[:2, :3]).fit(X), ValueError, "(2, 3)", "(2, 4)", "one row per cluster"),
    "init with a hole": (lambda: km(init=HOLE[2:4]).fit(X), ValueError, "1 non-finite", "8 entries", "pass finite numbers"),
    "negative seed": (lambda: km(random_state=-1).fit(X), ValueError, "random_state=-1", "below 0", "non-negative integer"),
    "seed in words": (lambda: km(random_state="a").fit(X), ValueError, "'a'", "no seed", "pass None, an integer"),
    "unknown device": (lambda: km(device="abacus").fit(X), ValueError, "'abacus'", "not to be had", "use 'auto' or 'cpu'"),
    "a hole": (lambda: km().fit(HOLE), ValueError, "row 3, column 1", "nan", "drop or fill"),
    "an infinite entry": (lambda: km().fit(ENDLESS), ValueError, "row 9, column 3", "inf", "drop or fill"),
    "a hole in a tensor": (lambda: km().fit(torch.tensor(HOLE)), ValueError, "row 3, column 1", "nan", "drop or fill"),
    "a hole in a batch": (lambda: km().fit([X, HOLE]), ValueError, "row 3, column 1", "nan", "drop or fill"),
    "one axis": (lambda: km().fit(X[0]), ValueError, "Expected 2D array", "1D array", "one row per sample"),
    "three axes": (lambda: km().fit(X[None]), ValueError, "dim 3", "<= 2", "flatten"),
    "no rows": (lambda: km().fit(X[:0]), ValueError, "0 sample(s)", "minimum of 1", "pass at least one row"),
    "no columns": (lambda: km().fit(X[:, :0]), ValueError, "0 feature(s)", "minimum of 1", "pass at least one column"),
    "no batch": (lambda: km().fit(iter_again([])), ValueError, "0 batches", "got", "pass at least one array"),
    "a generator": (lambda: km().fit(x for x in [X]), TypeError, "only once", "many times", "pass a list"),
    "batches of two widths": (lambda: km().fit([X, X[:, :3]]), ValueError, "3 features", "4 features", "pass the columns"),
    "complex numbers": (lambda: km().fit(X + 1j), ValueError, "Complex", "not supported", "real and imaginary"),
    "complex tensor": (lambda: km().fit(torch.tensor(X + 1j)), ValueError, "Complex", "not supported", "real and imaginary"),
    "words": (lambda: km().fit([["a", "b"], ["c", "d"]]), ValueError, "convert", "'a'", "encode"),
    "sample weights": (lambda: km().fit(X, sample_weight=X[:, 0]), TypeError, "sample_weight", "unexpected", "fit"),
    "predict before fit": (lambda: km().predict(X), ValueError, "not fitted", "KMeans", "fit"),
    "decode before fit": (lambda: km().inverse_transform(X), ValueError, "not fitted", "KMeans", "fit"),
    "predict another width": (lambda: fitted().predict(X[:, :3]), ValueError, "3 features", "4 features", "pass the columns"),
    "decode another width": (lambda: fitted().inverse_transform(X), ValueError, "(n, 2)", "(10, 4)", "pass what transform returns"),
}  # fmt: skip
DEVICES = {
    "KMeans": (KMeans(3, **registry.SEED), registry.CLOUDS),
    "KMeans from an array": (KMeans(2, init=registry.CLOUDS[[0, 79]]), registry.CLOUDS),
}
