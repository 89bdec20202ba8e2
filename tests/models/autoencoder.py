"""Neural autoencoders against PCA and probabilistic PCA, quadrature, and their own promises."""

import math
import pickle
from functools import partial

import numpy as np
import pytest
import registry
import torch
from gaelib import PPCA, data, progress
from gaelib.core import Amortise, Given, ascend, objective
from gaelib.joints.linear import LinearGaussian
from gaelib.joints.network import Network, layers, seeded
from gaelib.models.autoencoder import VAE, Autoencoder
from sklearn.decomposition import PCA
from torch import nn

BOTH = pytest.mark.parametrize("model", [Autoencoder, VAE])
QUICK = {"hidden": (16,), "max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return data.digits()[0][:400]


lbfgs = partial(
    torch.optim.LBFGS, max_iter=100, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-12,
    tolerance_change=0,
)  # fmt: skip


def stand_ins():
    """64 rows with the second moments of the digits, centred: all that a linear network without bias sees of them."""
    X = torch.tensor(data.digits()[0] / 16)
    X = X - X.mean(0)
    return torch.linalg.qr(X).R * math.sqrt(64 / len(X)), X


def test_a_linear_autoencoder_is_principal_components(parity):
    few, X = stand_ins()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, decoder = (nn.Linear(*sizes, bias=False).double() for sizes in ((64, 5), (5, 64)))
    joint, answer = Network(decoder, prior="flat").double(), Amortise(encoder)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    ascend(lambda: objective(joint, few, answer).mean(), parameters, 15, 1.0, lbfgs)
    pca = PCA(5).fit(X.numpy())
    floor = float(((X.numpy() - pca.inverse_transform(pca.transform(X.numpy()))) ** 2).sum(1).mean())
    with torch.no_grad():
        error = float((X - joint.decode(encoder(X))).square().sum(1).mean())
    parity(Autoencoder, PCA, "squared error of a linear network on digits, excess", error - floor, 1e-6)


def linear_vae(X, p, variance=None):
    """The exact bound of a linear encoder with one diagonal q, climbed by L-BFGS: weights, bound, KL_j, sigma^2."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Linear(X.shape[1], p, bias=False).double()
        weights = (0.3 * torch.randn(X.shape[1], p).double()).requires_grad_()
    log_scale, log_variance = torch.zeros(p).double().requires_grad_(), torch.zeros(1).double().requires_grad_()

    def bound():
        joint = LinearGaussian(X.new_zeros(X.shape[1]), weights.detach(), 1.0)
        joint.weights, joint.variance = weights, log_variance.exp()[0] if variance is None else torch.tensor(variance)
        answer = Given((encoder(X), torch.diag((2 * log_scale).exp())))
        entropy = (log_scale + 0.5 * math.log(2 * math.pi * math.e)).sum()
        return (objective(joint, X, answer) + entropy).mean()

    params = [weights, *encoder.parameters(), log_scale] + [log_variance] * (variance is None)
    ascend(bound, params, 15, 1.0, lbfgs)
    with torch.no_grad():
        kl = 0.5 * (encoder(X).square().mean(0) + (2 * log_scale).exp() - 2 * log_scale - 1)
        return weights.detach(), float(bound()), kl, float(log_variance.exp())


@pytest.mark.slow
def test_a_linear_vae_is_probabilistic_pca(parity):
    few, X = stand_ins()
    weights, bound, _, variance = linear_vae(few, 5)
    below = PPCA(5).fit(X.numpy()).score(X.numpy()) - bound
    parity(VAE, PPCA, "bound of a linear network on digits, nats below the evidence", below, 1e-6)
    gram = weights.T @ weights
    assert (gram - torch.diag(gram.diagonal())).abs().max() < 1e-3  # PPCA's own axes: the bound sees the rotation
    eigen = torch.linalg.eigvalsh(torch.cov(X.T, correction=0)).flip(0)[:5]
    assert (gram.diagonal().sort(descending=True).values - (eigen - variance)).abs().max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("variance", "kept"), [(0.5, 3), (0.2, 7), (0.1, 12)])
def test_a_direction_is_kept_where_its_variance_exceeds_the_noise(variance, kept):
    few, X = stand_ins()
    eigen = torch.linalg.eigvalsh(torch.cov(X.T, correction=0)).flip(0)[:12]
    weights, _, kl, _ = linear_vae(few, 12, variance)
    length = weights.square().sum(0)
    assert int((length > 1e-3).sum()) == kept == int((eigen > variance).sum())
    cost = kl.sort(descending=True).values
    assert (cost[:kept] - 0.5 * (eigen[:kept] / variance).log()).abs().max() < 1e-3


@pytest.mark.parametrize("noise", ["gaussian", "bernoulli", "poisson"])
def test_every_noise_is_a_density(noise):
    joint = Network(nn.Identity(), noise=noise, variance=0.3, prior="flat", centre=torch.tensor([0.4]), scale=2.0)
    z = torch.tensor([[0.3]], dtype=torch.float32)
    if noise == "gaussian":
        x = torch.linspace(-12, 12, 40001)[:, None]
        total = float(joint.log_joint(x, z.expand(len(x), 1)).exp().sum()) * 24 / 40000
        mean = float((joint.log_joint(x, z.expand(len(x), 1)).exp() * x[:, 0]).sum()) * 24 / 40000
    else:
        x = torch.arange(2.0 if noise == "bernoulli" else 60.0)[:, None]
        p = joint.log_joint(x, z.expand(len(x), 1)).exp()
        total, mean = float(p.sum()), float((p * x[:, 0]).sum())
    assert abs(total - 1) < 1e-5 and abs(mean - float(joint.decode(z))) < 1e-4


@pytest.mark.parametrize("noise", ["gaussian", "bernoulli", "poisson"])
def test_entries_that_are_not_there_are_not_scored(noise):
    joint, there = Network(nn.Identity(), noise=noise, variance=0.3, prior="flat"), torch.tensor([[True, False, True]])
    x, z = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[0.3, 2.0, -0.4]])
    assert torch.allclose(joint.log_joint(x, z, there), joint.log_joint(x[:, ::2], z[:, ::2]))


def test_the_prior_is_a_density():
    joint = Network(layers(1, 1), prior="normal", noise="bernoulli")
    z = torch.linspace(-9, 9, 4001)[:, None]
    both = sum(joint.log_joint(torch.full_like(z, x), z).exp() for x in (0.0, 1.0))
    assert abs(float(both.detach().sum()) * 18 / 4000 - 1) < 1e-5


@BOTH
@pytest.mark.parametrize("noise", ["bernoulli", "poisson"])
def test_learning_starts_from_the_mean_picture(model, noise, digits):
    """After steps of no length, a code of no effect decodes to the mean of the data."""
    X = digits[:, 18:30] / 16
    last = model(2, noise=noise, lr=1e-12, **QUICK).fit(X).joint_.decoder[-1].bias.detach()
    start = last.sigmoid() if noise == "bernoulli" else last.exp()
    assert np.abs(start.numpy() - X.mean(0).clip(1e-3)).max() < 1e-6


@BOTH
@pytest.mark.parametrize("unit", [1e-3, 255.0])
def test_codes_do_not_see_units_and_densities_do(model, unit, digits):
    here, there = (model(4, **QUICK).fit(digits * s) for s in (1.0, unit))
    assert np.abs(here.transform(digits) - there.transform(digits * unit)).max() < 1e-3
    assert abs(here.score(digits) - there.score(digits * unit) - 64 * math.log(unit)) < 1e-3
    assert abs(there.variance_ / (here.variance_ * unit**2) - 1) < 1e-3


@BOTH
def test_a_score_is_the_same_twice_and_alone(model, digits):
    fitted = model(4, **QUICK).fit(digits)
    whole = fitted.score_samples(digits)
    assert np.array_equal(whole, fitted.score_samples(digits))
    assert np.allclose(whole[7:9], fitted.score_samples(digits[7:9]), rtol=1e-5)
    assert np.allclose(whole[::-1], fitted.score_samples(digits[::-1].copy()), rtol=1e-5)
    assert np.isclose(fitted.score(digits), fitted.score(digits))


def test_more_draws_do_not_lower_the_mean_bound(digits):
    vae = VAE(4, **QUICK).fit(digits)
    bounds = [VAE.score(vae.set_params(score_draws=k), digits) for k in (1, 8, 64)]
    assert bounds[0] < bounds[1] < bounds[2]


@BOTH
def test_same_seed_same_model_and_nothing_global_moves(model, digits):
    before = torch.random.get_rng_state()
    a, b, other = (model(2, **QUICK | {"random_state": seed}).fit(digits) for seed in (0, 0, 1))
    assert np.array_equal(a.transform(digits), b.transform(digits))
    assert not np.allclose(a.transform(digits), other.transform(digits))
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_torch_draws_by_itself_comes_from_the_seed_alone():
    with torch.random.fork_rng(devices=[]):
        drawn = []
        for before, seed in ((1, 0), (2, 0), (2, 1)):
            torch.manual_seed(before)
            with seeded(seed):
                drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[1], drawn[2])


OTHERS = {
    "n_components": 3, "hidden": (8, 8), "noise": "poisson", "variance": 5.0, "max_epochs": 5, "batch_size": 100, "lr": 1e-2,
    "validation": 0.3, "precision": "bfloat16", "random_state": 1,
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", OTHERS)
def test_every_argument_changes_something(model, name, digits):
    plain = model(**{"n_components": 2} | QUICK).fit(digits)
    changed = model(**{"n_components": 2} | QUICK | {name: OTHERS[name]}).fit(digits)
    assert not np.array_equal(plain.score_samples(digits), changed.score_samples(digits))


@pytest.mark.parametrize(
    ("base", "change"),
    [({}, {"draws": 5}), ({"variance": 5.0}, {"anneal": 0.5}), ({}, {"score_draws": 3}), ({"noise": "bernoulli"}, {"binarise": True})],
)  # fmt: skip
def test_every_argument_of_the_vae_changes_something(base, change, digits):
    plain, changed = (VAE(2, **QUICK | more).fit(digits / 16) for more in (base, base | change))
    assert not np.array_equal(plain.score_samples(digits / 16), changed.score_samples(digits / 16))


@BOTH
def test_own_networks_patience_and_progress_change_something(model, digits, capsys, monkeypatch):
    """The arguments that the table above cannot hold; `device` is that of tests/test_devices.py."""
    monkeypatch.setattr(progress, "watched", lambda: True)
    told = model(2, verbose=1, **QUICK).fit(digits)
    said = capsys.readouterr()
    assert "epoch" in said.err and not said.out
    halves = 2 if model is VAE else 1
    own = model(2, encoder=layers(64, 2 * halves), decoder=layers(2, 64), **QUICK).fit(digits)
    assert not np.array_equal(told.score_samples(digits), own.score_samples(digits))
    short = model(2, patience=1, lr=0.3, **QUICK | {"max_epochs": 30}).fit(digits)
    assert short.n_iter_ < 30


@BOTH
def test_weights_that_own_networks_share_stay_shared(model, digits):
    class Back(nn.Module):
        """The way back by the weights of the encoder's first rows."""

        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, z):
            return z @ self.linear.weight[:2]

    linear = nn.Linear(64, 4 if model is VAE else 2)
    before = linear.weight.detach().clone()
    joint = model(2, encoder=linear, decoder=Back(linear), **QUICK).fit(digits).joint_
    assert joint.decoder.linear is joint.encoder and sum(part.numel() for part in joint.parameters()) < 300
    assert torch.equal(linear.weight, before) and not torch.equal(joint.encoder.weight.float(), before)


