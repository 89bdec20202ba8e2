"""MPPCA and GaussianMixture against direct densities, PPCA, scikit-learn, hard flats and their own promises."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
import registry
import torch
from gaelib import MPPCA, PPCA, GaussianMixture
from gaelib.core import Exact, Soft, alternate, objective
from gaelib.joints.flats import nearest
from gaelib.joints.mixture import Expect, Mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Reference


def quiet(model, X):
    """Fit with steps that are meant to run out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X)


def some(K=3, D=4, p=2, n=60, seed=0, shared=False):
    """A mixture in general position, and rows near it: float64."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    joint = Mixture(
        2 * draw(K, D), torch.linalg.qr(draw(K, D, p)).Q, draw(K, p).abs() + 0.3,
        0.7 if shared else draw(K).square() + 0.1, draw(K).softmax(0), shared=shared,
    )  # fmt: skip
    return joint, 2 * draw(n, D)


def directly(joint, x):
    """log pi_k + log N(x; mu_k, C_k) by scipy, with C_k formed: (n, K)."""
    W = (joint.bases * joint.scales[:, None]).numpy()
    return np.stack(
        [
            np.log(weight) + multivariate_normal(mean, w @ w.T + variance * np.eye(len(mean))).logpdf(x)
            for weight, mean, w, variance in zip(joint.weights.numpy(), joint.means.numpy(), W, joint.variance.numpy())
        ],
        1,
    )


@pytest.mark.parametrize("p", [0, 1, 3])
def test_responsibilities_and_evidence_equal_the_densities_formed_directly(p):
    joint, x = some(p=p)
    expected = directly(joint, x)
    assert np.abs(joint.log_joints(x).numpy() - expected).max() < 1e-10
    r = np.exp(expected - logsumexp(expected, 1, keepdims=True))
    assert np.abs(joint.posterior(x, 1.0)[0][0].numpy() - r).max() < 1e-12
    evidence = objective(joint, x, Soft(1.0)).numpy()
    assert np.abs(evidence - logsumexp(expected, 1)).max() < 1e-10


@pytest.mark.parametrize("p", [0, 1])
def test_the_density_integrates_to_one(p):
    joint, _ = some(D=2, p=p, seed=1)
    grid = torch.linspace(-25, 25, 801, dtype=torch.float64)
    density = objective(joint, torch.cartesian_prod(grid, grid), Soft(1.0)).exp()
    assert abs(float(density.sum()) * float(grid[1] - grid[0]) ** 2 - 1) < 1e-9


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(2, 40), D=st.integers(1, 5), K=st.integers(1, 6), p=st.integers(0, 4), seed=st.integers(0, 10**6),
    shared=st.booleans(), fixed=st.booleans(), copies=st.booleans(), far=st.integers(0, 5), hard=st.booleans(),
)  # fmt: skip
def test_the_evidence_never_falls(n, D, K, p, seed, shared, fixed, copies, far, hard):
    """Components without rows (``far`` of them start out of sight), with one row, with p rows or fewer, with copies."""
    p, rng = min(p, D - 1), np.random.default_rng(seed)
    x = torch.tensor(rng.integers(0, 3, (n, D)) if copies else rng.normal(size=(n, D)), dtype=torch.float64)
    means = x[torch.arange(K) % n].clone()
    means[: min(far, K - 1)] += 1e3
    bases = torch.linalg.qr(torch.tensor(rng.normal(size=(K, D, p)))).Q
    joint = Mixture(means, bases, 0.5, 0.3, shared=shared, fixed=fixed, floor=1e-4)
    history = alternate(joint, [x], Exact() if hard else Soft(1.0), 30)
    assert all(b >= a - 1e-9 * max(1, abs(a)) for a, b in itertools.pairwise(history))
    assert all(part.isfinite().all() for part in joint.buffers()) and joint.variance.min() >= 1e-4
    assert abs(float(joint.weights.sum()) - 1) < 1e-12
    if fixed:
        assert torch.equal(joint.scales, torch.full_like(joint.scales, 0.5))


@pytest.mark.parametrize("noise", ["shared", "own"])
@pytest.mark.parametrize(("K", "p"), [(4, 0), (4, 3), (40, 20)])
def test_fitting_never_lowers_the_evidence(digits, noise, K, p):
    model = quiet(MPPCA(K, p, noise=noise, max_iter=15, random_state=1), digits[:200])  # 40 x 20: 5 rows each
    assert np.diff(model.history_).min() > -1e-9


def test_a_component_that_no_row_supports_loses_its_weight_and_waits_in_the_middle():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    joint = Mixture(torch.tensor([[0.0, 0.0], [1e4, 0.0]], dtype=torch.float64))
    alternate(joint, [x], Soft(1.0), 3)
    assert joint.weights[0] == 1 and joint.weights[1] < 1e-200
    assert torch.allclose(joint.means, x.mean(0).expand(2, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("fixed", [False, True])
def test_without_noise_the_assignment_is_that_of_hard_flats(fixed):
    joint, x = some(K=5, D=6, n=400)
    hard = nearest(x, joint.means, joint.bases)[0]
    if fixed:
        joint.scales.fill_(3.0)
    differ = []
    for variance in (1.0, 1e-2, 1e-4, 1e-8):
        joint.variance.fill_(variance)
        differ.append(int((joint.argmax(x) != hard).sum()))
    assert differ[0] > 0 and differ == sorted(differ, reverse=True) and differ[-1] == 0
    assert torch.allclose(joint.posterior(x, 1.0)[0][0].amax(1), torch.ones(400).double(), atol=1e-6)


def test_with_a_fixed_prior_the_likeliest_component_is_that_of_the_likeliest_point():
    """T = 0 over (k, u), u ~ N(0, s^2 I): the same ends for a flat (equal weights, one sigma^2)."""
    joint, x = some(K=4, D=5, n=300, shared=True)
    joint.scales.fill_(0.8)
    joint.weights.fill_(1 / 4)
    W = joint.bases * 0.8
    precision = W.mT @ W + joint.variance[0] * torch.eye(2).double()
    away = x[:, None] - joint.means
    u = torch.linalg.solve(precision, torch.einsum("kdp,nkd->nkp", W, away)[..., None])[..., 0]
    cost = (away - torch.einsum("kdp,nkp->nkd", W, u)).square().sum(2) / joint.variance + u.square().sum(2)
    assert torch.equal(joint.argmax(x), cost.argmin(1))


def test_one_component_is_ppca(digits, parity):
    X = digits[:, 2:9]
    one = MPPCA(1, 3, tol=0, max_iter=3000, random_state=0).fit(X)
    closed = PPCA(3).fit(X)
    assert abs(one.score(X) - closed.score(X)) < 1e-8
    difference = np.abs(one.score_samples(X) - closed.score_samples(X)).max()
    parity(
        MPPCA,
        "PPCA in closed form",
        "one component: log evidence of each digit in nats, largest difference",
        difference,
        1e-4,
    )
    assert np.abs(one.transform(X)[:, :3] - closed.transform(X)).max() < 1e-4
    assert np.abs(one.explained_variance_[0] - closed.explained_variance_).max() < 1e-4
    em = quiet(MPPCA(1, 3, tol=0, max_iter=1, random_state=0), X)
    assert em.score(X) < one.score(X) - 1e-3  # it had to climb there


def reference(joint, steps):
    """scikit-learn's EM from the same start."""
    return Reference(
        len(joint.means), covariance_type="spherical", tol=0, reg_covar=0, max_iter=steps,
        weights_init=joint.weights.numpy(), means_init=joint.means.numpy(), precisions_init=1 / joint.variance.numpy(),
    )  # fmt: skip


