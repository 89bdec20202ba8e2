"""Generators without an encoder, against PCA, Oja's rule, enumeration, and their own promises."""

import math
import pickle
from functools import partial

import numpy as np
import pytest
import registry
import torch
from gaelib import data
from gaelib.core import Given, ascend, objective
from gaelib.joints.network import Network, ball, layers
from gaelib.models.generators import GLO, IMLE, BestOf, GradientOrigin, into_ball
from sklearn.decomposition import PCA
from torch import nn

ALL = pytest.mark.parametrize("model", [partial(GLO, restarts=1), GradientOrigin, IMLE], ids=["GLO", "GON", "IMLE"])
QUICK = {"hidden": (16,), "max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return data.digits()[0][:200]


def lbfgs(params, lr):
    return torch.optim.LBFGS(
        params, lr, max_iter=100, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=0
    )  # fmt: skip


def stand_ins():
    """64 rows with the second moments of the digits, centred, and the squared error of PCA with five axes."""
    X = data.digits()[0] / 16
    X = torch.tensor(X - X.mean(0))
    pca = PCA(5).fit(X.numpy())
    floor = ((X.numpy() - pca.inverse_transform(pca.transform(X.numpy()))) ** 2).sum(1).mean()
    return torch.linalg.qr(X).R * math.sqrt(64 / len(X)), float(floor)


def linear():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(nn.Linear(5, 64, bias=False), prior="flat").double()


def test_glo_with_a_linear_decoder_is_principal_components(parity):
    few, floor = stand_ins()
    joint, z = linear(), torch.randn(64, 5, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    ascend(lambda: objective(joint, few, Given(z)).mean(), [*joint.decoder.parameters(), z], 15, 1.0, lbfgs)
    with torch.no_grad():
        error = float((few - joint.decode(z)).square().sum(1).mean())
    parity(GLO, PCA, "squared error of a linear decoder on digits, excess", error - floor, 1e-6)


@pytest.mark.parametrize("step", [0.1, 2.0])
def test_a_linear_gradient_origin_net_is_principal_components_and_learns_its_step(step, parity):
    few, floor = stand_ins()
    joint, model = linear(), GradientOrigin(5)
    model._length = 5  # as a fit says
    joint.tenth_step = torch.tensor(math.log(step) / 10)
    answer = model._answer(joint)
    ascend(lambda: objective(joint, few, answer).mean(), joint.decoder.parameters(), 15, 1.0, lbfgs)
    weights = joint.decoder.weight.detach()
    assert (2 * step * weights.T @ weights - torch.eye(5)).abs().max() < 1e-6
    error = float((few - joint.decode(model._answer(joint)(joint, few)[0]).detach()).square().sum(1).mean())
    if step == 2.0:
        parity(GradientOrigin, PCA, "squared error of a linear decoder on digits, excess", error - floor, 1e-6)


def test_the_step_does_not_see_the_variance():
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).double()
    codes = []
    for variance in (0.1, 3.0):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            joint = Network(layers(2, 8, 3), prior="flat", variance=variance).double()
        joint.tenth_step = nn.Parameter(torch.zeros(()).double())
        model = GradientOrigin(2)
        model._length = 2  # as a fit says
        codes.append(model._code(joint, x))
    assert torch.allclose(*codes, rtol=1e-12)


@pytest.mark.parametrize("noise", ["gaussian", "bernoulli", "poisson"])
@pytest.mark.parametrize("prior", ["normal", "ball", "flat"])
def test_all_pairs_at_once_are_the_pairs(noise, prior):
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        joint = Network(
            layers(2, 5, 3), noise=noise, prior=prior, variance=0.3, centre=torch.ones(3), scale=2.0
        ).double()
    x, z = torch.rand(4, 3, generator=draw).round().double(), torch.randn(6, 2, generator=draw).double()
    one = torch.stack([joint.log_joint(x, code.expand(4, 2)) for code in z], 1)
    assert torch.allclose(joint.log_joints(x, z), one, rtol=0, atol=1e-12)


def test_the_uniform_prior_of_the_ball_is_a_density():
    joint = Network(layers(2, 1), prior="ball", noise="bernoulli")
    line = torch.linspace(-1, 1, 801)
    z = torch.cartesian_prod(line, line)
    both = sum(joint.log_joint(torch.full((len(z), 1), x), z).exp() for x in (0.0, 1.0))
    assert abs(float(both.detach()[z.norm(dim=1) <= 1].sum()) * (2 / 800) ** 2 - 1) < 1e-3


@pytest.mark.parametrize(("E", "volume"), [(1, 2.0), (2, math.pi), (3, 4 * math.pi / 3)])
def test_the_ball_has_its_volume_in_every_dimension(E, volume):
    """In the plane alone Gamma(E/2) would do for Gamma(E/2 + 1)."""
    assert float(ball(torch.zeros(1, E))) == pytest.approx(-math.log(volume), rel=1e-6)


def test_the_best_of_many_draws_comes_near_the_maximum():
    """log q(x|z) + log n is the best of n draws; with all of them it is the maximum, and n draws never beat it."""
    joint = Network(nn.Identity(), prior="normal", variance=0.5)
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(1))
    top = joint.log_joint(x, x) - joint.log_joint(x, x).new_tensor(0)  # the best log likelihood is at z = x
    likelihood = top + 0.5 * x[:, 0] ** 2 + 0.5 * math.log(2 * math.pi)
    short = []
    for n in (10, 1000):
        draw = torch.Generator().manual_seed(0)

        def prior(n, draw=draw):
            z = torch.randn(n, 1, generator=draw)
            return z, -0.5 * z[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)

        short.append((likelihood - objective(joint, x, BestOf(prior, n)) - math.log(n)).detach())
    assert short[0].min() >= -1e-5 and short[1].mean() < 0.05 < short[0].mean()


