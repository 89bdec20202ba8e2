"""NMF, semi-NMF and sparse coding against SciPy, scikit-learn and themselves in other shapes; L1 and L2 in figures."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
import registry
import torch
from gaelib import NMF, KMeans, SemiNMF, SparseCoding, data
from gaelib.core import Exact
from gaelib.joints.parts import Parts
from gaelib.models import parts as models
from gaelib.solvers.entries import Ahead
from gaelib.solvers.starts import halves
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.decomposition import NMF as ReferenceNMF
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode
from sklearn.exceptions import ConvergenceWarning


@pytest.fixture(scope="module")
def digits():
    return data.digits()[0] / 16


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quietly(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


def quietly_transform(model, X, **start):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit_transform(X, **start)


def rising(history):
    return all(b >= a - 1e-10 * max(map(abs, history)) for a, b in itertools.pairwise(history))


# --- exact codes ---


def test_codes_are_those_of_non_negative_least_squares(digits, parity):
    model = NMF(20).fit(digits)
    codes = model.transform(digits[:300])
    judge = np.stack([nnls(model.components_.T, x)[0] for x in digits[:300]])
    parity(NMF, nnls, "20 parts of digits: codes, largest difference", np.abs(codes - judge).max(), 1e-9)


def test_sparse_encode_is_never_better(digits, parity):
    X = digits - digits.mean(0)
    model = quietly(SparseCoding(100, alpha=0.1, init="random", max_iter=3, random_state=0), X)
    X = X[:200]
    codes = [model.transform(X)]
    for algorithm in ("lasso_cd", "lasso_lars"):
        codes.append(sparse_encode(X, model.components_, algorithm=algorithm, alpha=0.1, max_iter=20000))
    ours, *theirs = (0.5 * ((X - u @ model.components_) ** 2).sum(1) + 0.1 * np.abs(u).sum(1) for u in codes)
    better = max(float((ours - each).max()) for each in theirs)
    parity(SparseCoding, sparse_encode, "100 parts of digits: how much lower its objective is", better, 1e-9)
    assert max(np.abs(ours - each).max() for each in theirs) < 1e-5  # the same problem


def kkt(x, u, W, price, signed):
    """Violation of the optimality conditions of ||x - u W||^2 / 2 + price |u|_1, in units of the slope."""
    slope = (u @ W - x) @ W.T
    if not signed:
        return torch.where(u > 0, (slope + price).abs(), (-slope - price).clamp(min=0)).max()
    return torch.where(u != 0, (slope + price * u.sign()).abs(), (slope.abs() - price).clamp(min=0)).max()


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 12), D=st.integers(1, 8), K=st.integers(1, 14), seed=st.integers(0, 10**6), signed=st.booleans(),
    price=st.sampled_from([0.0, 1e-3, 0.3, 10.0]), copies=st.booleans(), unit=st.sampled_from([1e-6, 1.0, 1e6]),
)  # fmt: skip
def test_the_exact_code_keeps_the_optimality_conditions(n, D, K, seed, signed, price, copies, unit):
    W, x = normal(K, D, seed=seed), normal(n, D, seed=seed + 1) * unit
    price = max(price, 1e-3) if signed else price
    W = W if signed else W.abs()
    if copies:  # the same part twice, and a part of nothing
        W[0], W[-1] = W[-1], 0.0
    joint = Parts(W, 2 * price * unit, "signed" if signed else "positive")
    u = joint.argmax(x)
    assert kkt(x, u, W, price * unit, signed) <= 1e-8 * unit
    assert (joint.unsettled(x, u) <= 1e-8).all() and (signed or (u >= 0).all())


def test_counts_have_exact_codes_too():
    W, x = uniform(6, 10), torch.poisson(5 * uniform(200, 10, seed=1), torch.Generator().manual_seed(0))
    x[0] = 0
    joint = Parts(W, counts=True)
    u = joint.argmax(x)
    slope = W.sum(1) - (x / (u @ W).clamp(min=1e-300)) @ W.T
    assert torch.where(u > 0, slope.abs(), (-slope).clamp(min=0)).max() <= 1e-8 and (u[0] == 0).all()
    for _ in range(20):
        other = u * (1 + 0.1 * normal(*u.shape, seed=2)).clamp(min=0)
        assert (joint.log_joint(x, other) <= joint.log_joint(x, u) + 1e-10).all()


def test_orthonormal_parts_need_one_soft_threshold_and_a_high_price_buys_nothing():
    Q, x = torch.linalg.qr(normal(6, 6)).Q, normal(30, 6, seed=1)
    u = Parts(Q, 0.8, "signed").argmax(x)
    assert (u - torch.nn.functional.softshrink(x @ Q.T, 0.4)).abs().max() < 1e-12
    W = normal(9, 6, seed=2)
    price = 2 * float((x @ W.T).abs().max())
    assert (Parts(W, price, "signed").argmax(x) == 0).all()
    assert (Parts(W, 0.99 * price, "signed").argmax(x) != 0).sum() == 1


@pytest.mark.parametrize(("code", "least"), [("positive", 0.0), ("signed", -60.0)])
def test_the_prior_of_a_penalty_is_a_density(code, least):
    """Parts of nothing leave the prior of two entries, beside the density of three that are 0."""
    line = torch.linspace(least, 60.0, 2401, dtype=torch.float64)
    z, joint = torch.cartesian_prod(line, line), Parts(torch.zeros(2, 3), 0.4, code)
    p = joint.log_joint(torch.zeros(1, 3).double(), z).exp().unflatten(0, (2401, 2401))
    total = torch.trapezoid(torch.trapezoid(p, line), line)
    assert abs(float(total) * np.pi**1.5 - 1) < 1e-3


def test_a_row_does_not_depend_on_what_stands_beside_it(digits):
    model = NMF(15, max_iter=20, tol=1e-2).fit(digits)
    alone = np.vstack([model.transform(digits[i : i + 1]) for i in range(20)])
    assert np.abs(alone - model.transform(digits)[:20]).max() < 1e-10
    turned = model.transform(digits[::-1])[::-1]
    assert np.abs(turned - model.transform(digits)).max() < 1e-10


@pytest.mark.parametrize("atom", ["free", "positive", "ball", "positive ball"])
def test_the_best_part_is_the_nearest_that_may_be(atom):
    """Of rows that have a part each: a short one and one of nothing stay, only a longer one comes back to the ball."""
    x = torch.tensor([[0.3, 0.4], [0.0, 0.0], [3.0, 4.0], [-3.0, 4.0]], dtype=torch.float64)
    joint, z = Parts(torch.ones_like(x), atom=atom), torch.eye(4, dtype=torch.float64)
    joint.update(joint.stats(x, z))
    best = x.clamp(min=0) if "positive" in atom else x
    if "ball" in atom:
        best = torch.stack([row / max(1.0, float(row.norm())) for row in best])
    assert torch.allclose(joint.parts, best, rtol=0, atol=1e-12)


# --- fits ---


@pytest.mark.parametrize(
    "model",
    [
        NMF(8), NMF(8, init="random", random_state=3), NMF(5, beta_loss="kullback-leibler"), SemiNMF(6, random_state=0),
        SparseCoding(40, alpha=0.1), SparseCoding(20, alpha=0.05, positive_code=True, positive_dict=True),
    ],
)  # fmt: skip
def test_the_objective_never_falls_without_extrapolation(digits, model):
    fit = quietly(model.set_params(extrapolate=False, tol=0, max_iter=60), digits[:400])
    assert rising(fit.history_) and fit.history_[-1] > fit.history_[0]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 30), D=st.integers(1, 6), K=st.integers(1, 5), seed=st.integers(0, 10**6), blank=st.booleans())
def test_no_table_of_non_negative_numbers_makes_it_fall(n, D, K, seed, blank):
    X = np.random.default_rng(seed).integers(0, 3, (n, D)).astype(float)
    X = 0 * X if blank else X
    fit = quietly(NMF(K, max_iter=25, tol=0, extrapolate=False, random_state=seed), X)
    assert rising(fit.history_) and (fit.components_ >= 0).all() and np.isfinite(fit.transform(X)).all()


def test_it_goes_below_scikit_learns_error(digits):
    for K in (10, 20):
        reference = quietly(ReferenceNMF(K, init="nndsvda", random_state=0), digits)
        ours = quietly(NMF(K, tol=0, max_iter=100), digits)
        assert ours.reconstruction_err_ <= reference.reconstruction_err_
        codes = ours.transform(digits)
        assert np.linalg.norm(digits - codes @ ours.components_) <= ours.reconstruction_err_ * (1 + 1e-12)


def test_the_start_is_that_of_the_exact_singular_vectors(digits):
    U, s, V = np.linalg.svd(digits, full_matrices=False)
    for k, part in enumerate(halves(torch.tensor(digits), 6).numpy()):
        sides = [(np.maximum(e * U[:, k], 0), np.maximum(e * V[k], 0)) for e in (1, -1)]
        u, v = max(sides, key=lambda side: np.linalg.norm(side[0]) * np.linalg.norm(side[1]))
        size = np.linalg.norm(u) * np.linalg.norm(v)
        assert np.abs(part - np.sqrt(s[k] * size) * v / np.linalg.norm(v)).max() < 1e-8


def test_one_part_is_the_first_singular_pair(digits):
    s = np.linalg.svd(digits, compute_uv=False)
    fit = NMF(1, tol=0).fit(digits)
    assert fit.reconstruction_err_**2 == pytest.approx((s[1:] ** 2).sum(), rel=1e-10)


def test_a_step_for_counts_is_scikit_learns(digits, parity):
    X, W = 16 * digits[:200] + 1, uniform(5, 64)
    joint = Parts(W, counts=True)
    x, U = torch.tensor(X), joint.argmax(torch.tensor(X)).clamp(min=1e-9)
    joint.update(joint.stats(x, U))
    reference = ReferenceNMF(5, init="custom", solver="mu", beta_loss="kullback-leibler", max_iter=1, tol=0)
    moved = quietly_transform(reference, X, W=U.numpy().copy(), H=W.numpy().copy())
    at_its_codes = Parts(W, counts=True)  # its codes move first, and the parts by those
    at_its_codes.update(at_its_codes.stats(x, torch.tensor(moved)))
    step = np.abs(at_its_codes.parts.numpy() - reference.components_).max()
    parity(NMF, ReferenceNMF, "one step of the parts for counts, largest difference", step, 1e-12)
    assert np.abs(joint.parts.numpy() - reference.components_).max() < 1e-2


def test_counts_reach_scikit_learns_divergence(digits):
    reference = quietly(ReferenceNMF(8, solver="mu", beta_loss="kullback-leibler", max_iter=150), 16 * digits[:500])
    ours = quietly(NMF(8, beta_loss="kullback-leibler", max_iter=150, tol=0), 16 * digits[:500])
    assert ours.reconstruction_err_ <= reference.reconstruction_err_ * 1.002


def test_zero_error_is_no_identification():
    rng = np.random.default_rng(0)
    W, U = rng.random((5, 30)), rng.dirichlet(np.ones(5), 200)
    U[:5] = np.eye(5)
    X, cosines, errors = U @ W, [], []
    for seed in range(3):
        fit = quietly(NMF(5, init="random", max_iter=500, tol=0, extrapolate=False, random_state=seed), X)
        found = fit.components_ / np.linalg.norm(fit.components_, axis=1, keepdims=True)
        cosines.append((found @ (W / np.linalg.norm(W, axis=1, keepdims=True)).T).max(0).min())
        errors.append(fit.reconstruction_err_)
    assert max(errors) < 1e-4 * np.linalg.norm(X) and min(cosines) < 0.97


def test_a_dictionary_reaches_that_of_mini_batches(digits):
    X = (digits - digits.mean(0))[:600]
    reference = MiniBatchDictionaryLearning(64, alpha=0.1, fit_algorithm="cd", max_iter=2, random_state=0).fit(X)
    ours = quietly(SparseCoding(64, alpha=0.1, max_iter=30, tol=0, random_state=0), X)
    assert np.linalg.norm(ours.components_, axis=1).max() <= 1 + 1e-12
    theirs = Parts(torch.tensor(reference.components_), 0.2, "signed")
    assert ours.score(X) >= float(theirs.log_joint(torch.tensor(X), theirs.argmax(torch.tensor(X))).mean())


def test_units_do_not_matter(digits):
    for model in (NMF(6, max_iter=30), SparseCoding(10, alpha=0.1, max_iter=30)):
        one = quietly(model.set_params(tol=1e-3), digits)
        passes, error = one.n_iter_, one.reconstruction_err_
        if isinstance(model, SparseCoding):
            model.set_params(alpha=100.0)
        other = quietly(model, 1000 * digits)
        assert other.n_iter_ == passes and other.reconstruction_err_ == pytest.approx(1000 * error, rel=1e-8)


def test_batches_memmaps_and_single_precision(digits, tmp_path):
    options = {"max_iter": 20, "tol": 0, "random_state": 0}
    np.save(tmp_path / "x.npy", digits)
    for make in (lambda: NMF(7, **options), lambda: SparseCoding(9, alpha=0.2, **options)):
        whole = quietly(make(), digits)
        batches = [digits[i : i + 100] for i in range(0, len(digits), 100)]
        for X in (batches, np.load(tmp_path / "x.npy", mmap_mode="r")):
            assert np.abs(quietly(make(), X).components_ - whole.components_).max() < 1e-9
        single = quietly(make(), torch.tensor(digits, dtype=torch.float32))
        assert (
            single.components_.dtype == torch.float32 and single.transform(torch.tensor(digits)).dtype == torch.float32
        )
        assert np.abs(single.components_.numpy() - whole.components_).max() < 1e-3


def test_parts_for_many_rows_begin_with_few(digits, monkeypatch):
    X = np.tile(digits, (5, 1)) + 0.1 * np.random.default_rng(0).random((5 * len(digits), 64))
    options = {"max_iter": 2, "tol": 0, "random_state": 0}
    whole = quietly(NMF(6, **options), X)
    batches = quietly(NMF(6, **options), [X[i : i + 700] for i in range(0, len(X), 700)])
    assert np.abs(batches.components_ - whole.components_).max() < 1e-9 and len(whole.history_) == 2
    long = quietly(NMF(6, max_iter=40, tol=0, init=whole.components_), X)
    assert whole.reconstruction_err_ < 1.005 * long.reconstruction_err_
    monkeypatch.setattr(models, "EARLY", 0)
    assert quietly(NMF(6, **options), X).reconstruction_err_ > 1.02 * long.reconstruction_err_


def test_codes_go_on_as_far_as_the_parts_did():
    joint, first, second = Parts(uniform(4, 6), ahead=True), uniform(5, 4), uniform(5, 4, seed=1)
    onward = models.Onward(lambda joint, x, u: u, lambda joint, x: first)
    assert torch.equal(onward(joint, first)[0], first)
    joint.ahead.taken = 0.5  # of which the codes have not taken a step yet
    assert torch.equal(onward(joint, first)[0], first)
    onward.codes[0] = second
    assert torch.allclose(onward(joint, first)[0], (second + (second - first) / 2).clamp(min=0))
    joint.ahead.taken, onward.codes[0] = 0.0, second  # after a fall
    assert torch.equal(onward(joint, first)[0], second)


@pytest.mark.parametrize("extrapolate", [False, True])
def test_who_goes_on_does_not_fall_back(digits, extrapolate):
    options = {"tol": 0, "random_state": 0, "extrapolate": extrapolate}
    fit = quietly(NMF(6, max_iter=8, **options), digits)
    before, error = list(fit.history_), fit.reconstruction_err_
    quietly(fit.set_params(warm_start=True, max_iter=16), digits)
    assert fit.history_[:8] == before and fit.history_[8] > before[-1] and len(fit.history_) == 16
    whole = quietly(NMF(6, max_iter=16, **options), digits)
    assert fit.reconstruction_err_ < error and fit.reconstruction_err_ < 1.02 * whole.reconstruction_err_


def test_codes_decode_and_travel(digits):
    fit = quietly(SparseCoding(12, alpha=0.2, positive_code=True, max_iter=5, random_state=0), digits)
    Z = fit.transform(digits)
    assert Z.shape == (len(digits), 12) and (Z >= 0).all() and fit.get_feature_names_out()[-1] == "sparsecoding11"
    assert np.allclose(fit.inverse_transform(Z), Z @ fit.components_, atol=1e-12)
    by_hand = -((digits - Z @ fit.components_) ** 2).sum(1) - 32 * np.log(np.pi) - 0.4 * Z.sum(1) + 12 * np.log(0.4)
    assert np.allclose(fit.score_samples(digits), by_hand, atol=1e-9)
    assert np.array_equal(pickle.loads(pickle.dumps(fit)).transform(digits), Z)


def test_semi_nmf_takes_what_nmf_refuses_and_beats_one_centre_each(digits):
    X = digits - digits.mean(0)
    fit = quietly(SemiNMF(10, random_state=0), X)
    assert (fit.transform(X) >= 0).all() and (fit.components_ < 0).any()
    assert fit.reconstruction_err_**2 < KMeans(10, random_state=0).fit(X).inertia_


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [
    NMF(random_state=0),
    SemiNMF(tol=1e-2, random_state=0),
    SparseCoding(alpha=0.1, tol=1e-2, max_iter=2000, random_state=0),
]
ALONE = {
    "SemiNMF": "scikit-learn has none; its codes are those of NMF, held to SciPy's, and its error is held to k-means's."
}
JOINTS = {
    "parts": (lambda: Parts(uniform(3, 5)), lambda: uniform(30, 5, seed=1), [Exact()]),
    "parts of any sign": (lambda: Parts(normal(3, 5), atom="free"), lambda: normal(30, 5, seed=1), [Exact()]),
    "counted parts": (lambda: Parts(uniform(3, 5), counts=True), lambda: (9 * uniform(30, 5, seed=1)).floor(), [Exact()]),
    "sparse code": (
        lambda: Parts(torch.nn.functional.normalize(normal(7, 5)), 0.3, "signed", "ball"),
        lambda: normal(30, 5, seed=1),
        [Exact()],
    ),
}  # fmt: skip
X = np.abs(registry.X)
BAD = {
    "parts of negative numbers": (lambda: NMF(2).fit(X - 7), ValueError, "Negative values", "-7, at row 0, column 0", "use SemiNMF"),
    "codes of negative numbers": (lambda: NMF(2).fit(X).transform(X - 7), ValueError, "Negative values", "row 0", "use SemiNMF"),
    "parts from an unknown start": (lambda: NMF(2, init="kmeans").fit(X), ValueError, "init='kmeans'", "'nndsvda', 'nndsvd', 'random'", "array of parts"),
    "parts from starts of another shape": (lambda: NMF(2, init=np.ones((3, 4))).fit(X), ValueError, "(3, 4)", "(2, 4)", "one row per part"),
    "parts from negative starts": (lambda: NMF(2, init=-np.ones((2, 4))).fit(X), ValueError, "init", "8 of 8 entries below 0", "at least 0"),
    "no parts": (lambda: SparseCoding(0).fit(X), ValueError, "n_components=0", "at least 1", "pass n_components=1"),
    "a code that costs nothing": (lambda: SparseCoding(2, alpha=0).fit(X), ValueError, "alpha=0", "above 0", "positive price"),
    "a sign that is a word": (lambda: SparseCoding(2, positive_code="yes").fit(X), ValueError, "positive_code='yes'", "neither True nor False", "pass one of the two"),
    "codes of another width than the parts": (lambda: NMF(2).fit(X).inverse_transform(np.eye(3)), ValueError, "(n, 2)", "(3, 3)", "what transform returns"),
}  # fmt: skip
COUNTS = np.abs(registry.CLOUDS).round()
DEVICES = {
    "NMF": (NMF(2, max_iter=10, **registry.SEED), COUNTS),
    "NMF of counts": (NMF(2, beta_loss="kullback-leibler", max_iter=10, **registry.SEED), COUNTS),
    "SemiNMF": (SemiNMF(2, max_iter=10, **registry.SEED), registry.CLOUDS),
    "SparseCoding": (SparseCoding(8, alpha=0.5, max_iter=10, **registry.SEED), registry.CLOUDS),
}


def test_a_step_too_far_by_less_than_rounding_does_not_end_a_fit():
    ahead, joint = Ahead(), torch.zeros(1, 1)
    values, fell = (1.0, 2.0, 2.0 - 1e-9, 2.0 - 1e-9, 3.0), []
    for value in values:
        ahead(joint, joint, value)
        fell.append(ahead.fell)
    assert fell == [False, False, True, False, False]  # the pass after a fall is plain, and may end the fit