@pytest.mark.parametrize("noise", ["gaussian", "bernoulli"])
def test_layers_in_bfloat16_learn_as_well_and_densities_stay_in_float32(noise, digits, monkeypatch):
    seen = []
    log_joint = Network.log_joint

    def spy(self, x, z, there=None):
        seen.append((log_joint(self, x, z, there).dtype, z.dtype, self.bfloat16))
        return log_joint(self, x, z, there)

    monkeypatch.setattr(Network, "log_joint", spy)
    options = {"noise": noise, "hidden": (64,), "max_epochs": 8, "random_state": 0}
    full, half = (Autoencoder(4, precision=p, **options).fit(digits / 16) for p in ("float32", "bfloat16"))
    assert {kinds for kinds in seen if kinds[2]} == {(torch.float32, torch.float32, True)}
    assert half.joint_.decoder[0].weight.dtype == torch.float64 and not half.joint_.bfloat16
    gap = half.score(digits / 16) - full.score(digits / 16)
    assert gap != 0 and abs(gap) < 0.05 * abs(full.score(digits / 16))


def test_bfloat16_is_chosen_where_it_pays(digits, monkeypatch):
    wide = np.tile(digits[:40], 4)  # 256 columns
    for pays in (True, False):
        monkeypatch.setattr("gaelib.networks.multiplies_bfloat16", lambda device, pays=pays: pays)
        for X, chosen in ((wide, pays), (digits[:40], False)):
            auto, said = (
                Autoencoder(1, precision=p, **QUICK).fit(X) for p in ("auto", ("float32", "bfloat16")[chosen])
            )
            assert np.array_equal(auto.transform(X), said.transform(X))
            other = Autoencoder(1, precision=("bfloat16", "float32")[chosen], **QUICK).fit(X)
            assert not np.array_equal(auto.transform(X), other.transform(X))