@ALL
@pytest.mark.parametrize("unit", [1e-3, 255.0])
def test_codes_do_not_see_units_and_densities_do(model, unit, digits):
    here, there = (model(3, **QUICK).fit(digits * s) for s in (1.0, unit))
    assert np.abs(here.transform(digits[:40]) - there.transform(digits[:40] * unit)).max() < 5e-3
    shift = here.score(digits[:40]) - there.score(digits[:40] * unit) - 64 * math.log(unit)
    assert abs(shift) < 2e-2
    assert abs(there.variance_ / (here.variance_ * unit**2) - 1) < 2e-3


@ALL
def test_a_score_is_the_same_twice_and_alone(model, digits):
    fitted = model(3, **QUICK).fit(digits)
    whole = fitted.score_samples(digits[:40])
    assert np.array_equal(whole, fitted.score_samples(digits[:40]))
    assert np.allclose(whole[7:9], fitted.score_samples(digits[7:9]), rtol=1e-5)
    assert np.allclose(whole[::-1], fitted.score_samples(digits[:40][::-1].copy()), rtol=1e-5)


@ALL
def test_same_seed_same_model_and_nothing_global_moves(model, digits):
    before = torch.random.get_rng_state()
    a, b, other = (model(2, **QUICK | {"random_state": seed}).fit(digits) for seed in (0, 0, 1))
    assert np.array_equal(a.transform(digits[:9]), b.transform(digits[:9]))
    assert np.array_equal(a.sample(4, random_state=1), b.sample(4, random_state=1))
    assert not np.allclose(a.transform(digits[:9]), other.transform(digits[:9]))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("model", "change"), [
    (GLO, {"noise": "poisson"}), (GradientOrigin, {"step": 0.5}), (GradientOrigin, {"noise": "poisson"}),
    (IMLE, {"candidates": 8}), (IMLE, {"noise": "poisson"}), (GLO, {"validation": 0}), (IMLE, {"lr": 1e-2}),
])  # fmt: skip
def test_arguments_change_something(model, change, digits):
    plain, changed = (model(2, **QUICK | more).fit(digits) for more in ({}, change))
    assert not np.array_equal(plain.score_samples(digits[:9]), changed.score_samples(digits[:9]))


def test_more_restarts_find_codes_as_good(digits):
    model = GLO(2, **QUICK | {"max_epochs": 15}).fit(digits)
    one, many = (GLO.score_samples(model.set_params(restarts=n), digits[:60]) for n in (1, 6))
    assert (many >= one - 1e-9).all() and many.mean() > one.mean()


def test_only_codes_outside_the_ball_move_to_its_edge():
    z = torch.tensor([[0.0, 0.0], [0.3, 0.4], [3.0, 4.0]])
    assert torch.allclose(into_ball(z), torch.tensor([[0.0, 0.0], [0.3, 0.4], [0.6, 0.8]]))


def test_codes_stay_in_the_ball_and_belong_to_their_rows(digits):
    model = GLO(3, hidden=(32,), max_epochs=50, random_state=0).fit(digits)
    assert model.codes_.shape == (200, 3) and np.linalg.norm(model.codes_, axis=1).max() <= 1 + 1e-6
    assert np.linalg.norm(model._draw(500, torch.Generator().manual_seed(0)), axis=1).max() <= 1 + 1e-6
    error = ((model.inverse_transform(model.codes_) - digits) ** 2).sum(1)
    turned = ((model.inverse_transform(model.codes_[::-1].copy()) - digits) ** 2).sum(1)
    assert error.mean() < 0.75 * turned.mean() and error.mean() < ((digits - digits.mean(0)) ** 2).sum(1).mean()


@ALL
def test_a_few_numbers_beat_the_mean(model, digits):
    fitted = model(4, hidden=(32,), max_epochs=25, random_state=0).fit(digits)
    back = fitted.inverse_transform(fitted.transform(digits[:60]))
    assert ((back - digits[:60]) ** 2).sum() < 0.75 * ((digits.mean(0) - digits[:60]) ** 2).sum()
    holes = digits[:20].copy()
    holes[:, 20:28] = np.nan
    filled = fitted.impute(holes)[:, 20:28]
    assert ((filled - digits[:20, 20:28]) ** 2).mean() < ((digits[:, 20:28].mean(0) - digits[:20, 20:28]) ** 2).mean()


