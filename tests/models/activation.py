"""Maximal activation: closed forms, the chain's density, traces left on the model, and what is refused."""

import math
import typing

import numpy as np
import pytest
import torch
from gaelib import LGAE, PPCA, KMeans, activate, data
from gaelib.core import Joint
from gaelib.joints.flats import Flats
from gaelib.noise import gaussian
from gaelib.pictures import Fourier, Pixels, hartley, jitter, pad, rotate, scale
from gaelib.pictures.targets import (
    Term,
    channel,
    density,
    direction,
    l2,
    log_probability,
    logit,
    neuron,
    total_variation,
)
from scipy.stats import kstest
from torch import nn

X = data.digits()[0] / 16


def network(seed=0):
    """Two convolutions with an in-place ReLU between them, and ten outputs for 8 x 8 pictures."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3, stride=2), nn.Flatten()
        return nn.Sequential(*layers, nn.Dropout(), nn.Linear(54, 10)).double()


def up(model=None, target=None, **options):
    plain = {"parametrisation": Pixels((1, 8, 8)), "steps": 3, "random_state": 0}
    return activate(model or network(), target or logit(3), **(plain | options))


class TestTerms:
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double()

    def said(self, target):
        seen = []
        spy = Term(lambda x, said: seen.append(said) or target.of(x, said), target.layers)
        model = network().eval()
        up(model, spy, n=5, parametrisation=Pixels((1, 8, 8), start=self.x, spread=0.0), steps=1)
        return target.of(self.x, seen[0]), model

    def test_output(self):
        value, model = self.said(logit(3))
        assert torch.allclose(value, model(self.x)[:, 3])
        value, model = self.said(log_probability(3))
        assert torch.allclose(value, model(self.x).log_softmax(1)[:, 3])

    def test_one_unit_a_picture(self):
        value, model = self.said(logit([0, 1, 2, 3, 9]))
        assert torch.allclose(value, model(self.x)[range(5), [0, 1, 2, 3, 9]])

    def test_inside_the_network_before_the_next_layer_writes_in_place(self):
        means = []
        for c in range(4):
            value, model = self.said(channel(c, "0"))
            assert torch.allclose(value, model[0](self.x)[:, c].mean((1, 2)))
            means.append(value)
        assert torch.cat(means).min() < 0, "nothing negative: writing in place would not be seen"

    def test_neuron_and_direction(self):
        value, model = self.said(neuron(1, "2"))
        assert torch.allclose(value, model[:3](self.x)[:, 1, 1, 1])
        value, model = self.said(neuron(1, "2", (0, 2)))
        assert torch.allclose(value, model[:3](self.x)[:, 1, 0, 2])
        value, model = self.said(direction([0, 3, 0, 4, 0, 0], "2"))
        mean = model[:3](self.x).mean((2, 3))
        assert torch.allclose(value, 0.6 * mean[:, 1] + 0.8 * mean[:, 3])

    def test_they_add_subtract_and_scale(self):
        value, model = self.said(2 * logit(1) - logit(0) * 0.5 + l2(3.0))
        out = model(self.x)
        assert torch.allclose(value, 2 * out[:, 1] - 0.5 * out[:, 0] - 3 * self.x.square().sum((1, 2, 3)))
        assert (2 * logit(1) - channel(0, "0")).layers == {"", "0"}

    def test_total_variation_of_a_step(self):
        x = torch.zeros(1, 1, 4, 6)
        x[..., 3:] = 2.0
        assert total_variation(0.5).of(x, {}).item() == -0.5 * 4 * 2

    @pytest.mark.parametrize("model", [PPCA(5), LGAE(5), KMeans(5, random_state=0)], ids=lambda m: type(m).__name__)
    def test_density_is_the_score_and_its_slope_is_right(self, model):
        model.fit(X)
        x = torch.tensor(X[:3]).view(3, 1, 8, 8).requires_grad_()
        value = density(model).of(x, {})
        assert torch.allclose(value, torch.tensor(model.score_samples(X[:3])))
        slope = torch.autograd.grad(value.sum(), x)[0].view(3, 64)
        for i in (10, 27, 44):
            step = 1e-5 * np.eye(64)[i]
            ends = [torch.tensor(model.score_samples(x.detach().view(3, 64).numpy() + s * step)) for s in (1, -1)]
            assert torch.allclose((ends[0] - ends[1]) / 2e-5, slope[:, i], atol=1e-5)

    def test_density_of_a_bare_joint_in_another_dtype(self):
        joint = Flats(torch.tensor(X[:4]))
        value = density(joint).of(torch.tensor(X[:3], dtype=torch.float32), {})
        judge = joint.log_joint(torch.tensor(X[:3]), torch.tensor([0, 1, 2]))
        assert value.dtype == torch.float32 and torch.allclose(value.double(), judge)


class TestPictures:
    def test_hartley_is_orthonormal_and_its_own_inverse(self):
        basis = hartley(torch.eye(30, dtype=torch.float64).view(30, 5, 6)).view(30, 30)
        assert torch.allclose(basis @ basis.T, torch.eye(30, dtype=torch.float64))
        assert torch.allclose(basis, basis.T)

    def test_fourier_without_decay_is_the_pixels_climb(self):
        flat = up(parametrisation=Fourier((1, 8, 8), decay=0.0), steps=20)
        assert torch.allclose(flat.images, up(steps=20).images, atol=1e-6)

    def test_waves_move_by_one_over_their_frequency_squared(self):
        """Of a linear target, one step in the waves is the pixels' step times the fall, squared, wave by wave."""
        slope = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(0))
        term = Term(lambda x, said: (x * slope).flatten(1).sum(1))
        steps = [
            up(nn.Identity(), term, parametrisation=p((1, 16, 16), spread=0.0), steps=1, lr=1.0).images[0]
            for p in (Pixels, Fourier)
        ]
        ratio = hartley(steps[1]) / hartley(steps[0])
        lines, columns = torch.fft.fftfreq(16)[:, None], torch.fft.fftfreq(16)[None]
        power = torch.hypot(lines, columns).clamp(min=1 / 16) ** -2
        assert torch.allclose(ratio[0], power / power.mean(), rtol=1e-3)

    def test_the_maximum_does_not_depend_on_the_parametrisation(self):
        goal = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        term = Term(lambda x, said: -(x - goal).square().flatten(1).sum(1))
        for kind, lr in ((Pixels, 0.1), (Fourier, 0.03)):
            found = up(nn.Identity(), term, parametrisation=kind((1, 8, 8), start=goal * 0), steps=600, lr=lr)
            assert torch.allclose(found.images[0], goal, atol=1e-3), kind

    @pytest.mark.parametrize("kind", [Pixels, Fourier])
    def test_bounds_hold(self, kind):
        images = up(parametrisation=kind((1, 8, 8), start=0.5, bounds=(0.0, 1.0)), lr=100.0, steps=9).images
        assert images.min() >= -1e-12 and images.max() <= 1 + 1e-12
        assert (images - images.round()).abs().median() < 1e-9

    def test_transforms(self):
        x, generator = torch.arange(16.0).view(1, 1, 4, 4), torch.Generator().manual_seed(0)
        assert pad(2, 7.0)(x, generator).shape == (1, 1, 8, 8) and pad(2, 7.0)(x, generator)[0, 0, 0, 0] == 7
        moved = torch.stack([jitter(1)(x, generator) for _ in range(60)])
        assert len(moved.flatten(1).unique(dim=0)) == 9 and (moved.flatten(1).sum(1) == x.sum()).all()
        assert torch.allclose(rotate(0)(x, generator), x) and torch.allclose(scale(1, 1)(x, generator), x)
        middle = torch.ones(1, 1, 8, 8)
        assert scale(0.5, 0.5)(middle, generator).sum() == pytest.approx(16)
        bar = torch.zeros(1, 1, 9, 9)
        bar[..., 4, :] = 1
        turned = torch.stack([rotate(90)(bar, generator) for _ in range(40)])
        assert turned[:, 0, 0, 4, 4].min() > 0.9 and turned[:, 0, 0, 0, 4].max() > 0.5  # now and then upright

    def test_the_network_sees_the_transformed_and_the_prior_the_picture(self):
        shapes = []
        watch = Term(lambda x, said: shapes.append((x.shape[-1], said[""].shape[-1])) or x.flatten(1).sum(1), [""])
        up(nn.Identity(), watch, transforms=[pad(3), jitter(2)], steps=2)
        assert set(shapes) == {(8, 8), (8, 14)}