def test_spherical_gaussians_equal_scikit_learn(digits, parity):
    joint = Mixture(torch.tensor(digits[:6]), variance=15.0, shared=False)
    theirs = quiet(reference(joint, 20), digits)
    alternate(joint, [torch.tensor(digits)], Soft(1.0), 20)
    difference = np.abs(joint.means.numpy() - theirs.means_).max()
    parity(GaussianMixture, Reference, "means after 20 steps from the same start, largest difference", difference, 1e-9)
    assert np.abs(joint.variance.numpy() - theirs.covariances_).max() < 1e-9
    assert np.abs(joint.weights.numpy() - theirs.weights_).max() < 1e-10
    ours = objective(joint, torch.tensor(digits), Soft(1.0)).numpy()
    difference = np.abs(ours - theirs.score_samples(digits)).max()
    parity(GaussianMixture, Reference, "log evidence of each digit in nats, largest difference", difference, 1e-8)
    assert np.abs(joint.posterior(torch.tensor(digits), 1.0)[0][0].numpy() - theirs.predict_proba(digits)).max() < 1e-9


def test_the_estimator_climbs_like_scikit_learn_and_differs_when_shared(digits):
    own, shared = (
        quiet(GaussianMixture(5, noise=noise, tol=1e-9, random_state=0), digits) for noise in ("own", "shared")
    )
    theirs = quiet(
        reference(quiet(GaussianMixture(5, noise="own", max_iter=1, random_state=0), digits).joint_, 500), digits
    )
    assert abs(own.score(digits) - theirs.score(digits)) < 1e-6 * abs(own.score(digits))
    assert np.ptp(shared.noise_variance_) == 0 < np.ptp(own.noise_variance_)
    assert shared.score(digits) < own.score(digits)
    assert np.array_equal(own.transform(digits), own.predict_proba(digits))