def test_bits_are_drawn_anew_by_their_greys(digits, monkeypatch):
    """What training sees are bits, those of one row differ from epoch to epoch, and their mean is the row."""
    seen = []
    log_joint = Network.log_joint
    monkeypatch.setattr(Network, "log_joint", lambda self, x, *rest: seen.append(x) or log_joint(self, x, *rest))
    X = np.repeat(digits[:1] / 16, 100, 0)
    VAE(1, hidden=(), noise="bernoulli", binarise=True, validation=0, max_epochs=9, random_state=0).fit(X)
    bits = torch.cat(seen).double()
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert np.abs(bits.mean(0).numpy() - X[0]).max() < 0.1 < bits.std(0).max()
    assert len(bits.unique(dim=0)) > 100  # more than one drawing of each row


def test_a_given_variance_stays_and_an_annealed_one_ends_there(digits):
    assert VAE(2, variance=3.0, **QUICK).fit(digits).variance_ == pytest.approx(3.0, rel=1e-5)
    annealed = VAE(2, variance=3.0, anneal=0.5, **QUICK | {"max_epochs": 8}).fit(digits)
    assert annealed.variance_ == pytest.approx(3.0, rel=1e-5)


def test_patience_ends_a_fit_and_the_best_state_stays(digits):
    model = Autoencoder(2, hidden=(64,), max_epochs=60, patience=2, lr=0.05, random_state=0).fit(digits)
    assert model.n_iter_ < 60 and np.argmax(model.history_) == model.n_iter_ - 3
    last = Autoencoder(2, validation=0, patience=2, **QUICK).fit(digits)
    assert last.n_iter_ == 3