class TestClimb:
    def test_the_maximum_of_a_gaussian_posterior(self):
        """A linear unit and a Gaussian prior: the maximum is mu + S w, in closed form."""
        prior = PPCA(10).fit(X)
        unit = nn.Linear(64, 1).double()
        covariance = prior.components_.T @ (
            (prior.explained_variance_ - prior.noise_variance_)[:, None] * prior.components_
        )
        covariance = torch.tensor(covariance) + prior.noise_variance_ * torch.eye(64)
        best = torch.tensor(prior.mean_) + covariance @ unit.weight[0]
        found = up(
            unit, parametrisation=Pixels((64,)), target=logit(0), prior=prior, steps=800, lr=prior.noise_variance_
        )
        assert torch.allclose(found.images[0], best, atol=1e-6)

    def test_what_is_returned(self):
        found = up(target=log_probability(3), prior=l2(), n=4, steps=7, transforms=[jitter(1)])
        out = network().eval()(found.images).log_softmax(1)
        assert torch.allclose(found.target, out[:, 3]) and torch.allclose(
            found.prior, -found.images.square().flatten(1).sum(1)
        )
        assert found.images.shape == (4, 1, 8, 8) and found.history.shape == (7, 4) and not found.images.requires_grad

    def test_a_picture_does_not_depend_on_its_neighbours(self):
        start = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

        def end(start):
            return up(
                n=len(start),
                parametrisation=Pixels((1, 8, 8), start=start, spread=0.0),
                transforms=[jitter(2)],
                steps=9,
            ).images

        assert torch.allclose(end(start)[:2], end(start[:2]))

    def test_callback_sees_every_step(self):
        seen = []
        found = up(callback=lambda step, images: seen.append((step, images)), steps=5)
        assert [step for step, _ in seen] == [1, 2, 3, 4, 5] and torch.equal(seen[-1][1], found.images)

    def test_heat_by_the_part_of_the_steps_that_is_done(self):
        asked = []
        up(noise=lambda done: asked.append(done) or 0.0, steps=4)
        assert asked[1:] == [0.0, 0.25, 0.5, 0.75]


