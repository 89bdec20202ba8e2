"""LLGAE against PCA, k-means and itself in other shapes: one component, no directions, batches, processes."""

import itertools
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import registry
import torch
from gaelib import LGAE, LLGAE, KMeans
from gaelib.core import Exact, alternate
from gaelib.joints.flats import Flats, project
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans as ReferenceKMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning


def rising(history):
    return all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(history))


def two_segments(n=60, seed=0):
    """Rows on two segments in space, and which one."""
    rng = np.random.default_rng(seed)
    t, k = rng.uniform(-1, 1, (n, 1)), np.arange(n) % 2
    ends = np.array([[[1.0, 0, 0], [0, 0, 4]], [[0, 1.0, 0], [5, 5, 4]]])
    return t * ends[k, 0] + ends[k, 1], k


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(2, 40), D=st.integers(1, 5), K=st.integers(1, 6), p=st.integers(0, 5), seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-6, 1.0, 1e6]), shift=st.sampled_from([0.0, 1e3]), copies=st.booleans(), far=st.booleans(),
)  # fmt: skip
def test_the_objective_never_falls(n, D, K, p, seed, scale, shift, copies, far):
    rng = np.random.default_rng(seed)
    K, p = min(K, n), min(p, D)
    X = (rng.integers(0, 3, (n, D)) if copies else rng.normal(size=(n, D))) * scale + shift * scale
    means = np.repeat(X[:1] + 50 * scale, K, 0) if far else X[:K]  # all on one far spot: K - 1 are empty
    bases = torch.linalg.qr(torch.tensor(rng.normal(size=(K, D, p)))).Q if p else None
    joint = Flats(torch.tensor(means), bases, seed=seed)
    assert rising(alternate(joint, [torch.tensor(X)], Exact(), 25))
    if p:
        eye = joint.bases.mT @ joint.bases
        assert torch.allclose(eye, torch.eye(p, dtype=eye.dtype).expand_as(eye), atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(K=st.integers(1, 8), p=st.integers(0, 6), seed=st.integers(0, 10**6))
def test_a_fit_never_falls(digits, K, p, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = LLGAE(K, p, max_iter=12, tol=0, random_state=seed).fit(digits[seed % 1000 :][:200])
    assert rising(fit.history_)


def test_one_flat_is_pca(digits, parity):
    ours = LLGAE(1, 5, tol=0, max_iter=600, random_state=0).fit(digits)
    pca = PCA(5, svd_solver="full").fit(digits)
    outside = ours.components_[0].T - pca.components_.T @ (pca.components_ @ ours.components_[0].T)
    sine = np.linalg.norm(outside, 2)
    parity(LLGAE, PCA, "one flat of 5 axes on digits, sine of the largest angle", sine, 1e-6)
    assert np.abs(ours.transform(digits) - LGAE(5).fit(digits).transform(digits)).max() < 1e-4


def test_no_directions_is_kmeans(digits, parity):
    start = digits[:10]
    ours = LLGAE(10, 0, init=start, tol=0, max_iter=300).fit(digits)
    reference = ReferenceKMeans(10, init=start, n_init=1, tol=0).fit(digits)
    difference = np.abs(ours.cluster_centers_ - reference.cluster_centers_).max()
    parity(LLGAE, ReferenceKMeans, "no directions: centres on digits, largest difference", difference, 1e-10)
    twin = KMeans(10, init=start, tol=0).fit(digits)
    assert np.array_equal(ours.transform(digits), twin.transform(digits)) and ours.inertia_ == twin.inertia_


def test_two_segments_are_found():
    X, k = two_segments()
    fit = LLGAE(2, 1, random_state=0, tol=0).fit(X)
    assert fit.inertia_ < 1e-12 and len(set(zip(fit.labels_, k))) == 2
    assert np.abs(np.abs(fit.components_[fit.labels_[0], 0]) - [1, 0, 0]).max() < 1e-6


@pytest.mark.parametrize(("K", "p", "width"), [(3, 2, 9), (1, 4, 4), (4, 0, 4)])
def test_codes_decode_to_the_projection(digits, K, p, width):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = LLGAE(K, p, random_state=0, max_iter=5).fit(digits)
    Z = fit.transform(digits)
    assert Z.shape == (len(digits), width) and fit.get_feature_names_out()[-1] == f"llgae{width - 1}"
    back = fit.inverse_transform(Z)
    assert abs(((digits - back) ** 2).sum() - fit.inertia_) < 1e-6 * fit.inertia_
    squares = project(torch.tensor(digits), fit.joint_.means, fit.joint_.bases)[0]
    assert np.allclose(((digits - back) ** 2).sum(1), squares.min(1).values, atol=1e-8)
    assert (fit.predict(digits) == fit.labels_).all() and (fit.labels_ == squares.argmin(1).numpy()).all()
    by_hand = -np.log(K) - squares.min(1).values.numpy() - 0.5 * 64 * np.log(np.pi)
    assert np.allclose(fit.score_samples(digits), by_hand, atol=1e-8)
    assert np.array_equal(pickle.loads(pickle.dumps(fit)).transform(digits), Z)


def test_axes_are_ordered_and_upright(digits):
    fit = LLGAE(3, 4, random_state=0).fit(digits)
    for k in range(3):
        rows = digits[fit.labels_ == k]
        codes = (rows - fit.cluster_centers_[k]) @ fit.components_[k].T
        assert np.allclose((codes**2).mean(0), fit.explained_variance_[k], rtol=1e-6)
    assert (np.diff(fit.explained_variance_, axis=1) <= 0).all()
    largest = np.take_along_axis(fit.components_, np.abs(fit.components_).argmax(2)[..., None], 2)
    assert (largest > 0).all()


@pytest.mark.slow
def test_more_starts_are_no_worse(digits):
    ends = [[LLGAE(8, 3, n_init=n, random_state=s).fit(digits).history_[-1] for n in (1, 4)] for s in range(5)]
    one, four = np.median(ends, 0)
    assert four >= one


def options():
    return {"n_clusters": 5, "n_components": 3, "random_state": 0, "tol": 0, "max_iter": 15}


def fit_quietly(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LLGAE(**options()).fit(X)


def test_batches_and_memmaps_equal_the_whole(digits, tmp_path):
    whole = fit_quietly(digits)
    np.save(tmp_path / "digits.npy", digits)
    batches = [digits[i : i + 100] for i in range(0, len(digits), 100)]
    for other in (fit_quietly(batches), fit_quietly(np.load(tmp_path / "digits.npy", mmap_mode="r"))):
        assert np.abs(np.subtract(whole.history_, other.history_)).max() < 1e-9
        assert np.abs(whole.cluster_centers_ - other.cluster_centers_).max() < 1e-9
        assert np.abs(whole.components_ - other.components_).max() < 1e-9
        assert (whole.labels_ == other.labels_).all()


PEAK = """
import resource, warnings
import numpy as np
from gaelib import LLGAE

class Stream:
    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        rng = np.random.default_rng(0)
        for _ in range(self.batches):
            yield rng.normal(size=(2000, 100)).astype(np.float32)

warnings.simplefilter("ignore")
for batches in (5, 50):  # the peak so far, of few rows and of many
    LLGAE(4, 3, max_iter=2, tol=0, random_state=0, init=np.eye(4, 100, dtype=np.float32)).fit(Stream(batches))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows():
    run = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    peaks = [float(line) for line in run.stdout.split()]
    data_itself = 45 * 2000 * 100 * 4 / 2**20  # 34 MiB more rows
    assert peaks[1] - peaks[0] < data_itself / 3


def test_an_outlier_or_a_constant_pixel_or_equal_rows_do_no_harm():
    X, _ = two_segments()
    X = np.hstack([X, np.full((len(X), 1), 7.0)])
    assert LLGAE(2, 1, random_state=0, tol=0).fit(X).inertia_ < 1e-12
    with pytest.warns(ConvergenceWarning, match="1 distinct row for"):
        assert LLGAE(3, 2, random_state=0).fit(np.ones((9, 4))).inertia_ == 0
    far = np.vstack([X, 1e6 * np.ones((1, 4))])
    fit = LLGAE(3, 1, random_state=0, tol=0, n_init=3).fit(far)
    assert fit.inertia_ < 1e-6 and rising(fit.history_)


def test_more_components_than_distinct_rows_and_than_a_component_s_rows():
    X = np.repeat(np.eye(3), 4, 0)
    for K, p in ((6, 1), (3, 3), (5, 2)):
        with pytest.warns(ConvergenceWarning, match="3 distinct rows for") if K > 3 else warnings.catch_warnings():
            fit = LLGAE(K, p, random_state=0, tol=0).fit(X)
        assert fit.inertia_ < 1e-20 and np.isfinite(fit.components_).all()


def test_codes_of_another_width_are_refused(digits):
    fit = LLGAE(2, 1, random_state=0).fit(digits[:100])
    with pytest.raises(ValueError, match=r"codes of shape \(n, 4\), got \(1, 3\)"):
        fit.inverse_transform(np.zeros((1, 3)))


def test_torch_in_torch_out(digits):
    X = torch.tensor(digits, dtype=torch.float32)
    fit = LLGAE(3, 2, random_state=0).fit(X)
    assert all(map(torch.is_tensor, (fit.components_, fit.transform(X), fit.inverse_transform(fit.transform(X)))))
    assert fit.components_.dtype == torch.float32


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [LLGAE(n_clusters=2, n_components=1, random_state=0)]


def thirds(**options):
    return LLGAE(**{"n_clusters": 3, "n_components": 1} | options).fit(np.repeat(np.eye(3), 4, 0))


BAD = {
    "more flats than samples": (lambda: thirds(n_clusters=99), ValueError, "n_clusters=99", "12 samples", "fewer clusters"),
    "flats of more axes than columns": (lambda: thirds(n_components=5), ValueError, "n_components=5", "3 features", "fewer components"),
    "flats of fewer axes than none": (lambda: thirds(n_components=-1), ValueError, "n_components=-1", "at least 0", "pass n_components=0"),
    "flats from starts of another shape": (lambda: thirds(init=np.zeros((2, 5))), ValueError, "(2, 5)", "(3, 3)", "one row per cluster"),
}  # fmt: skip
DEVICES = {"LLGAE": (LLGAE(2, 1, max_iter=20, **registry.SEED), registry.CLOUDS)}