@BOTH
def test_batches_memmaps_and_pickles(model, digits, tmp_path):
    np.save(tmp_path / "x.npy", digits)
    whole = model(2, **QUICK).fit(digits)
    lazy = model(2, **QUICK).fit(np.load(tmp_path / "x.npy", mmap_mode="r"))
    streamed = model(2, **QUICK).fit([digits[:150], digits[150:]])
    for other in (lazy, streamed, pickle.loads(pickle.dumps(whole))):
        assert np.allclose(whole.transform(digits), other.transform(digits), atol=1e-5)
    assert isinstance(model(2, **QUICK).fit(torch.tensor(digits)).transform(torch.tensor(digits)), torch.Tensor)


@BOTH
def test_pictures_go_in_and_come_out(model, digits):
    pictures, wide = digits.reshape(-1, 1, 8, 8), 2 if model is VAE else 1
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.Flatten(), nn.Linear(36, 3 * wide))
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 1, 3, padding=1))
    before = [part.clone() for part in encoder.parameters()]
    fitted = model(3, encoder=encoder, decoder=decoder, max_epochs=2, random_state=0).fit(pictures)
    assert fitted.inverse_transform(fitted.transform(pictures)).shape == pictures.shape
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters())), "the caller's network was trained"
    assert np.allclose(fitted.score_samples(pictures[:3]), fitted.score_samples(pictures)[:3], rtol=1e-5)