class Bumps(Joint):
    """Two classes on a line, N(-1, .5) and N(2, 1), equally likely; no code."""

    middle, width = torch.tensor([-1.0, 2.0]), torch.tensor([0.5, 1.0]).sqrt()

    def of_classes(self, x):
        return torch.distributions.Normal(self.middle, self.width).log_prob(x)

    def argmax(self, x):
        return None

    def log_joint(self, x, z):
        return self.of_classes(x).logsumexp(1) - math.log(2)


class Bayes(nn.Module):
    """The classifier that Bayes' rule gives for them: its logits are the log densities."""

    def forward(self, x):
        return Bumps().of_classes(x)


@pytest.mark.slow
class TestChain:
    options: typing.ClassVar = {
        "parametrisation": Pixels((1,), spread=1.0),
        "prior": Bumps(),
        "n": 4000,
        "steps": 500,
        "lr": 0.02,
    }

    def test_the_chain_draws_from_the_class_and_the_climb_does_not(self):
        law = torch.distributions.Normal(2.0, 1.0)
        ends = [up(Bayes(), log_probability(1), noise=T, **self.options).images.flatten() for T in (1.0, 0.0)]
        chain, climb = (kstest(x.double(), lambda v: law.cdf(torch.tensor(v)).numpy()).statistic for x in ends)
        assert chain < 0.03 and climb > 0.4  # 1.63 / sqrt(4000) = .026 is the 1 % level; lr adds a bias
        assert abs(ends[0].mean() - 2) < 0.06 and abs(ends[0].std() - 1) < 0.05
        assert (ends[1] - 2).abs().max() < 1e-3

    def test_the_temperature_widens_the_density(self):
        hot = up(
            Bayes(),
            log_probability(1),
            noise=4.0,
            **self.options
            | {
                "prior": Term(
                    lambda x, said: Bumps().of_classes(x)[:, 1] - log_probability(1).of(x, {"": Bumps().of_classes(x)})
                )
            },
        ).images
        assert abs(hot.std() - 2) < 0.1

    def test_waves_draw_from_the_same_density(self):
        """A Gaussian over 4 x 4 pictures with strongly unequal variances: same covariance from both chains."""
        scales = torch.linspace(0.3, 1.0, 16).view(1, 4, 4)
        term = Term(lambda x, said: gaussian(x / scales, torch.zeros(1), 1.0))
        for kind in (Pixels, Fourier):
            parametrisation = kind((1, 4, 4), spread=0.3)
            drawn = up(
                nn.Identity(), term, parametrisation=parametrisation, noise=1.0, n=3000, lr=0.01, steps=500
            ).images
            assert (drawn.std(0) / scales - 1).abs().max() < 0.1, kind
            assert torch.corrcoef(drawn.flatten(1).T).fill_diagonal_(0).abs().max() < 0.09, kind