def test_samples_have_the_codes_mean_and_covariance(digits):
    model = GradientOrigin(3, **QUICK).fit(digits)
    codes, drawn = model.transform(digits), model._draw(20000, torch.Generator().manual_seed(0)).numpy()
    assert np.allclose(codes.mean(0), drawn.mean(0), atol=0.05 * codes.std())
    assert np.allclose(np.cov(codes.T, bias=True), np.cov(drawn.T), atol=0.05 * codes.var())


@ALL
def test_batches_pictures_and_pickles(model, digits):
    whole, streamed = model(2, **QUICK).fit(digits), model(2, **QUICK).fit([digits[:120], digits[120:]])
    for other in (streamed, pickle.loads(pickle.dumps(whole))):
        assert np.allclose(whole.transform(digits[:9]), other.transform(digits[:9]), atol=1e-4)
    pictures = digits.reshape(-1, 1, 8, 8)
    decoder = nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, (1, 8, 8)))
    drawn = model(2, decoder=decoder, max_epochs=2, random_state=0).fit(pictures)
    assert (
        drawn.sample(3, random_state=0).shape
        == drawn.inverse_transform(drawn.transform(pictures[:3])).shape
        == (3, 1, 8, 8)
    )


def test_an_interrupt_keeps_the_best(digits, monkeypatch):
    from gaelib.training import Epochs

    over = Epochs._over

    def stop(self, history):
        if len(history) == 2:
            raise KeyboardInterrupt
        return over(self, history)

    monkeypatch.setattr(Epochs, "_over", stop)
    for model in (GLO(2, **QUICK), GradientOrigin(2, **QUICK), IMLE(2, **QUICK)):
        with pytest.raises(KeyboardInterrupt):
            model.fit(digits)
        assert model.n_iter_ == 2 and np.isfinite(model.transform(digits[:9])).all() and not model.joint_.training


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [GLO(1, **QUICK, restarts=1), GradientOrigin(1, **QUICK), IMLE(1, **QUICK, candidates=16)]
ALONE = {
    "IMLE": "No library has it: its bound is enumerated over all draws of six codes (ledger L7d), its answer held to the "
    "maximum, and its pairs to the joint."
}  # fmt: skip
X = np.arange(48.0).reshape(12, 4)
BAD = {
    "no restart": (lambda: GLO(restarts=0).fit(X), ValueError, "restarts=0", "at least 1", "pass restarts=1"),
    "no step": (lambda: GradientOrigin(step=0).fit(X), ValueError, "step=0", "above 0", "step='learn'"),
    "a step in words": (lambda: GradientOrigin(step="long").fit(X), ValueError, "step='long'", "above 0", "step='learn'"),
    "an endless step": (lambda: GradientOrigin(step=math.inf).fit(X), ValueError, "step=inf", "finite", "step='learn'"),
    "no candidate": (lambda: IMLE(candidates=0).fit(X), ValueError, "candidates=0", "at least 1", "pass candidates=1"),
    "half a candidate": (lambda: IMLE(candidates=1.5).fit(X), ValueError, "candidates=1.5", "integer", "pass candidates=1"),
    "no code": (lambda: GLO(0).fit(X), ValueError, "n_components=0", "at least 1", "pass n_components=1"),
    "too few rows": (lambda: IMLE().fit(X[:2]), ValueError, "n_samples=2", "leaves 1", "pass more rows"),
    "greys that are no shares": (
        lambda: GLO(noise="bernoulli").fit(X), ValueError, "[0, 1]", "0 to 47", "rescale them"),
    "a decoder of the wrong length": (
        lambda: IMLE(2, decoder=nn.Linear(2, 5)).fit(X), ValueError, "(5,)", "4 columns", "last layer"),
    "a hole": (lambda: GLO().fit(np.where(X == 5, np.nan, X)), ValueError, "row 1, column 1", "nan", "drop or fill"),
    "codes of another length": (
        lambda: IMLE(2, **QUICK).fit(X).inverse_transform(X), ValueError, "(n, 2)", "(12, 4)", "pass what transform returns"),
    "no samples": (lambda: GLO(2, **QUICK).fit(X).sample(0), ValueError, "n_samples=0", "at least 1", "pass n_samples=1"),
    "code before fit": (lambda: GradientOrigin(2).transform(X), ValueError, "not fitted", "GradientOrigin", "fit"),
}  # fmt: skip
DEVICES = {
    "GLO": (GLO(1, **QUICK, restarts=1), registry.CLOUDS),
    "GradientOrigin": (GradientOrigin(1, **QUICK), registry.CLOUDS),
    "IMLE": (IMLE(1, **QUICK, candidates=16), registry.CLOUDS),
}
DRAWS = {"IMLE": "its noise is drawn on the device"}