def test_holes_are_filled_better_than_by_the_mean():
    X = data.digits()[0]
    vae = VAE(8, hidden=(64,), max_epochs=20, random_state=0).fit(X[300:])
    holes = X[:300].copy()
    gone = np.random.default_rng(0).random(holes.shape) < 0.3
    holes[gone] = np.nan
    filled = vae.impute(holes)
    assert np.array_equal(filled[~gone], X[:300][~gone])
    mean = np.broadcast_to(X[300:].mean(0), holes.shape)
    assert ((filled - X[:300])[gone] ** 2).mean() < 0.5 * ((mean - X[:300])[gone] ** 2).mean()


def test_samples_come_from_the_model(digits):
    vae = VAE(2, **QUICK | {"max_epochs": 10}).fit(digits)
    assert np.array_equal(vae.sample(4, random_state=1), vae.sample(4, random_state=1))
    x, mean = (vae.sample(3000, random_state=0, noise=noise) for noise in (True, False))
    assert abs((x - mean).var() / vae.variance_ - 1) < 0.05
    ones = VAE(2, noise="bernoulli", **QUICK).fit(digits / 16).sample(5, random_state=0)
    assert set(np.unique(ones)) <= {0.0, 1.0}


@pytest.mark.slow
def test_annealing_saves_codes_that_die():
    """Three hidden layers on digits, sigma^2 = 0.2: from scratch the code dies, and with it 3 nats (ledger L10)."""
    X = data.digits()[0] / 16
    options = {"hidden": (64,) * 3, "variance": 0.2, "batch_size": 128, "max_epochs": 60, "validation": 0, "lr": 2e-3}
    for seed in range(3):
        scratch, annealed = (VAE(12, anneal=share, random_state=seed, **options).fit(X) for share in (0, 0.8))
        assert annealed.score(X) - scratch.score(X) > 2
        assert scratch.transform(X).std(0).max() < 0.1 < annealed.transform(X).std(0).max()


