"""sense: conditional Gaussians formed directly, scikit-learn's ridge, imputation, recovery, and what it refuses."""

import math
import warnings

import numpy as np
import pytest
import registry
import torch
from gaelib import (
    GGAE,
    LGAE,
    LLGAE,
    MPPCA,
    NMF,
    PPCA,
    VAE,
    Autoencoder,
    DenoisingAutoencoder,
    GaussianMixture,
    KMeans,
    Memory,
    data,
)
from gaelib.core import Exact, Soft, objective
from gaelib.joints.flats import Flats
from gaelib.joints.kernels import KernelMixture
from gaelib.joints.linear import LinearGaussian
from gaelib.joints.measured import Measured
from gaelib.joints.mixture import Mixture
from gaelib.joints.network import Network, layers
from gaelib.models.sensing import leaves, sense
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.linear_model import Ridge
from torch import nn

NOISE = 0.2


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(K=3, D=7, p=2, own=True, seed=0):
    bases = torch.linalg.qr(draw(K, D, p, seed=seed)).Q
    variance = draw(K, seed=seed + 1).square() + 0.1 if own else 0.3
    return Mixture(
        2 * draw(K, D, seed=seed + 2), bases, draw(K, p, seed=seed + 3).abs() + 0.3, variance,
        draw(K, seed=seed + 4).softmax(0), shared=not own,
    )  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    X = data.digits()[0]
    return X[:1500], X[1500:1520]


