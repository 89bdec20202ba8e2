"""The adversarial network: its critic against a density ratio, its loop, and what it does not have."""

import math
import pickle

import numpy as np
import pytest
import registry
import torch
from gaelib import data
from gaelib.joints.network import layers
from gaelib.models import gan
from gaelib.models.gan import GAN, Crowds, critic_value, duel, generator_value
from torch import nn

QUICK = {"hidden": (16,), "max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return data.digits()[0][:300]


def normals(n, seed=0):
    """Rows of N(0, 1) and of N(1, 1/4), (n, 1) each."""
    a, b = torch.randn(2, n, 1, generator=torch.Generator().manual_seed(seed))
    return a, 1 + b / 2


def test_a_trained_critic_is_the_density_ratio():
    """N(0, 1) against a generator that stands still at N(1, 1/4): D = p / (p + q), worth -log 4 + 2 JS = -.938."""

    class Square(nn.Module):
        def forward(self, x):
            return torch.cat([x, x**2], 1)

    critic, still = nn.Sequential(Square(), nn.Linear(2, 1)), nn.Linear(1, 1)
    still.weight.data.fill_(0.5), still.bias.data.fill_(1.0)
    joint = Crowds(still, critic, torch.zeros(1), 1.0)
    draw = torch.Generator().manual_seed(0)
    batches = (torch.randn(2, 2000, 1, generator=draw) for _ in range(500))
    movers = torch.optim.Adam(critic.parameters(), 0.05), torch.optim.SGD(still.parameters(), 0.0)
    values = list(duel(joint, batches, movers, "non-saturating", 0.0))
    assert abs(np.mean(values[-200:]) + 0.938326808) < 5e-3
    x = torch.linspace(-2, 3, 50)[:, None]
    ratio = -(x**2) / 2 + (x - 1) ** 2 / 0.5 - math.log(2)  # log p - log q
    assert (critic(x).sigmoid() - ratio.sigmoid()).abs().max() < 0.05


@pytest.mark.parametrize(("loss", "worth"), [("non-saturating", -math.log(4)), ("hinge", -2.0)])
def test_a_critic_that_can_tell_nothing(loss, worth):
    even = torch.zeros(9, 1)
    assert float(critic_value(loss, even, even)) == pytest.approx(worth)
    assert float(critic_value(loss, even + 9, even - 9)) > -1e-3  # and one that can tell all


@pytest.mark.parametrize("loss", ["non-saturating", "hinge"])
def test_both_players_climb_their_own(loss):
    """A step of the critic raises its value at a still generator; a step of the generator raises the critic's logits."""
    real, fake = normals(500)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        joint = Crowds(layers(1, 8, 1), layers(1, 8, 1), torch.zeros(1), 1.0)

    def value():
        with torch.no_grad():
            made = joint.critic(joint.decoder(fake))
            return float(critic_value(loss, joint.critic(real), made)), float(generator_value(loss, made))

    for rates, player in (((0.01, 0.0), 0), ((0.0, 0.01), 1)):
        parts = joint.critic, joint.decoder
        movers = [torch.optim.SGD(part.parameters(), rate) for part, rate in zip(parts, rates)]
        before = value()[player]
        list(duel(joint, [(real.clone(), fake)], movers, loss, 0.0))
        assert value()[player] > before


def test_the_penalty_flattens_the_critic():
    real, fake = normals(2000)
    steep = []
    for penalty in (0.0, 3.0):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            joint = Crowds(nn.Linear(1, 1), layers(1, 16, 1), torch.zeros(1), 1.0)
        movers = torch.optim.Adam(joint.critic.parameters(), 0.02), torch.optim.SGD(joint.decoder.parameters(), 0.0)
        list(duel(joint, ((real.clone(), fake) for _ in range(100)), movers, "non-saturating", penalty))
        x = real.clone().requires_grad_()
        steep.append(float(torch.autograd.grad(joint.critic(x).sum(), x)[0].square().mean()))
    assert steep[1] < 0.2 * steep[0]


def test_a_step_pays_half_the_penalty_times_the_squared_slope():
    """Of a linear critic w x, whose squared slope is w^2: a step of length 1 is shorter by penalty w."""
    real, fake, weights = *normals(50), []
    for penalty in (0.0, 0.3):
        joint = Crowds(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False), torch.zeros(1), 1.0)
        joint.critic.weight.data.fill_(2.0), joint.decoder.weight.data.fill_(1.0)
        movers = torch.optim.SGD(joint.critic.parameters(), 1.0), torch.optim.SGD(joint.decoder.parameters(), 0.0)
        list(duel(joint, [(real.clone(), fake)], movers, "non-saturating", penalty))
        weights.append(float(joint.critic.weight.detach()))
    assert weights[0] - weights[1] == pytest.approx(0.3 * 2.0, rel=1e-5)


def test_it_learns_where_the_data_are():
    X = np.random.default_rng(0).normal(size=(1000, 2)) @ [[2.0, 1.0], [0.0, 0.5]] + [5.0, -3.0]
    for seed in range(2):
        model = GAN(2, hidden=(16,), max_epochs=30, batch_size=100, lr=1e-2, random_state=seed).fit(X)
        drawn = model.sample(4000, random_state=0)
        assert np.abs(drawn.mean(0) - X.mean(0)).max() < 0.4
        assert np.abs(np.cov(drawn.T) / np.cov(X.T) - 1).max() < 0.5
        assert -1.45 < model.history_[-1] < -1.0


def test_what_has_no_code_and_no_likelihood_has_no_method_for_them(digits):
    model = GAN(2, **QUICK).fit(digits)
    for name in ("transform", "fit_transform", "score", "score_samples", "impute"):
        assert not hasattr(model, name)
    with pytest.raises(AttributeError, match="no likelihood"):
        model.score(digits)