def test_an_interrupt_keeps_the_best(digits, monkeypatch):
    def stop(self, history):
        if len(history) == 2:
            raise KeyboardInterrupt
        return over(self, history)

    from gaelib.training import Epochs

    over = Epochs._over
    monkeypatch.setattr(Epochs, "_over", stop)
    model = Autoencoder(2, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        model.fit(digits)
    assert model.n_iter_ == 2 and np.isfinite(model.score(digits)) and not model.joint_.training


def test_a_step_that_explodes_is_named(digits):
    class Bad(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (float("nan") if self.training else 1.0)

    with pytest.raises(FloatingPointError, match=r"nan at step 0: lower lr"):
        Autoencoder(2, encoder=Bad(64, 2), decoder=nn.Linear(2, 64), **QUICK).fit(digits)


# --- for the tests that go over every model: tests/registry.py ---


def test_an_encoder_that_is_thrown_off_comes_back():
    """It asks for a q of width e^50, whose square float32 has no room for; bounded, with its slope, it learns."""
    X = np.random.default_rng(0).normal(size=(1000, 3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = nn.Linear(3, 2)
    encoder.bias.data.copy_(torch.tensor([0.0, 50.0]))
    model = VAE(1, hidden=(4,), encoder=encoder, lr=0.3, max_epochs=20, patience=20, random_state=0).fit(X)
    assert np.isfinite(model.history_).all() and model.history_[-1] > -5
    with torch.no_grad():
        assert float(model.joint_.encode(torch.tensor(X))[:, 1].max()) < 1


ESTIMATORS = [Autoencoder(1, **QUICK), VAE(1, **QUICK)]
UNBOUND = {
    "Network": "No closed form answers its max: it is tested against densities, PCA and probabilistic PCA above."
}
X = np.arange(48.0).reshape(12, 4)
BAD = {
    "no code": (lambda: Autoencoder(0).fit(X), ValueError, "n_components=0", "at least 1", "pass n_components=1"),
    "sizes in words": (lambda: Autoencoder(hidden="64").fit(X), ValueError, "hidden='64'", "tuple", "pass (256, 128)"),
    "one size": (lambda: Autoencoder(hidden=64).fit(X), ValueError, "hidden=64", "tuple", "pass (256, 128)"),
    "a layer of nothing": (lambda: VAE(hidden=(8, 0)).fit(X), ValueError, "hidden=0", "at least 1", "pass hidden=1"),
    "an unknown noise": (lambda: VAE(noise="laplace").fit(X), ValueError, "'laplace'", "gaussian, bernoulli, poisson", "pass one of these"),
    "no variance": (lambda: VAE(variance=0).fit(X), ValueError, "variance=0", "above 0", "variance='learn'"),
    "variance in words": (lambda: VAE(variance="own").fit(X), ValueError, "variance='own'", "above 0", "variance='learn'"),
    "endless variance": (lambda: VAE(variance=math.inf).fit(X), ValueError, "variance=inf", "finite", "variance='learn'"),
    "no epochs": (lambda: VAE(max_epochs=0).fit(X), ValueError, "max_epochs=0", "at least 1", "pass max_epochs=1"),
    "no batch": (lambda: VAE(batch_size=0).fit(X), ValueError, "batch_size=0", "at least 1", "pass batch_size=1"),
    "a batch in words": (lambda: VAE(batch_size="big").fit(X), ValueError, "batch_size='big'", "integer", "pass batch_size=1"),
    "no step": (lambda: VAE(lr=0).fit(X), ValueError, "lr=0", "above 0", "pass lr=0.003"),
    "a step of nan": (lambda: VAE(lr=math.nan).fit(X), ValueError, "lr=nan", "above 0", "pass lr=0.003"),
    "all held out": (lambda: VAE(validation=1.0).fit(X), ValueError, "validation=1.0", "not below 1", "validation=0.1"),
    "less than none": (lambda: VAE(validation=-0.1).fit(X), ValueError, "validation=-0.1", "at least 0", "validation=0.1"),
    "too few rows": (lambda: VAE().fit(X[:2]), ValueError, "n_samples=2", "leaves 1", "pass more rows"),
    "no patience": (lambda: VAE(patience=0).fit(X), ValueError, "patience=0", "at least 1", "pass patience=1"),
    "no draws": (lambda: VAE(draws=0).fit(X), ValueError, "draws=0", "at least 1", "pass draws=1"),
    "no draws for a score": (lambda: VAE(score_draws=0).fit(X), ValueError, "score_draws=0", "at least 1", "pass score_draws=1"),
    "annealing what is learned": (lambda: VAE(anneal=0.5).fit(X), ValueError, "anneal=0.5", "variance='learn'", "pass a number"),
    "annealing for ever": (lambda: VAE(anneal=1.0, variance=1.0).fit(X), ValueError, "anneal=1.0", "not below 1", "anneal=0.1"),
    "an unknown precision": (lambda: VAE(precision="half").fit(X), ValueError, "'half'", "auto, float32, bfloat16", "pass one of these"),
    "bits of real numbers": (lambda: VAE(binarise=True).fit(X), ValueError, "binarise=True", "noise='gaussian'", "noise='bernoulli'"),
    "neither yes nor no": (lambda: VAE(binarise=2).fit(X), ValueError, "binarise=2", "neither True nor False", "pass one of the two"),
    "bits beyond one": (lambda: VAE(noise="bernoulli").fit(X), ValueError, "[0, 1]", "0 to 47", "rescale"),
    "counts below nothing": (lambda: VAE(noise="poisson").fit(-X), ValueError, "at least 0", "-47", "pass counts"),
    "an encoder of the wrong length": (
        lambda: VAE(2, encoder=nn.Linear(4, 2), decoder=nn.Linear(2, 4)).fit(X), ValueError, "(2, 2)", "(n, 4), mean and log scale", "last layer"),
    "a decoder of the wrong length": (
        lambda: Autoencoder(2, encoder=nn.Linear(4, 2), decoder=nn.Linear(2, 5)).fit(X), ValueError, "(5,)", "4 columns", "last layer"),
    "a hole": (lambda: VAE().fit(np.where(X == 5, np.nan, X)), ValueError, "row 1, column 1", "nan", "drop or fill"),
    "codes of another length": (
        lambda: Autoencoder(2, **QUICK).fit(X).inverse_transform(X), ValueError, "(n, 2)", "(12, 4)", "pass what transform returns"),
    "an encoder by name": (lambda: VAE(encoder="resnet").fit(X), ValueError, "encoder='resnet'", "no network", "pass an instance of"),
    "a decoder's class": (lambda: VAE(decoder=nn.Linear).fit(X), ValueError, "decoder=<class", "no network", "pass an instance of"),
    "an encoder of other rows": (
        lambda: VAE(2, encoder=nn.Linear(5, 4)).fit(X), ValueError, "the encoder cannot take an input (2, 4)", "5x4", "first layer"),
    "a decoder of other codes": (
        lambda: VAE(2, decoder=nn.Linear(3, 4)).fit(X), ValueError, "the decoder cannot take an input (2, 2)", "3x4", "first layer"),
    "an encoder that says two things": (
        lambda: VAE(2, encoder=nn.LSTM(4, 4)).fit(X), ValueError, "the encoder answers a tuple", "no tensor", "wrap it"),
    "pictures that lie otherwise": (
        lambda: VAE(2, **QUICK).fit(X.reshape(12, 2, 2, 1)).transform(X.reshape(12, 1, 2, 2)), ValueError, "(1, 2, 2)", "fit saw (2, 2, 1)", "of that shape"),
    "noise in words": (lambda: VAE(2, **QUICK).fit(X).sample(2, noise="no"), ValueError, "noise='no'", "neither True nor False", "pass one of the two"),
    "half a step": (lambda: VAE(2, **QUICK).fit(X).impute(X, steps=2.5), ValueError, "steps=2.5", "at least 0", "pass steps=0"),
    "scores of no bits": (
        lambda: VAE(2, noise="bernoulli", **QUICK).fit(X / 47).score(X), ValueError, "[0, 1]", "0 to 47", "rescale"),
    "scores of no counts": (
        lambda: Autoencoder(2, noise="poisson", **QUICK).fit(X).score(-X), ValueError, "at least 0", "-47", "pass counts"),
    "no samples": (lambda: VAE(2, **QUICK).fit(X).sample(0), ValueError, "n_samples=0", "at least 1", "pass n_samples=1"),
    "decode before fit": (lambda: VAE(2).inverse_transform(X), ValueError, "not fitted", "VAE", "fit"),
}  # fmt: skip
DEVICES = {name: (model(1, **QUICK), registry.CLOUDS) for name, model in (("Autoencoder", Autoencoder), ("VAE", VAE))}
DRAWS = {"VAE": "its noise is drawn on the device"}


def test_rows_in_their_units_already_are_taken_as_they_are():
    x, decoder = torch.rand(3, 4), torch.nn.Linear(2, 4)
    plain, shifted = Network(decoder), Network(decoder, centre=torch.zeros(4), scale=1.0)
    z = torch.rand(3, 2)
    assert plain.standard(x) is x and shifted.standard(x) is not x
    assert torch.equal(plain.log_joint(x, z), shifted.log_joint(x, z))
    assert not torch.equal(Network(decoder, scale=2.0).standard(x), x)