def quiet(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


# --- Against densities formed directly -------------------------------------------------------------------------


def directly(joint, A, y, noise):
    """E[x|y], Var[x|y] and log p(y) of a mixture with every covariance formed."""
    A, y = A.numpy(), y.numpy()
    nats, means, variances = [], [], []
    W = (joint.bases * joint.scales[:, None]).numpy()
    for weight, mu, w, variance in zip(joint.weights.numpy(), joint.means.numpy(), W, joint.variance.numpy()):
        C = w @ w.T + variance * np.eye(len(mu))
        S = A @ C @ A.T + noise**2 * np.eye(len(A))
        nats.append(np.log(weight) + multivariate_normal(A @ mu, S).logpdf(y))
        gain = C @ A.T @ np.linalg.inv(S)
        means.append(mu + (y - A @ mu) @ gain.T)
        variances.append(np.diag(C - gain @ A @ C))
    nats, means, variances = np.stack(nats, 1), np.stack(means, 1), np.stack(variances)
    r = np.exp(nats - logsumexp(nats, 1, keepdims=True))[:, :, None]
    mean = (r * means).sum(1)
    return mean, (r * (variances + means**2)).sum(1) - mean**2, logsumexp(nats, 1)


@pytest.mark.parametrize("m", [1, 2, 5, 7, 9])
@pytest.mark.parametrize(("p", "own"), [(0, False), (0, True), (2, False), (2, True), (6, False)])
def test_mixtures_equal_the_conditional_densities_formed_directly(m, p, own):
    joint, A, y = mixture(p=p, own=own), draw(m, 7, seed=9), 3 * draw(20, m, seed=10)
    mean, variance, evidence = directly(joint, A, y, NOISE)
    found = sense(joint, y, A, NOISE, T=1)
    assert np.abs(found.mean.numpy() - mean).max() < 1e-9
    assert np.abs(found.std.numpy() ** 2 - variance).max() < 1e-9
    assert np.abs(found.score.numpy() - evidence).max() < 1e-9


def test_one_code_gives_the_mean_of_its_component():
    joint, A, y = mixture(), draw(4, 7, seed=9), draw(20, 4, seed=10)
    found = sense(joint, y, A, NOISE)
    k = Measured(joint, A, NOISE).argmax(y)
    assert len(k.unique()) > 1 and found.std is None
    for component in k.unique():
        alone = Mixture(*(getattr(joint, part)[component, None] for part in ("means", "bases", "scales", "variance")))
        assert np.abs(found.mean[k == component].numpy() - directly(alone, A, y[k == component], NOISE)[0]).max() < 1e-9


def test_probabilistic_pca_is_ridge_regression_on_its_axes(digits, parity):
    train, new = digits
    model, A = PPCA(8).fit(train), draw(20, 64).numpy() / 8
    y = new @ A.T
    joint = model.joint_
    found = sense(model, y, A, NOISE, T=1)
    half = torch.cat([joint.weights, joint.variance.sqrt() * torch.eye(64).double()], 1).numpy()
    ridge = Ridge(NOISE**2, fit_intercept=False).fit(A @ half, (y - A @ model.mean_).T)
    difference = np.abs(found.mean - model.mean_ - ridge.coef_ @ half.T).max()
    parity(sense, Ridge, "reconstruction from 20 measurements of a digit, largest difference", difference, 1e-8)
    spread = np.linalg.inv(half.T @ A.T @ A @ half / NOISE**2 + np.eye(half.shape[1]))
    assert np.abs(found.std**2 - np.einsum("ij,jk,ik->i", half, spread, half)).max() < 1e-9


@pytest.mark.parametrize("model", [
    PPCA(8), MPPCA(4, 5, random_state=0, max_iter=10), MPPCA(4, 5, noise="own", random_state=0, max_iter=10),
    GaussianMixture(6, random_state=0, max_iter=10),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_a_row_of_which_some_entries_are_known_is_imputed(model, digits):
    train, new = digits
    quiet(model, train)
    known = np.random.default_rng(0).random(64) < 0.4
    holes = np.where(known, new, np.nan)
    found = sense(model, new[:, known], np.eye(64)[known], T=1)
    expected = model.impute(holes)
    assert np.abs(found.mean - expected).max() < 1e-7
    assert found.std[:, known].max() < 1e-5 < found.std[:, ~known].min()


def test_flats_are_least_squares_in_units_of_the_noise():
    bases, means = torch.linalg.qr(draw(3, 6, 2)).Q, 2 * draw(3, 6, seed=1)
    joint, A, y = Flats(means, bases, 0.4), draw(4, 6, seed=2), 3 * draw(30, 4, seed=3)
    S = (0.4 * A @ A.T + NOISE**2 * torch.eye(4, dtype=torch.float64)).numpy()
    half = np.linalg.inv(np.linalg.cholesky(S))
    errors, best = [], []
    for mu, W in zip(means.numpy(), bases.numpy()):
        to = half @ (y.numpy() - mu @ A.numpy().T).T
        u = np.linalg.lstsq(half @ A.numpy() @ W, to, rcond=None)[0]
        errors.append(((to - half @ A.numpy() @ W @ u) ** 2).sum(0))
        x = mu + (W @ u).T
        best.append(x + 0.4 * (y.numpy() - x @ A.numpy().T) @ np.linalg.inv(S) @ A.numpy())
    k = np.argmin(errors, 0)
    found = sense(joint, y, A, NOISE)
    assert len(set(k)) == 3 and np.abs(found.mean.numpy() - np.stack(best)[k, np.arange(30)]).max() < 1e-9
    constant = -math.log(3) - 0.5 * np.linalg.slogdet(2 * np.pi * S)[1]
    assert np.abs(found.score.numpy() - constant + np.min(errors, 0) / 2).max() < 1e-9


def test_kernel_codes_are_those_of_the_measured_components():
    joint = KernelMixture(3 * draw(5, 6), draw(5, 2, seed=1), 1.0, 0.4)
    A, y = draw(4, 6, seed=2), 2 * draw(12, 4, seed=3)
    measured, S = Measured(joint, A, NOISE), 0.4 * A @ A.T + NOISE**2 * torch.eye(4, dtype=torch.float64)
    z = measured.argmax(y)
    log_p = np.stack([multivariate_normal(mu, S.numpy()).logpdf(y.numpy()) for mu in (joint.means @ A.T).numpy()], 1)
    assert torch.allclose(measured.log_joint(y, z), joint.score(torch.tensor(log_p), z), rtol=0, atol=1e-9)
    for seed in range(5):
        other = z + 0.1 * draw(12, 2, seed=seed)
        assert (measured.log_joint(y, other) <= measured.log_joint(y, z) + 1e-12).all()
    middle = joint.shares(torch.tensor(log_p), z) @ joint.means
    expected = middle + 0.4 * (y - middle @ A.T) @ torch.linalg.inv(S) @ A
    assert torch.allclose(sense(joint, y, A, NOISE).mean, expected, rtol=0, atol=1e-9)


def test_a_linear_network_climbs_to_the_closed_form():
    W, mean = draw(6, 2), draw(6, seed=1)
    decoder = nn.Linear(2, 6).double()
    decoder.weight.data, decoder.bias.data = W, torch.zeros(6).double()
    network = Network(decoder, variance=0.3, centre=mean)
    A, y = draw(4, 6, seed=2), draw(5, 4, seed=3)
    closed = sense(LinearGaussian(mean, W, 0.3), y, A, NOISE)
    found = sense(network, y, A, NOISE, start=draw(3, 2, seed=4), steps=600)
    assert torch.allclose(found.mean, closed.mean, rtol=0, atol=1e-4)
    S = W @ W.T + 0.3 * torch.eye(6, dtype=torch.float64).double()
    at_best = multivariate_normal(
        (mean @ A.T).numpy(), (A @ S @ A.T + NOISE**2 * torch.eye(4, dtype=torch.float64)).numpy()
    ).logpdf(y)
    spread = torch.linalg.inv(
        torch.eye(2)
        + (A @ W).T @ torch.linalg.inv(0.3 * A @ A.T + NOISE**2 * torch.eye(4, dtype=torch.float64)) @ A @ W
    )
    volume = 0.5 * torch.logdet(spread) + math.log(2 * math.pi)  # Laplace's method is exact here
    assert np.abs(found.score.numpy() + float(volume) - at_best).max() < 1e-4


def test_the_best_of_several_climbs_is_kept():
    """Of x = (z^2 - 4)^2 + z, the lower of two hills is where a climb from there ends."""

    class Bent(nn.Module):
        def forward(self, z):
            return torch.cat([(z.square() - 4).square(), z], 1)

    bent, A, y = Network(Bent(), prior="flat"), torch.eye(2).double(), torch.tensor([[0.0, 2.5]]).double()
    alone = [float(sense(bent, y, A, start=[[z]]).score) for z in (-2.2, 1.5)]
    assert alone[0] < alone[1] - 1
    for start in ([[-2.2], [1.5]], [[1.5], [-2.2]]):
        assert float(sense(bent, y, A, start=start).score) == pytest.approx(alone[1], abs=1e-3)


def test_climbs_that_fall_behind_are_left_without_loss():
    """Of many hills, of a height of their own each, three rates leave one climb: the one that all of them would find."""

    class Waves(nn.Module):
        def forward(self, z):
            return torch.cat([(3 * z).sin(), 0.3 * z], 1)

    waves, A, y = Network(Waves(), variance=0.1, prior="flat"), torch.eye(2).double(), draw(8, 2, seed=3)
    start = 3 * draw(12, 1, seed=4)
    found = sense(waves, y, A, start=start, steps=90).score
    alone = torch.stack([sense(waves, y, A, start=z[None], steps=90).score for z in start])
    assert (alone.max(0).values - found).max() < 0.01 and (found - alone.median(0).values).max() > 0.5


# --- Recovery ---------------------------------------------------------------------------------------------------


def on_flats(K=6, D=64, p=4, n=60, seed=0):
    bases, means = torch.linalg.qr(draw(K, D, p, seed=seed)).Q, draw(K, D, seed=seed + 1)
    k = torch.arange(n) % K
    return Flats(means, bases), Flats(means, bases).decode((k, draw(n, p, seed=seed + 2)))


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_points_on_flats_come_back_from_one_measurement_more_than_dimensions(noise):
    joint, x = on_flats()
    lost = [(sense(joint, x @ A.T, A, noise).mean - x).norm(dim=1) for A in (draw(5, 64, seed=5), draw(4, 64, seed=5))]
    assert lost[0].max() < 1e-5 and (lost[1] > 1e-3).float().mean() > 0.5  # p + 1, and p: every flat explains y


def test_noise_passes_by_no_more_than_the_least_gain_allows():
    joint, x = on_flats()
    A, noise = draw(20, 64, seed=5), 0.05 * draw(60, 20, seed=6)
    joint.variance = 0.0
    found = sense(joint, x @ A.T + noise, A, 0.05).mean
    differences = [torch.cat([joint.bases[i], joint.bases[j], (joint.means[i] - joint.means[j])[:, None]], 1)
                   for i in range(6) for j in range(i)]  # fmt: skip
    gamma = min(float(torch.linalg.svdvals(A @ torch.linalg.qr(part).Q)[-1]) for part in differences)
    assert ((found - x).norm(dim=1) <= 2 * noise.norm(dim=1) / gamma).all() and gamma > 0.5


def test_directions_that_a_does_not_see_keep_their_least_place():
    joint = Flats(torch.tensor([[5.0, 0.0, 0.0]]), torch.eye(3)[None, :, 1:])
    found = sense(joint, torch.tensor([[3.0]]), torch.tensor([[0.0, 1.0, 0.0]]))
    assert torch.allclose(found.mean, torch.tensor([[5.0, 3.0, 0.0]]), rtol=0, atol=1e-6)


def test_directions_that_a_does_not_see_explain_nothing():
    """The first measurement is off the flat, and its second direction, unseen, must not lead there."""
    A, y = torch.eye(3)[:2], torch.tensor([[6.0, 3.0]])
    both, one = (Flats(torch.tensor([[5.0, 0.0, 0.0]]), torch.eye(3)[None, :, 1:last]) for last in (3, 2))
    assert torch.equal(sense(both, y, A).score, sense(one, y, A).score)


def test_a_climb_does_not_see_the_unit_of_codes():
    W, A, y, start = draw(6, 2), draw(4, 6, seed=1), draw(5, 4, seed=2), draw(3, 2, seed=3)
    found, centre = [], torch.zeros(6).double()
    for unit in (1.0, 1000.0):
        decoder = nn.Linear(2, 6, bias=False).double()
        decoder.weight.data = W / unit
        network = Network(decoder, prior="flat", centre=centre)
        found.append(sense(network, y, A, NOISE, start=unit * start, steps=9).mean)
    assert torch.allclose(*found, rtol=0, atol=1e-4)


# --- The contract of a joint ------------------------------------------------------------------------------------

SEEN = {
    "points": (lambda: Flats(draw(4, 6)), [Exact(), Soft(1.0), Soft(0.3)]),
    "flats": (lambda: Flats(draw(3, 6), torch.linalg.qr(draw(3, 6, 2, seed=1)).Q), [Exact()]),
    "mixture": (lambda: mixture(D=6), [Exact(), Soft(1.0)]),
    "kernels": (lambda: KernelMixture(draw(4, 6), draw(4, 2, seed=1)), [Exact()]),
    "line": (lambda: LinearGaussian(draw(6), draw(6, 2, seed=1), 0.3), [Exact(), Soft(1.0)]),
}


@pytest.mark.parametrize("name", SEEN)
def test_rows_do_not_depend_on_each_other_and_no_other_code_does_better(name):
    make, infers = SEEN[name]
    A, y = draw(4, 6, seed=3), draw(15, 4, seed=4)
    for infer in infers:
        measured = Measured(make(), A, NOISE)
        values = objective(measured, y, infer)
        alone = torch.cat([objective(measured, row, infer) for row in y.split(1)])
        assert values.shape == (15,) and torch.allclose(alone, values, rtol=0, atol=1e-11)
        z, bonus = infer(measured, y)
        order = torch.arange(15).roll(1)
        other = z[order] if torch.is_tensor(z) else tuple(part[order] for part in z)
        bonus = bonus[order] if isinstance(infer, Soft) else bonus
        assert (measured.log_joint(y, other) + bonus <= values + 1e-9).all()


@pytest.mark.parametrize("model", [
    KMeans(5, random_state=0), Memory(), LGAE(6), LLGAE(4, 3, random_state=0), PPCA(6), GGAE(6, 2, variance=60.0, random_state=0, max_iter=9),
    MPPCA(4, 3, random_state=0, max_iter=9), GaussianMixture(5, random_state=0, max_iter=9),
], ids=lambda model: type(model).__name__)  # fmt: skip
def test_every_closed_form_beats_the_mean_and_does_not_see_units_or_chunks(model, digits, monkeypatch):
    train, new = digits
    A = draw(16, 64).numpy() / 8
    y, quietly = new @ A.T, quiet(model, train)
    found = sense(quietly, y, A, 0.1)
    assert ((found.mean - new) ** 2).mean() < 0.7 * ((train.mean(0) - new) ** 2).mean()
    monkeypatch.setattr("gaelib.models.sensing.ENTRIES", 2000)
    assert np.abs(sense(model, y, A, 0.1).mean - found.mean).max() < 1e-9
    assert np.abs(sense(model, 50 * y, 50 * A, 5.0).mean - found.mean).max() < 1e-7
    tensors = sense(model, torch.tensor(y), torch.tensor(A), 0.1)
    assert torch.is_tensor(tensors.mean) and np.array_equal(tensors.mean.numpy(), found.mean)


def test_what_flats_leave_is_what_their_fit_ended_with(digits):
    train, _ = digits
    for model, free in ((KMeans(5, random_state=0), 0), (LLGAE(4, 3, random_state=0), 3), (LGAE(6), 6)):
        model.fit(train)
        lost = ((train - model.inverse_transform(model.transform(train))) ** 2).sum() / len(train) / (64 - free)
        assert abs(leaves(model) / lost - 1) < 0.02, model
    assert leaves(Memory().fit(train)) == 0 and leaves(PPCA(2).fit(train)) is None


def test_float32_far_from_the_origin(digits):
    train, new = digits
    far = MPPCA(3, 3, random_state=0, max_iter=5)
    A = draw(10, 64).numpy() / 8
    near = sense(quiet(far, train), new @ A.T, A, 0.1, T=1)
    moved = sense(quiet(far, (train + 1000).astype(np.float32)), (new + 1000) @ A.T, A, 0.1, T=1)
    assert moved.mean.dtype == np.float32 and np.abs(moved.mean - 1000 - near.mean).max() < 0.02


@pytest.fixture(scope="module")
def networks(digits):
    train = digits[0].astype(np.float32)
    options = {"hidden": (48,), "max_epochs": 12, "random_state": 0}
    return VAE(6, **options).fit(train), Autoencoder(6, **options).fit(train)


def test_networks_climb_from_their_prior_or_from_codes(networks, digits):
    (vae, ae), (train, new) = networks, digits
    A = draw(16, 64).numpy() / 8
    y, far = new @ A.T, ((train.mean(0) - new) ** 2).mean()
    found = sense(vae, y, A, 0.1, random_state=0)
    assert ((found.mean - new) ** 2).mean() < 0.6 * far and found.std is None and found.mean.dtype == np.float32
    again = sense(vae, y[3:4], A, 0.1, random_state=0)
    assert np.abs(again.mean - found.mean[3:4]).max() < 1e-2  # in float32, 300 steps later
    start = ae.transform(train[:5].astype(np.float32))
    assert ((sense(ae, y, A, 0.1, start=start).mean - new) ** 2).mean() < 0.7 * far


def test_what_a_network_leaves_is_said_or_learned(networks, digits):
    vae, A = networks[0], draw(16, 64).numpy() / 8
    learned, said = (sense(vae, digits[1] @ A.T, A, 0.1, random_state=0, steps=30, variance=variance).score
                     for variance in (None, vae.variance_))  # fmt: skip
    assert np.abs(learned - said).max() < 1e-3


# --- for the tests that go over every model: tests/registry.py ---

FUNCTIONS = [sense]
UNBOUND = {"Measured": "It learns nothing of its own, so it has no sums; its max and its posterior are tested here."}
Y, A2 = np.ones((3, 2)), np.eye(2, 4)
PLANE = Flats(torch.zeros(1, 4), torch.eye(4)[None, :, :2])
NET = Network(layers(2, 4))


def denoiser():
    return DenoisingAutoencoder(hidden=(4,), max_epochs=1, random_state=0).fit(np.eye(4))


BAD = {
    "sensing before fit": (lambda: sense(MPPCA(), Y, A2), Exception, "MPPCA", "not fitted", "fit"),
    "measurements of another number": (lambda: sense(PLANE, np.ones((3, 5)), A2), ValueError, "(3, 5)", "(2, 4)", "pass y as (n, M)"),
    "one row without its axis": (lambda: sense(PLANE, np.ones(2), A2), ValueError, "(2,)", "(2, 4)", "pass y as (n, M)"),
    "no measurement": (lambda: sense(PLANE, np.ones((3, 0)), np.ones((0, 4))), ValueError, "(3, 0)", "(0, 4)", "pass y as (n, M)"),
    "a matrix of another width": (lambda: sense(PLANE, Y, np.eye(2, 5)), ValueError, "(2, 5)", "4 features", "one column for each"),
    "a measurement that is missing": (lambda: sense(PLANE, [[1.0, np.nan]], A2), ValueError, "y has 1", "2 entries", "pass finite numbers"),
    "noise below none": (lambda: sense(PLANE, Y, A2, -1.0), ValueError, "noise=-1.0", "at least 0", "noise=0 for none"),
    "measurements that say the same": (lambda: sense(PLANE, Y, np.ones((2, 4))), ValueError, "2 measurements", "rank 1", "pass noise > 0"),
    "memory without noise": (lambda: sense(Memory().fit(np.eye(4)), Y, A2), ValueError, "rank 0", "noise=0", "pass noise > 0"),
    "half a temperature": (lambda: sense(PLANE, Y, A2, T=0.5), ValueError, "T=0.5", "neither 0 nor 1", "pass T=0"),
    "the uncertainty of flats": (lambda: sense(PLANE, Y, A2, T=1), ValueError, "T=1", "0 are known of Flats", "use MPPCA"),
    "a network without codes to start from": (lambda: sense(NET, Y, A2), ValueError, "Network has no prior", "10", "pass start="),
    "codes to start from of another form": (lambda: sense(NET, Y, A2, start=np.ones(2)), ValueError, "(2,)", "(restarts, E)", "pass such codes"),
    "counts seen through a matrix": (lambda: sense(Network(layers(2, 4), noise="poisson"), Y, A2), ValueError, "'poisson'", "no sigma^2", "pass variance="),
    "an encoder that guesses": (lambda: sense(torch.nn.Identity(), Y, A2), TypeError, "Identity", "5 kinds", "pass Flats"),
    "parts seen through a matrix": (lambda: sense(NMF(1).fit(np.eye(4)), Y, A2), TypeError, "NMF", "5 kinds", "such as a fitted MPPCA"),
    "a class instead of a model": (lambda: sense(MPPCA, Y, A2), TypeError, "MPPCA", "5 kinds", "a fitted MPPCA"),
    "several temperatures": (lambda: sense(PLANE, Y, A2, T=np.array([0, 1])), ValueError, "array([0, 1])", "neither 0 nor 1", "pass T=0"),
    "a matrix too large to square": (lambda: sense(PLANE, Y, 1e200 * A2, 1.0), ValueError, "1e+200", "noise=1", "in larger units"),
    "noise too large to square": (lambda: sense(PLANE, Y, A2, 1e200), ValueError, "up to 1", "noise=1e+200", "in larger units"),
    "a code as long as the row": (lambda: sense(denoiser(), Y, A2, start=np.ones((3, 2))), ValueError, "(3, 2)", "(restarts, 4)", "pass such codes"),
    "no restart": (lambda: sense(NET, Y, A2, restarts=0), ValueError, "restarts=0", "at least 1", "pass restarts=1"),
}  # fmt: skip


def sensed(of, device):
    """The mean, the uncertainty and the score of rows seen through three measurements, by four kinds of prior."""
    x, A = registry.CLOUDS, np.random.default_rng(1).normal(size=(3, 5))
    found = {}
    for T, model in (
        (1, MPPCA(2, 1, max_iter=5, **registry.SEED)),
        (1, PPCA(2)),
        (0, LLGAE(2, 1, max_iter=5, **registry.SEED)),
        (0, VAE(1, hidden=(4,), max_epochs=1, device="cpu", **registry.SEED)),
    ):
        model.set_params(device="cpu").fit(x)
        found |= {f"{type(model).__name__}'s {what}": answer for what, answer in zip(
            ("mean", "std", "score"), sense(model, of(x[:9] @ A.T), of(A), 0.1, T=T, steps=3, **registry.SEED)
        ) if answer is not None}  # fmt: skip
    return found


DEVICES = {"sense": sensed}