def test_shared_noise_is_one_step_of_em_by_hand():
    joint, x = some(p=0, shared=True)
    r = joint.posterior(x, 1.0)[0][0]
    alternate(joint, [x], Soft(1.0), 1)
    means = (r.T @ x) / r.sum(0)[:, None]
    variance = (r * (x[:, None] - means).square().sum(2)).sum() / x.numel()
    assert torch.allclose(joint.means, means) and torch.allclose(joint.variance, variance.expand(3))


@pytest.mark.slow
@pytest.mark.parametrize("model", [
    MPPCA(4, 3, random_state=0, max_iter=25, tol=0), MPPCA(4, 3, noise="own", random_state=0, max_iter=25, tol=0),
    MPPCA(4, 3, prior_variance=60.0, random_state=0, max_iter=25, tol=0), GaussianMixture(4, random_state=0, max_iter=25, tol=0),
], ids=["shared", "own", "fixed", "gaussians"])  # fmt: skip
def test_batches_equal_the_whole(digits, model):
    whole = quiet(model, digits)
    stored = {name: value.clone() for name, value in whole.joint_.state_dict().items()}
    streamed = quiet(model, [digits[i : i + 100] for i in range(0, len(digits), 100)])
    for name, value in streamed.joint_.state_dict().items():
        assert (value - stored[name]).abs().max() < 1e-9 if value.numel() else True, name
    assert (streamed.labels_ == model.predict(digits)).all()


@pytest.mark.parametrize("p", [0, 2])
def test_one_reading_gives_the_sums_of_two(p, monkeypatch):
    joint, x = some(K=3, p=p, n=50)
    monkeypatch.setattr("gaelib.joints.mixture.ENTRIES", 42)  # more than one chunk
    answer, (expected, entropy) = Expect(0.7), joint.posterior(x, 0.7)
    z, bonus = answer(joint, x)
    assert torch.allclose(z[0], expected[0], rtol=1e-12, atol=0) and torch.allclose(
        bonus, entropy, rtol=1e-12, atol=1e-14
    )
    assert torch.allclose(entropy, 0.7 * torch.special.entr(expected[0]).sum(1), rtol=1e-9, atol=1e-14)
    found, other = answer.stats(x, z), (expected[0].flip(1),)  # of another code, no sums are at hand
    for asked, sums in ((expected, found), (other, answer.stats(x, other))):
        right = joint.stats(x, asked)
        assert set(sums) == set(right)
        for name, value in right.items():
            assert torch.allclose(sums[name], value, rtol=1e-10, atol=1e-10), name


def test_chunks_of_bounded_memory_change_nothing(monkeypatch):
    joint, x = some(K=3, p=2, n=50)
    holes = torch.where(torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.3, torch.nan, x)
    ask = lambda: (
        joint.log_joints(x),
        joint.code(x),
        joint.fill(holes),
        *joint.stats(x, joint.posterior(x, 1.0)[0]).values(),
    )
    whole = ask()
    z = joint.posterior(x, 1.0)[0]
    assert torch.allclose(joint.stats(x, z)["objective"], joint.log_joint(x, z).sum(), rtol=1e-12)
    monkeypatch.setattr("gaelib.joints.mixture.ENTRIES", 42)  # 7 rows of 3 x 2; 1 row when filling
    assert joint._rows() == 7
    for a, b in zip(whole, ask()):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("p", [0, 2])