def test_units_do_not_matter(digits):
    here, there = (GAN(3, **QUICK).fit(digits * unit).sample(50, random_state=0) / unit for unit in (1.0, 255.0))
    assert np.abs(here - there).max() < 1e-2


def test_same_seed_same_model_and_nothing_global_moves(digits):
    before = torch.random.get_rng_state()
    a, b, other = (GAN(2, **QUICK | {"random_state": seed}).fit(digits) for seed in (0, 0, 1))
    assert np.array_equal(a.sample(5, random_state=0), b.sample(5, random_state=0))
    assert not np.allclose(a.sample(5, random_state=0), other.sample(5, random_state=0))
    assert torch.equal(before, torch.random.get_rng_state())
    assert a.n_iter_ == 3 and len(a.history_) == 3


@pytest.mark.parametrize("change", [
    {"loss": "hinge"}, {"penalty": 0.0}, {"lr": 1e-2}, {"batch_size": 64}, {"hidden": (8, 8)}, {"max_epochs": 4}, {"n_components": 3},
])  # fmt: skip
def test_every_argument_changes_something(change, digits):
    plain, changed = (GAN(**QUICK | more).fit(digits).sample(4, random_state=0) for more in ({}, change))
    assert not np.array_equal(plain, changed)


def test_batches_pictures_and_pickles(digits):
    whole, streamed = GAN(2, **QUICK).fit(digits), GAN(2, **QUICK).fit([digits[:150], digits[150:]])
    for other in (streamed, pickle.loads(pickle.dumps(whole))):
        assert np.allclose(whole.sample(5, random_state=0), other.sample(5, random_state=0), atol=1e-4)
    decoder = nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, (1, 8, 8)))
    critic = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 1))
    before = [part.clone() for part in decoder.parameters()]
    drawn = GAN(2, decoder=decoder, critic=critic, max_epochs=2, random_state=0).fit(digits.reshape(-1, 1, 8, 8))
    assert drawn.sample(3).shape == (3, 1, 8, 8) and isinstance(drawn.sample(3), np.ndarray)
    assert all(torch.equal(a, b) for a, b in zip(before, decoder.parameters())), "the caller's network was trained"


def test_an_interrupt_keeps_what_was_learned(digits, monkeypatch):
    fight, rounds = gan.duel, []

    def stop(*args):
        rounds.append(0)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        return fight(*args)

    monkeypatch.setattr(gan, "duel", stop)
    model = GAN(2, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        model.fit(digits)
    assert model.n_iter_ == 2 and np.isfinite(model.sample(3)).all() and not model.joint_.training


def test_a_step_that_explodes_is_named(digits):
    class Bad(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (float("nan") if self.training else 1.0)

    with pytest.raises(FloatingPointError, match=r"nan in epoch 0: lower lr"):
        GAN(2, critic=Bad(64, 1), **QUICK).fit(digits)


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [GAN(1, **QUICK)]
ALONE = {
    "GAN": "No library gives its answer twice; its critic is held to the density ratio of two normal distributions, its "
    "loop to the slope of each player."
}  # fmt: skip
X = np.arange(48.0).reshape(12, 4)
BAD = {
    "a critic by name": (lambda: GAN(critic="judge").fit(X), ValueError, "critic='judge'", "no network", "pass an instance of"),
    "a critic of other rows": (
        lambda: GAN(2, critic=nn.Linear(9, 1)).fit(X), ValueError, "the critic cannot take an input (2, 4)", "9x1", "first layer"),
    "no code": (lambda: GAN(0).fit(X), ValueError, "n_components=0", "at least 1", "pass n_components=1"),
    "an unknown loss": (lambda: GAN(loss="least squares").fit(X), ValueError, "'least squares'", "non-saturating, hinge", "pass one of these"),
    "a negative penalty": (lambda: GAN(penalty=-1).fit(X), ValueError, "penalty=-1", "at least 0", "penalty=0.1"),
    "an endless penalty": (lambda: GAN(penalty=math.inf).fit(X), ValueError, "penalty=inf", "finite", "penalty=0.1"),
    "no step": (lambda: GAN(lr=0).fit(X), ValueError, "lr=0", "above 0", "pass lr=0.001"),
    "no epochs": (lambda: GAN(max_epochs=0).fit(X), ValueError, "max_epochs=0", "at least 1", "pass max_epochs=1"),
    "no batch": (lambda: GAN(batch_size=0).fit(X), ValueError, "batch_size=0", "at least 1", "pass batch_size=1"),
    "one row": (lambda: GAN().fit(X[:1]), ValueError, "n_samples=1", "2 are needed", "pass more rows"),
    "a critic of two minds": (lambda: GAN(critic=nn.Linear(4, 2)).fit(X), ValueError, "(2, 2)", "(n, 1)", "last layer"),
    "a decoder of the wrong length": (
        lambda: GAN(2, decoder=nn.Linear(2, 5)).fit(X), ValueError, "(5,)", "4 columns", "last layer"),
    "a hole": (lambda: GAN().fit(np.where(X == 5, np.nan, X)), ValueError, "row 1, column 1", "nan", "drop or fill"),
    "no samples": (lambda: GAN(2, **QUICK).fit(X).sample(0), ValueError, "n_samples=0", "at least 1", "pass n_samples=1"),
    "samples before fit": (lambda: GAN(2).sample(3), ValueError, "not fitted", "GAN", "fit"),
}  # fmt: skip
DEVICES = {"GAN": (GAN(1, **QUICK), registry.CLOUDS)}
