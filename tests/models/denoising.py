"""Denoising and contractive autoencoders against scores, posteriors and tangent planes that are known."""

import math
import pickle

import numpy as np
import pytest
import registry
import torch
from gaelib import ContractiveAutoencoder, DenoisingAutoencoder, data
from gaelib.core import Amortise, Joint, ascend, objective
from gaelib.joints.denoiser import Corruption, Levels
from gaelib.joints.network import Network, layers, tied
from gaelib.joints.rbm import RBM
from gaelib.models.denoising import Contracted, Corrupted, jacobian
from gaelib.training import adam, one_cycle
from torch import nn

from benchmarks.lineage import WIDTH, angle, local_planes, ring, ring_score, surface, within

BOTH = pytest.mark.parametrize("model", [DenoisingAutoencoder, ContractiveAutoencoder])
QUICK = {"hidden": (16,), "max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return data.digits()[0][:400]


@pytest.fixture(scope="module")
def fitted():
    """One denoiser of the ring at the width of its clusters."""
    return DenoisingAutoencoder(amount=WIDTH, hidden=(64, 64, 64), max_epochs=20, random_state=0).fit(ring(20000, 0))


def test_a_trained_denoiser_knows_the_score(fitted):
    x = ring(4000, 1) + WIDTH * np.random.default_rng(2).normal(size=(4000, 2))
    off, score = fitted.score_field(x) - ring_score(x, WIDTH), ring_score(x, WIDTH)
    assert ((off**2).sum() / (score**2).sum()) ** 0.5 < 0.25
    assert ((fitted.score_field(x) - ring_score(x, 0.0)) ** 2).sum() > (score**2).sum()  # p_sigma's, not p's


def test_three_chains_end_where_theory_says(fitted):
    """The clusters are Gaussian, so K5 gives each chain's width."""
    start, found = ring(1000, 3), {}
    for chain in ("mean", "sampled", "langevin"):
        found[chain] = within(fitted.sample(1000, 0, chain=chain, steps=60, start=start))["deviation"]
    mean = WIDTH / 3**0.5  # v = (v + s^2) / 4 where s is the width
    assert abs(found["mean"] / mean - 1) < 0.1
    assert abs(found["sampled"] / WIDTH - 1) < 0.1
    assert found["mean"] < found["sampled"] < found["langevin"]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_chain_of_a_gaussian_settles_as_k5_says(seed):
    X = np.random.default_rng(seed).normal(size=(20000, 1))
    X = (X - X.mean()) / X.std()  # K5 speaks of variance one, and 20,000 draws are off by a hundredth
    model = DenoisingAutoencoder(amount=1.0, hidden=(8,), max_epochs=8, random_state=seed).fit(X)
    assert abs(model.variance_ / 0.5 - 1) < 0.05
    for chain, variance in (("mean", 1 / 3), ("sampled", 1.0)):
        found = model.sample(100_000, 1, chain=chain, steps=20).var()
        assert abs(found / variance - 1) < 0.03, chain


def test_counts_are_denoised_as_robbins_says():
    """x ~ Gamma(2, 1), n ~ Poisson(x): the posterior mean is (n + 2) / 2."""
    X = np.random.default_rng(0).gamma(2, size=(20000, 1))
    model = DenoisingAutoencoder(corruption="poisson", hidden=(16,), max_epochs=10, random_state=0).fit(X)
    n = np.arange(5.0)[:, None]
    assert np.abs(model.inverse_transform(model.transform(n)) - (n + 2) / 2).max() < 0.15


@pytest.mark.parametrize("kind", ["masking", "salt_and_pepper"])
def test_corruptions_do_what_they_say(kind):
    x = torch.full((2000, 3), 0.5)
    y = Corruption(kind, 0.3, torch.tensor([7.0, 8.0, 9.0]), -1.0, 2.0)(x, torch.Generator().manual_seed(0))
    hit = y != 0.5
    assert abs(float(hit.float().mean()) - 0.3) < 0.02
    if kind == "masking":
        assert all(set(y[:, i].unique().tolist()) == {0.5, 7.0 + i} for i in range(3))
    else:
        assert set(y.unique().tolist()) == {-1.0, 0.5, 2.0} and abs(float((y[hit] > 0).float().mean()) - 0.5) < 0.03


def test_noise_and_counts_have_their_moments():
    x, draw = torch.full((40000, 1), 3.0), torch.Generator().manual_seed(0)
    y, n = (Corruption(kind, a, torch.zeros(1))(x, draw) for kind, a in (("gaussian", 0.7), ("poisson", 4.0)))
    assert abs(float(y.mean()) - 3) < 0.02 and abs(float(y.var()) / 0.49 - 1) < 0.03
    assert abs(float(n.mean()) - 3) < 0.03 and abs(float(n.var()) / (3 / 4) - 1) < 0.03
    assert torch.equal(4 * n, (4 * n).round())


@pytest.mark.parametrize("kind", ["gaussian", "masking", "poisson", "salt_and_pepper"])
def test_a_denoiser_denoises_new_digits(kind):
    X = data.digits()[0] / 16
    model = DenoisingAutoencoder(
        corruption=kind, amount=20.0 if kind == "poisson" else "auto", max_epochs=12, random_state=0
    )
    model.fit(X[:1400])
    new = torch.tensor(X[1400:])
    noisy = model.joint_.corrupt(new, torch.Generator().manual_seed(0)).numpy()
    left = ((model.inverse_transform(model.transform(noisy)) - X[1400:]) ** 2).sum(1).mean()
    assert left < 0.75 * ((noisy - X[1400:]) ** 2).sum(1).mean()
    assert abs(model.variance_ * 64 / left - 1) < 0.3  # what sigma^2 is


def test_an_answer_of_a_corrupted_row_is_scored_on_the_clean_one():
    joint, x = Network(nn.Identity(), variance=0.5, prior="flat"), torch.zeros(3, 2)
    value = objective(joint, x, Corrupted(Amortise(nn.Identity()), lambda x: x + 1))
    assert torch.allclose(value, torch.full((3,), -2 - math.log(math.pi)))


def test_the_price_is_the_jacobian_of_each_row():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, x = tied(4, 5)[0].double(), torch.randn(6, 4).double()
    z, bonus = Contracted(Amortise(encoder), 2.0)(Joint(), x)
    by_hand = 2 * ((1 - z**2) ** 2 @ encoder[0].weight.square().sum(1))  # of tanh
    assert torch.allclose(-bonus, by_hand)


def test_the_price_is_paid_in_the_same_nats_as_the_error(digits):
    """weight times squared slopes per standard deviation of the data, over 2 sigma^2 in units of its square."""
    model = ContractiveAutoencoder(4, weight=0.7, **QUICK).fit(digits)
    joint, x = model.joint_, torch.tensor(digits[:5])
    scale = float(joint.scale)
    slopes = jacobian(lambda x: model._code(joint, x), x) * scale
    by_hand = 0.7 * slopes.square().sum((1, 2)) * scale**2 / (2 * model.variance_)
    assert torch.allclose(-model._answer(joint)(joint, x)[1], by_hand, rtol=1e-5)


def test_an_untied_price_can_be_dodged_and_a_tied_one_cannot():
    """Ledger K3: a code a hundred times smaller costs ten thousand times less, and decodes to the same row."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, decoder, x = layers(4, 8, 3).double(), layers(3, 8, 4).double(), torch.randn(50, 4).double()
    joint, answer, scores = Network(decoder, prior="flat").double(), Contracted(Amortise(encoder), 1.0), []
    with torch.no_grad():
        for _ in range(3):
            value = objective(joint, x, Amortise(encoder))
            scores.append((value, -answer(joint, x)[1]))
            encoder[-1].weight *= 0.1
            encoder[-1].bias *= 0.1
            decoder[0].weight *= 10
    assert all(torch.allclose(value, scores[0][0], rtol=1e-9) for value, _ in scores)
    assert torch.allclose(scores[2][1], scores[0][1] * 1e-4)
    encoder, decoder = tied(4, 3)
    assert decoder[0].linear is encoder[0]
    before = decoder(encoder(x.float()))
    with torch.no_grad():
        encoder[0].weight *= 0.1
    assert (decoder(encoder(x.float())) - before).abs().max() > 0.1


@pytest.mark.slow
def test_tied_contraction_finds_the_tangent_plane():
    X, (T, planes) = surface(4000, 0.05, 0)[0], surface(300, 0.0, 1, 1.5)
    options = {"max_epochs": 12, "lr": 1e-2, "random_state": 0}
    priced, free = (ContractiveAutoencoder(64, weight=weight, **options).fit(X) for weight in (0.3, 0.0))
    found = [angle(plane, planes) for plane in (priced.tangents(T, 2), local_planes(T, X, 30), free.tangents(T, 2))]
    assert found[0] < 13 < found[1] < found[2]


def trained(X, steps, low, high, *hidden):
    draw = torch.Generator().manual_seed(0)
    X = torch.tensor(X, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        levels = Levels(layers(X.shape[1] + 1, *hidden, X.shape[1]), low, high, X.mean(0), float(X.std()))

    def score(rows):
        return objective(levels, rows, Corrupted(levels.answer, lambda x: levels.corrupt(x, draw))).mean()

    batches = [X[torch.randint(len(X), (256,), generator=draw)] for _ in range(100)]
    ascend(score, list(levels.parameters()), steps, one_cycle(1e-2, steps), adam, batches=batches)
    return levels


@pytest.mark.slow
def test_one_network_denoises_at_every_level_and_samples():
    levels = trained(ring(20000, 0), 1500, 0.05, 5.0, 128, 128, 128)
    for sigma in (0.15, 0.6):
        x = ring(4000, 1) + sigma * np.random.default_rng(2).normal(size=(4000, 2))
        with torch.no_grad():
            off = levels.score_field(torch.tensor(x, dtype=torch.float32), sigma).numpy() - ring_score(x, sigma)
        assert ((off**2).sum() / (ring_score(x, sigma) ** 2).sum()) ** 0.5 < 0.3
    x = levels.sample(2000, 60, torch.Generator().manual_seed(0)).numpy()
    found = within(x)
    assert found["inside"] > 0.9 and abs(found["deviation"] / WIDTH - 1) < 0.25 and found["rarest"] > 1 / 16


def test_many_levels_are_exact_for_a_gaussian():
    """A network that says nothing is the best denoiser of N(m, s^2), at every level: samples have that law."""
    network = nn.Linear(2, 1)
    nn.init.zeros_(network.weight), nn.init.zeros_(network.bias)
    levels = Levels(network, 0.01, 50.0, torch.tensor([5.0]), 3.0)
    with torch.no_grad():
        x = levels.sample(20000, 200, torch.Generator().manual_seed(0))
        assert abs(float(x.mean()) - 5) < 0.1 and abs(float(x.std()) / 3 - 1) < 0.03
        at = torch.tensor([[6.0]])
        assert torch.allclose(levels.score_field(at, 4.0), torch.tensor([[-1.0 / 25]]))
        high = Levels(network, 3.0, 50.0, torch.tensor([5.0]), 3.0)  # its last rows, of variance 18, are denoised
        assert abs(float(high.sample(20000, 200, torch.Generator().manual_seed(0)).std()) / 4.5**0.5 - 1) < 0.05
        network.weight[0, 1] = 1.0  # of the level alone
        level = torch.tensor([[math.e**2]])
        assert torch.allclose(levels.denoiser(torch.zeros(1, 1), level), 0.5 * level / (1 + level**2).sqrt())


@pytest.mark.parametrize("units", ["gaussian", "binary"])
def test_a_boltzmann_machine_is_a_density(units):
    draw = torch.Generator().manual_seed(0)
    W, b, c = (torch.randn(*shape, generator=draw).double() for shape in ((3, 2), (3,), (2,)))
    rbm = RBM(W, b, c, units).requires_grad_(False)
    if units == "binary":
        x, cell = torch.cartesian_prod(torch.arange(2.0), torch.arange(2.0)).double(), 1.0
    else:
        line = torch.linspace(-12, 12, 601, dtype=torch.float64)
        x, cell = torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2
    p = (rbm.log_evidence(x) - rbm.log_normaliser()).exp() * cell
    assert abs(float(p.sum()) - 1) < 1e-9
    codes = torch.cartesian_prod(*[torch.arange(2.0).double()] * 3)
    each = torch.stack([rbm.log_joint(x, z.expand(len(x), 3)) for z in codes], 1)
    assert torch.allclose(each.softmax(1) @ codes, rbm.posterior(x)[0])  # an exact encoder
    q, bonus = rbm.posterior(x, 0.5)
    assert torch.allclose(rbm.log_joint(x, q) + bonus, 0.5 * (each / 0.5).logsumexp(1))  # at a temperature too
    at = codes[5].expand(len(x), 3)
    conditional = (rbm.log_joint(x, at)).softmax(0)
    assert torch.allclose(conditional @ x, rbm.decode(codes[5:6])[0])


def test_walkback_leads_rows_away():
    X = ring(1000, 0)
    plain, walked = (DenoisingAutoencoder(amount=0.3, walkback=w, **QUICK).fit(X) for w in (0, 3))
    x, draw = torch.tensor(X), torch.Generator().manual_seed(0)
    moved = [float((model._led_away(walked.joint_, x, draw) - x).square().sum(1).mean()) for model in (plain, walked)]
    assert moved[1] > 1.3 * moved[0]
    first, last = (
        corrupt(x, torch.Generator().manual_seed(0))
        for corrupt in (walked.joint_.corrupt, lambda x, draw: walked._led_away(walked.joint_, x, draw))
    )
    assert abs(float((first == last).all(1).double().mean()) - 1 / 8) < 0.03  # three rounds, each with even odds


@BOTH
@pytest.mark.parametrize("unit", [1e-3, 255.0])
def test_nothing_depends_on_units(model, unit, digits):
    here, there = (model(None if model is DenoisingAutoencoder else 8, **QUICK).fit(digits * s) for s in (1.0, unit))
    back = [m.inverse_transform(m.transform(digits * s)) / s for m, s in ((here, 1.0), (there, unit))]
    assert np.abs(back[0] - back[1]).max() < 1e-2
    assert abs(there.variance_ / (here.variance_ * unit**2) - 1) < 1e-3


@pytest.mark.parametrize(("dtype", "unit"), [(np.float32, 2.0**-100), (np.float64, 2.0**240)])
def test_a_price_on_slopes_has_no_largest_unit(dtype, unit, digits):
    """Slopes per unit of the data, whose squares have no room in the data's or the network's numbers."""
    here, there = (ContractiveAutoencoder(8, **QUICK).fit((digits * s).astype(dtype)) for s in (1.0, unit))
    codes = here.transform(digits.astype(dtype)), there.transform((digits * unit).astype(dtype))
    assert np.abs(codes[0] - codes[1]).max() < 1e-3


@BOTH
def test_a_score_is_the_same_twice_and_alone(model, digits):
    fitted = model(**QUICK).fit(digits)
    whole = fitted.score_samples(digits)
    assert np.array_equal(whole, fitted.score_samples(digits))
    assert np.allclose(whole[7:9], fitted.score_samples(digits[7:9]), rtol=1e-5)
    copy = pickle.loads(pickle.dumps(fitted))
    assert np.allclose(whole, copy.score_samples(digits), rtol=1e-6)


@BOTH
def test_same_seed_same_model_and_nothing_global_moves(model, digits):
    before = torch.random.get_rng_state()
    a, b, other = (model(**QUICK | {"random_state": seed}).fit(digits) for seed in (0, 0, 1))
    assert np.array_equal(a.transform(digits), b.transform(digits))
    assert not np.allclose(a.transform(digits), other.transform(digits))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "change",
    [
        {"n_components": 3},
        {"corruption": "masking"},
        {"amount": 1.0},
        {"walkback": 2},
        {"hidden": (8, 8)},
        {"lr": 1e-3},
    ],
)
def test_every_argument_of_the_denoiser_changes_something(change, digits):
    plain, changed = (DenoisingAutoencoder(**QUICK | more).fit(digits) for more in ({}, change))
    assert not np.array_equal(plain.score_samples(digits), changed.score_samples(digits))


@pytest.mark.parametrize("change", [{"n_components": 3}, {"weight": 3.0}, {"tied": False}, {"hidden": ()}])
def test_every_argument_of_the_contractive_changes_something(change, digits):
    plain, changed = (ContractiveAutoencoder(**QUICK | {"n_components": 8} | more).fit(digits) for more in ({}, change))
    assert not np.array_equal(plain.score_samples(digits), changed.score_samples(digits))


def test_pictures_go_in_and_come_out(digits):
    model = DenoisingAutoencoder(**QUICK).fit(digits.reshape(-1, 1, 8, 8))
    assert model.sample(3, 0, steps=2).shape == (3, 1, 8, 8)
    assert np.array_equal(model.sample(3, 0, steps=2), model.sample(3, 0, steps=2))


@BOTH
def test_an_interrupt_keeps_the_best(model, digits, monkeypatch):
    from gaelib.training import Epochs

    over, best = Epochs._over, {}

    def stop(self, history):
        if len(history) == 2:
            best.update(self.state)
            raise KeyboardInterrupt
        return over(self, history)

    monkeypatch.setattr(Epochs, "_over", stop)
    interrupted = model(**QUICK)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(digits)
    kept = interrupted.joint_.state_dict()
    assert interrupted.n_iter_ == 2 and all(
        torch.equal(kept[name], value.to(kept[name])) for name, value in best.items()
    )


# --- for the tests that go over every model: tests/registry.py ---


def test_every_level_is_scored_with_the_spread_of_the_clean_row_given_the_noisy_one():
    """Of rows N(0, 4): sigma^2 4 / (sigma^2 + 4)."""
    levels, sigma = Levels(layers(2, 1), 0.1, 10.0, torch.zeros(1), 2.0), torch.tensor([[0.5], [3.0]])
    spread = (4 * sigma**2 / (4 + sigma**2)).sqrt()
    wanted = torch.distributions.Normal(torch.ones(2, 1), spread).log_prob(torch.zeros(2, 1)).sum(1)
    assert torch.allclose(levels.log_joint(torch.zeros(2, 1), (torch.ones(2, 1), sigma)), wanted)


ESTIMATORS = [DenoisingAutoencoder(**QUICK), ContractiveAutoencoder(4, **QUICK)]
ALONE = {
    "DenoisingAutoencoder": "No library offers one: its reference is the score of a mixture, which is known.",
    "ContractiveAutoencoder": "No library offers one: its reference is the tangent plane of a surface, which is known.",
}
UNBOUND = {
    "Levels": "Its code is the clean row and a level: it is tested against scores and a Gaussian above.",
    "RBM": "It has no update in closed form: it is tested against enumeration and quadrature above.",
}
X = np.arange(48.0).reshape(12, 4)
DAE, CAE = DenoisingAutoencoder, ContractiveAutoencoder
BAD = {
    "an unknown corruption": (lambda: DAE(corruption="blur").fit(X), ValueError, "'blur'", "gaussian, masking, poisson, salt_and_pepper", "pass one of these"),
    "no noise": (lambda: DAE(amount=0).fit(X), ValueError, "amount=0", "above 0", "amount='auto'"),
    "noise in words": (lambda: DAE(amount="much").fit(X), ValueError, "amount='much'", "above 0", "amount='auto'"),
    "more than all entries": (lambda: DAE(corruption="masking", amount=1.5).fit(X), ValueError, "amount=1.5", "no share", "amount=0.25"),
    "a walk of less than nothing": (lambda: DAE(walkback=-1).fit(X), ValueError, "walkback=-1", "at least 0", "pass walkback=0"),
    "no code": (lambda: DAE(0).fit(X), ValueError, "n_components=0", "at least 1", "pass n_components=1"),
    "negative counts": (lambda: DAE(corruption="poisson").fit(-X), ValueError, "at least 0", "-47", "pass counts"),
    "a slope of masks": (lambda: DAE(corruption="masking", **QUICK).fit(X).score_field(X), ValueError, "'gaussian'", "'masking'", "fit with that"),
    "an unknown chain": (lambda: DAE(**QUICK).fit(X).sample(chain="gibbs"), ValueError, "'gibbs'", "sampled, mean, langevin", "pass one of these"),
    "Langevin steps without noise": (
        lambda: DAE(corruption="masking", **QUICK).fit(X).sample(chain="langevin"), ValueError, "'gaussian'", "'masking'", "use 'sampled'"),
    "no steps": (lambda: DAE(**QUICK).fit(X).sample(steps=0), ValueError, "steps=0", "at least 1", "pass steps=1"),
    "starts for other chains": (
        lambda: DAE(**QUICK).fit(X).sample(3, start=X), ValueError, "(12, 4)", "(3, 4)", "pass one row a chain"),
    "chains from nowhere": (
        lambda: DAE(**QUICK).fit(X).sample(1, start=[[np.nan] * 4]), ValueError, "start", "4 non-finite of 4", "pass finite numbers"),
    "a chain from a flat row": (
        lambda: DAE(**QUICK).fit(X).sample(1, start=X[0]), ValueError, "(4,)", "(1, 4)", "pass one row a chain"),
    "tied in words": (lambda: CAE(tied="no").fit(X), ValueError, "tied='no'", "neither True nor False", "pass one of the two"),
    "sample before fit": (lambda: DAE().sample(), ValueError, "not fitted", "DenoisingAutoencoder", "fit"),
    "a price below nothing": (lambda: CAE(weight=-1).fit(X), ValueError, "weight=-1", "at least 0", "weight=0.3"),
    "own networks that are tied": (
        lambda: CAE(encoder=nn.Linear(4, 64)).fit(X), ValueError, "tied=True", "one set of weights", "pass tied=False"),
    "too many directions": (lambda: CAE(4, **QUICK).fit(X).tangents(X, 5), ValueError, "n_directions=5", "exceeds 4", "pass fewer"),
    "no directions": (lambda: CAE(4, **QUICK).fit(X).tangents(X, 0), ValueError, "n_directions=0", "at least 1", "pass n_directions=1"),
    "levels upside down": (lambda: Levels(nn.Linear(2, 1), 2.0, 1.0, torch.zeros(1), 1.0), ValueError, "low=2.0, high=1.0", "no range", "pass 0 < low < high"),
    "a machine of many codes": (
        lambda: RBM(torch.zeros(21, 1), torch.zeros(21), torch.zeros(1)).log_normaliser(), ValueError, "21 hidden units", "2^20", "pass fewer"),
}  # fmt: skip
DEVICES = {
    "DenoisingAutoencoder": (DenoisingAutoencoder(1, **QUICK), registry.CLOUDS),
    "ContractiveAutoencoder": (ContractiveAutoencoder(4, **QUICK), registry.CLOUDS),
}
DRAWS = {"DenoisingAutoencoder": "its noise is drawn on the device"}
UNPRETENDED = {"ContractiveAutoencoder": "torch.func takes the pretend card's class off, and its place with it"}