def test_imputation_is_the_conditional_mean(p):
    joint, x = some(p=p, n=40)
    holes = torch.where(torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.4, torch.nan, x)
    holes[0], holes[1] = torch.nan, x[1]  # nothing known, everything known
    W = (joint.bases * joint.scales[:, None]).numpy()
    for row, answer in zip(holes.numpy(), joint.fill(holes).numpy()):
        gone = np.isnan(row)
        logs, means = [], []
        for weight, mean, w, variance in zip(joint.weights.numpy(), joint.means.numpy(), W, joint.variance.numpy()):
            C = w @ w.T + variance * np.eye(len(mean))
            known = C[np.ix_(~gone, ~gone)]
            logs.append(np.log(weight))
            if (~gone).any():
                logs[-1] += multivariate_normal(mean[~gone], known).logpdf(row[~gone])
            means.append(mean[gone] + C[np.ix_(gone, ~gone)] @ np.linalg.solve(known, row[~gone] - mean[~gone]))
        r = np.exp(logs - logsumexp(logs))
        assert np.abs(answer[gone] - r @ np.array(means)).max(initial=0) < 1e-9
        assert np.array_equal(answer[~gone], row[~gone])


def test_the_code_decodes_to_the_posterior_mean():
    joint, x = some()
    r, W = joint.posterior(x, 1.0)[0][0], joint.bases * joint.scales[:, None]
    expected = 0
    for k in range(3):
        M = W[k].T @ W[k] + joint.variance[k] * torch.eye(2).double()
        u = torch.linalg.solve(M, W[k].T @ (x - joint.means[k]).T).T
        expected = expected + r[:, k, None] * (joint.means[k] + u @ W[k].T)
    assert torch.allclose(joint.code(x) @ joint.decoder(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("make", [GaussianMixture, lambda K, **rest: MPPCA(K, 1, **rest)], ids=["gaussians", "flats"])
def test_the_usual_tolerance_ends_near_the_end(make):
    """Of all that the evidence rises, less than .3 % is left, and nobody waits for the rest."""
    for seed in range(3):
        generator = np.random.default_rng(seed)
        X = np.concatenate([generator.normal(size=(60, 4)) + 4 * np.eye(4)[k] for k in range(3)])
        short, end = make(3, random_state=seed), make(3, random_state=seed, tol=1e-12, max_iter=3000)
        assert short.tol == 1e-4
        left = (quiet(end, X).history_[-1] - short.fit(X).history_[-1]) / (end.history_[-1] - end.history_[0])
        assert 0 <= left < 3e-3 and short.n_iter_ < end.n_iter_


def test_a_component_of_little_weight_still_goes_where_its_rows_are():
    x = torch.tensor([[-1.0], [1.0]]).double()
    joint = Mixture(torch.tensor([[0.0], [7.0]]).double(), variance=1.0)
    alternate(joint, [x], Soft(1.0), 1)
    assert joint.weights[1] < 1e-6 and joint.means[1] == pytest.approx(1, abs=1e-4)


def test_a_fixed_flat_turns_to_where_its_rows_vary():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.1, 3.0, 0.1])
    joint = Mixture(x[:1], torch.ones(1, 3, 1).double() / 3**0.5, 3.0, 0.01, fixed=True)
    alternate(joint, [x], Soft(1.0), 50)
    assert (joint.scales == 3).all() and joint.bases[0, 1, 0].abs() > 0.999


def test_samples_have_the_model_s_moments():
    _, x = some(n=300)
    model = quiet(MPPCA(3, 2, noise="own", max_iter=50, random_state=0), x.numpy())
    drawn, joint = model.sample(400_000, random_state=0), model.joint_
    r, mean = model.weights_, model.weights_ @ model.means_
    W = (joint.bases * joint.scales[:, None]).numpy()
    away = model.means_ - mean
    C = np.einsum("k,kdp,kep->de", r, W, W) + np.eye(4) * (r @ model.noise_variance_) + (r[:, None] * away).T @ away
    assert np.abs(drawn.mean(0) - mean).max() < 0.02
    assert np.abs(np.cov(drawn.T) - C).max() < 0.01 * C.max()
    assert np.array_equal(model.sample(3, random_state=1), model.sample(3, random_state=1))


@pytest.mark.slow
def test_a_mixture_beats_one_flat_and_a_start_counts(digits):
    train, test = digits[:1200], digits[1200:]
    one, ten = MPPCA(1, 8, random_state=0).fit(train), MPPCA(10, 8, random_state=0).fit(train)
    assert ten.score(test) > one.score(test)
    few, many = (quiet(MPPCA(10, 3, n_init=n, max_iter=20, random_state=3), train) for n in (1, 3))
    assert many.history_[-1] >= few.history_[-1]