class TestSeeds:
    noisy: typing.ClassVar = {"noise": 1.0, "transforms": [jitter(1), rotate(9), scale(0.9, 1.1)], "steps": 9, "n": 3}

    def test_the_seed_decides(self):
        state = torch.random.get_rng_state()
        one, same, other = (up(random_state=seed, **self.noisy).images for seed in (5, 5, 6))
        assert torch.equal(one, same) and not torch.allclose(one, other)
        assert torch.equal(state, torch.random.get_rng_state()), "the global generator moved"

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu(self):
        gpu = network().cuda()
        a, b = (up(gpu, **self.noisy).images for _ in range(2))
        assert a.is_cuda and torch.allclose(a, b)
        climb = {"noise": 0.0} | {k: v for k, v in self.noisy.items() if k != "noise"}
        prior = PPCA(5, device="cpu").fit(X)
        assert torch.allclose(
            up(gpu, prior=prior, lr=1e-3, **climb).images.cpu(), up(prior=prior, lr=1e-3, **climb).images, atol=1e-6
        )
        assert not prior.joint_.mean.is_cuda, "the caller's prior was moved"
        assert torch.allclose(up(gpu, device="cuda").images, up(gpu).images)
        assert not up(nn.Identity(), l2()).images.is_cuda, "without parameters the start decides"


class TestTraces:
    def look(self, model):
        modules = list(model.modules())
        return (
            [m.training for m in modules],
            [len(m._forward_hooks) for m in modules],
            [p.requires_grad for p in model.parameters()],
            [None if p.grad is None else p.grad.clone() for p in model.parameters()],
            {k: v.clone() for k, v in model.state_dict().items()},
        )

    def same(self, a, b):
        grads = all(g is h is None or torch.equal(g, h) for g, h in zip(a[3], b[3]))
        return a[:3] == b[:3] and grads and all(torch.equal(a[4][k], b[4][k]) for k in a[4])

    def model(self):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 10)
        ).double()
        model[1].eval()  # a mixture of modes, frozen weights, and gradients of earlier work
        model[0].weight.requires_grad_(False)
        model[4].bias.grad = torch.ones(10, dtype=torch.float64)
        return model

    def test_nothing_is_left_behind(self):
        model = self.model()
        before = self.look(model)
        up(model, logit(1) + channel(0, "0"), prior=PPCA(5).fit(X), noise=1.0)
        assert self.same(before, self.look(model))

    def test_nothing_is_left_behind_when_it_breaks(self):
        model = self.model()
        before = self.look(model)

        def stop(step, images):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            up(model, channel(0, "0"), callback=stop)
        assert self.same(before, self.look(model))

    def test_it_listens_in_eval_mode(self):
        model = network().train()
        assert torch.equal(up(model).images, up(model.eval()).images)

    def test_the_prior_stays(self):
        prior = PPCA(5).fit(X)
        before = {k: v.clone() for k, v in prior.joint_.state_dict().items()}
        up(prior=prior)
        assert all(torch.equal(before[k], v) for k, v in prior.joint_.state_dict().items())


class Pair(nn.Module):
    def forward(self, x):
        return x.flatten(1), x