def test_hard_cases_stay_finite():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    cases = {
        "p above a component's points": (X[:12], MPPCA(4, 4, noise="own")),
        "a constant column": (np.c_[X, np.ones(60)], MPPCA(3, 2)),
        "a flat of p dimensions": (np.c_[X[:, :2], X[:, :2], X[:, :1]], MPPCA(1, 2)),
        "more components than distinct rows": (np.repeat(X[:3], 10, 0), MPPCA(5, 2, noise="own")),
        "one huge outlier": (np.r_[X, np.full((1, 5), 1e6)], MPPCA(3, 2, noise="own", floor=1e-11)),
    }
    for name, (rows, model) in cases.items():
        model = quiet(model.set_params(random_state=0, max_iter=100), rows)
        assert np.isfinite(model.score_samples(rows)).all() and np.isfinite(model.transform(rows)).all(), name
        if "outlier" not in name:  # 1e6 squared leaves four digits of a unit distance
            assert np.diff(model.history_).min() > -1e-9 * abs(model.history_[0]), name
    assert np.sort(model.noise_variance_)[-2:].max() < 10  # the outlier is a component, the rest keep their scale


@pytest.mark.parametrize(
    "model", [MPPCA(3, 2, random_state=0), GaussianMixture(3, random_state=0)], ids=lambda m: type(m).__name__
)
def test_torch_float32_and_pickle(model, digits):
    X = torch.tensor(digits[:300], dtype=torch.float32)
    model.fit(X)
    Z = model.transform(X)
    assert torch.is_tensor(Z) and Z.dtype == model.means_.dtype == torch.float32
    assert model.inverse_transform(Z).shape == X.shape and torch.is_tensor(model.sample(2))
    assert torch.equal(pickle.loads(pickle.dumps(model)).transform(X), Z)
    assert isinstance(model.predict(digits), np.ndarray)
    assert len(model.get_feature_names_out()) == Z.shape[1]


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [MPPCA(n_clusters=3, n_components=1, random_state=0), GaussianMixture(n_clusters=3, random_state=0)]
BAD = {
    "as many axes as columns in a mixture": (lambda: MPPCA(2, 4).fit(np.eye(4)), ValueError, "n_components=4", "4 feature(s)", "pass at most 3"),
    "fewer axes than none in a mixture": (lambda: MPPCA(2, -1).fit(np.eye(4)), ValueError, "n_components=-1", "at least 0", "or more"),
    "more analysers than samples": (lambda: MPPCA(9, 1).fit(np.eye(4)), ValueError, "n_clusters=9", "4 samples", "fewer clusters"),
    "one sample for a mixture": (lambda: MPPCA(1, 1).fit(np.eye(4)[:1]), ValueError, "n_clusters=1", "1 sample", "pass more data"),
    "an unknown noise": (lambda: MPPCA(2, 1, noise="both").fit(np.eye(4)), ValueError, "'both'", "shared, own", "pass one of these"),
    "a prior without variance": (lambda: MPPCA(2, 1, prior_variance=0).fit(np.eye(4)), ValueError, "prior_variance=0", "above 0", "pass such a number"),
    "no floor": (lambda: GaussianMixture(2, floor=0).fit(np.eye(4)), ValueError, "floor=0", "above 0", "pass such a number"),
    "rows that are equal, far away": (lambda: GaussianMixture(3).fit(np.full((100, 4), 12345.678, np.float32)), ValueError, "all rows are equal", "variance 0", "pass rows that differ"),
    "rows that are equal": (lambda: MPPCA(2, 1).fit(np.ones((5, 4))), ValueError, "all rows are equal", "variance 0", "pass rows that differ"),
}  # fmt: skip
DEVICES = {
    "MPPCA": (MPPCA(2, 1, max_iter=20, **registry.SEED), registry.CLOUDS),
    "MPPCA, fixed prior": (
        MPPCA(2, 1, prior_variance=4.0, noise="own", max_iter=20, **registry.SEED), registry.CLOUDS),
    "GaussianMixture": (GaussianMixture(2, max_iter=20, **registry.SEED), registry.CLOUDS),
}  # fmt: skip