HOLE = torch.zeros(1, 8, 8)
HOLE[0, 3, 3] = math.nan
BAD = {
    "unknown layer": (lambda: up(target=channel(0, "conv9")), ValueError, "no layer 'conv9'", "among the 7", "pass one of 0, 1, 2"),
    "a layer of the prior": (lambda: up(prior=channel(0, "conv9")), ValueError, "no layer 'conv9'", "among the 7", "pass one of 0, 1, 2"),
    "target out of range": (lambda: up(target=logit(10)), ValueError, "unit 10", "the 10 of layer ''", "from 0 to 9"),
    "target below zero": (lambda: up(target=log_probability(-1)), ValueError, "unit -1", "the 10", "from 0 to 9"),
    "half a target": (lambda: up(target=logit(1.5)), ValueError, "unit 1.5", "the 10", "pass an integer"),
    "channel out of range": (lambda: up(target=channel(6, "2")), ValueError, "unit 6", "the 6 of layer '2'", "from 0 to 5"),
    "two targets for three": (lambda: up(target=logit([1, 2]), n=3), ValueError, "2 units", "3 pictures", "one for each picture"),
    "a place outside": (lambda: up(target=neuron(0, "2", (3, 0))), ValueError, "(3, 0)", "(3, 3)", "pass one"),
    "a place in a flat layer": (lambda: up(target=neuron(0, "5", (1, 1))), ValueError, "(1, 1)", "() places", "pass one"),
    "direction of another width": (lambda: up(target=direction([1, 0], "2")), ValueError, "2 entries", "6 channels", "pass 6"),
    "direction to nowhere": (lambda: direction([0, 0], "2"), ValueError, "2 entries", "length 0", "points somewhere"),
    "a tuple": (lambda: up(Pair()), TypeError, "a tuple of 2", "1 tensor", "wrap the model"),
    "non-finite start": (lambda: up(parametrisation=Pixels((1, 8, 8), start=HOLE)), ValueError, "1 non-finite", "64 entries", "pass a finite picture"),
    "start of another shape": (lambda: up(parametrisation=Pixels((1, 8, 8), start=HOLE[:, :3, :3] * 0)), ValueError, "(1, 3, 3)", "1 pictures (1, 8, 8)", "pass (1, 8, 8)"),
    "prior of the wrong width": (lambda: up(prior=PPCA(2).fit(X[:, :60])), ValueError, "60 columns", "64 entries", "fit it on such pictures"),
    "joint of the wrong width": (lambda: up(prior=Flats(torch.ones(2, 60))), ValueError, "64 entries", "60", "fit it on such pictures"),
    "prior in words": (lambda: up(prior="tv"), TypeError, "str", "no joint", "pass a fitted estimator"),
    "prior before fit": (lambda: up(prior=PPCA(2)), TypeError, "PPCA", "no joint", "pass a fitted estimator"),
    "no steps": (lambda: up(steps=0), ValueError, "steps=0", "at least 1", "pass steps=1"),
    "no pictures": (lambda: up(n=0), ValueError, "n=0", "at least 1", "pass n=1"),
    "a step of zero": (lambda: up(lr=0.0), ValueError, "lr=0", "no step size", "above 0"),
    "a cold beyond zero": (lambda: up(noise=-1.0), ValueError, "noise=-1", "no temperature", "pass 0 to climb"),
    "negative seed": (lambda: up(random_state=-1), ValueError, "random_state=-1", "below 0", "non-negative"),
    "another device": (lambda: up(device="meta"), ValueError, "cpu", "meta", "move it"),
    "a climb that leaves": (lambda: up(target=Term(lambda x, said: x.pow(4).flatten(1).sum(1)), lr=9.0, steps=99, parametrisation=Pixels((1, 8, 8), start=9.0)), FloatingPointError, "at step", "lr=9.0", "lower lr"),
    "no shape": (lambda: Pixels(()), ValueError, "shape=()", "no entries", "(1, 28, 28)"),
    "waves on a line": (lambda: Fourier((8,)), ValueError, "(8,)", "1 axis", "use Pixels"),
    "empty bounds": (lambda: Pixels((1, 8, 8), bounds=(1, 0)), ValueError, "(1, 0)", "empty", "low < high"),
    "negative spread": (lambda: Pixels((1, 8, 8), spread=-1), ValueError, "spread=-1", "no standard deviation", "at least 0"),
    "jitter below zero": (lambda: jitter(-1), ValueError, "jitter(-1)", "less than 0", "pass 0 or more"),
    "scale of nothing": (lambda: scale(0, 1), ValueError, "scale(0, 1)", "no range", "0 < low <= high"),
}  # fmt: skip


FUNCTIONS = [activate]
ALONE = {
    "activate": "Other libraries show pictures. Here the chain draws from a density known in closed form, and the climb ends at "
    "its top; both are tested.",
}


def test_refused_before_any_step():
    seen = []
    for bad, said in (
        ({"target": logit(10)}, "unit 10"),
        ({"prior": PPCA(2).fit(X[:, :60])}, "60 columns"),
        ({"target": channel(0, "conv9")}, "conv9"),
    ):
        with pytest.raises(ValueError, match=said):
            up(callback=lambda step, images: seen.append(step), **bad)
    assert not seen


def climbed(of, device):
    """Pictures that excite a unit of a network where the start lies, after three steps: tensors, as they always are."""
    given = of(np.random.default_rng(0).random((2, 1, 8, 8)))
    start = torch.as_tensor(given)
    found = up(network().to(start.device), n=2, parametrisation=Pixels((1, 8, 8), start=start, spread=0.0))
    return {
        what: value if torch.is_tensor(given) else value.numpy()
        for what, value in (("images", found.images), ("target", found.target))
    }


DEVICES = {"activate": climbed}
