"""GGAE and its joint against autograd, hand-computed optima, grids and k-means."""

import pickle
from math import exp, log

import numpy as np
import pytest
import registry
import torch
from gaelib import GGAE, KMeans, data
from gaelib.core import Climb, Exact, alternate, climb, objective
from gaelib.joints.kernels import KernelMixture
from registry import X
from scipy.special import lambertw

ABSORB = pytest.mark.parametrize("absorb", [0.01, 1.0, "exp"])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def joint(absorb, K=5, D=3, E=2, variance=1.0):
    return KernelMixture(normal(K, D, seed=1), 1.5 * normal(K, E, seed=2), absorb, variance)


@pytest.mark.parametrize("absorb", [0, 0.01, 1.0, "exp"])
def test_the_slope_equals_autograd(absorb):
    model, x, z = joint(absorb), normal(200, 3), normal(200, 2, seed=3).requires_grad_()
    slope = torch.autograd.grad(model.log_joint(x, z).sum(), z)[0]
    assert (model.slope(model.log_components(x), z.detach()) - slope).abs().max() < 1e-12


@ABSORB
def test_the_slope_in_the_prototypes_equals_autograd(absorb):
    model, x, z = joint(absorb), normal(200, 3), normal(200, 2, seed=3)
    found = model.stats(x, z)["slope"]
    model.prototypes.requires_grad_()
    assert (torch.autograd.grad(model.log_joint(x, z).sum(), model.prototypes)[0] - found).abs().max() < 1e-11


@ABSORB
def test_gates_are_the_definition(absorb):
    model, z = joint(absorb), normal(50, 2)
    kernels = (-(z[:, None] - model.prototypes).square().sum(2)).exp()
    b = z.square().sum(1).exp() if absorb == "exp" else torch.tensor(absorb, dtype=torch.float64)
    u = kernels / (b + kernels.sum(1))[:, None]
    assert (model.gates(z)[:, :-1] - u).abs().max() < 1e-14
    assert (model.gates(z).sum(1) - 1).abs().max() < 1e-14
    assert (model.decode(z) - u / u.sum(1, keepdim=True) @ model.means).abs().max() < 1e-13
    by_hand = (u * model.log_components(normal(50, 3)).exp()).sum(1).log()
    assert (model.log_joint(normal(50, 3), z) - by_hand).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("absorb", "best", "gate"), [("exp", 0.13529007, 0.43141), (1.0, 0.224, None), (0.01, 1.120, None)]
)
def test_the_figures_of_the_ledger(absorb, best, gate):
    w = rows([0.0], [-1.0])
    model = KernelMixture(1e3 * w, w, absorb)  # p(x | 2) = 0 at x = 0
    z = model.argmax(rows([0.0]))
    assert abs(float(z) - best) < (5e-9 if gate else 1e-3)
    assert gate is None or abs(float(model.gates(z)[0, 0]) - gate) < 5e-6
    assert float(z) > 0  # outside the hull of 0 and -1


def reach(w, p, absorb, steps):
    """How far a climb of z goes, for prototypes w (K, E) and p(x|k) = p."""
    model, log_p = KernelMixture(w, w, absorb), rows(p).log()
    start = w[int(log_p.argmax())][None]
    return float(climb(lambda z: model.score(log_p, z), start, steps, 0.2).norm())


LINE, EDGE = rows([-1.0], [0.0], [1.0]), rows([-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0])
RUNS = {
    "a vertex": (LINE, [0.0, 0.0, 1.0]),
    "a vertex, others explain x too": (LINE, [0.5, 0.9, 1.0]),
    "on an edge, no vertex": (EDGE, [0.0, 1.0, 0.0, 0.0]),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", RUNS)
def test_without_absorption_the_code_runs_and_with_it_it_stays(case):
    w, p = RUNS[case]
    short, long = (reach(w, p, 0, steps) for steps in (200, 2000))
    assert long > short + 0.5  # like the logarithm of the steps: it never ends
    for absorb in (0.01, 1.0, "exp"):
        short, long = (reach(w, p, absorb, steps) for steps in (500, 1000))
        assert abs(long - short) < 1e-3 and long < 3


def test_an_interior_prototype_keeps_its_code_unless_a_vertex_explains_almost_as_well():
    assert reach(LINE, [0.1, 1.0, 0.1], 0, 1000) < 1e-9
    model = KernelMixture(LINE, LINE, 0)
    here, far = rows([0.0]), rows([-20.0])
    for p, runs in (([0.1, 1.0, 0.1], False), ([0.9, 1.0, 0.1], True)):
        gain = float(model.score(rows(p).log(), far) - model.score(rows(p).log(), here))
        assert (gain > 0) == runs


@pytest.mark.parametrize("size", [0.5, 1.0, 4.0])
def test_the_price_of_the_exponential(size):
    w = rows([size])
    u = KernelMixture(w, w, "exp").gates(torch.linspace(-6, 6, 120001, dtype=torch.float64)[:, None])[:, 0]
    assert abs(float(u.max()) - 1 / (1 + exp(size**2 / 2))) < 1e-9
    assert size != 4.0 or abs(float(u.max()) - 3.4e-4) < 1e-5


@ABSORB
def test_argmax_is_stationary_and_beats_every_other_climb(absorb):
    model, x = joint(absorb, K=6, variance=2.0), 2 * normal(100, 3)
    z = model.argmax(x)
    assert model.slope(model.log_components(x), z).abs().max() < 1e-8
    best = model.log_joint(x, z)
    for seed in range(5):
        other = objective(model, x, Climb(lambda joint, x: 3 * normal(len(x), 2, seed=seed), 150, 0.2))
        assert (other <= best + 1e-9).all()


def test_one_start_is_not_enough(monkeypatch):
    model, x = KernelMixture(2 * normal(6, 3, seed=1), 1.5 * normal(6, 2, seed=2), 0.05, 3.0), 2 * normal(500, 3)
    best = model.log_joint(x, model.argmax(x))
    monkeypatch.setattr("gaelib.joints.kernels.STARTS", 1)
    assert (best - model.log_joint(x, model.argmax(x))).max() > 1e-3


def test_argmax_needs_absorption():
    with pytest.raises(ValueError, match=r"absorb=0.*infinity.*absorb > 0"):
        joint(0).argmax(normal(2, 3))


@ABSORB
def test_the_code_solves_the_corrected_fixed_point(absorb):
    model, x = joint(absorb), normal(50, 3)
    z = model.argmax(x)
    r, u = model.shares(model.log_components(x), z), model.gates(z)
    assert ((r - u[:, :-1]) @ model.prototypes / (model.steepness * u[:, -1:]) - z).abs().max() < 1e-7
    assert (r @ model.prototypes - z).abs().max() > 0.1  # the companion note's fixed point is another place


@ABSORB
@pytest.mark.parametrize("seed", range(5))
def test_one_update_never_lowers_the_objective_at_fixed_codes(absorb, seed):
    model, x, z = joint(absorb), normal(60, 3, seed=seed), 3 * normal(60, 2, seed=seed + 10)
    values = []
    for _ in range(50):
        values.append(float(model.log_joint(x, z).sum()))
        model.update({name: value.double() for name, value in model.stats(x, z).items()})
    assert np.diff(values).min() >= -1e-10 and values[-1] > values[0] + 1


def test_where_the_bound_is_tight_a_step_reaches_the_code():
    """Of a row that one component explains, far below b: -||z - w||^2, whose best w is z itself."""
    means = torch.tensor([[0.0], [99.0]], dtype=torch.float64)
    model, z = KernelMixture(means, torch.zeros(2, 2).double(), 1e6), torch.tensor([[1.0, -2.0]]).double()
    model.update(model.stats(means[:1], z))
    assert (model.prototypes[0] - z[0]).abs().max() < 1e-5


@pytest.mark.parametrize("b", [1e-3, 0.1, 1.0, 30.0])
def test_the_bound_on_the_curvature_is_the_least(b):
    s = np.linspace(0, 40, 400001)
    assert abs((s / (1 + b * np.exp(s))).max() - float(lambertw(1 / (np.e * b)).real)) < 1e-7


@pytest.fixture(scope="module")
def digits():
    return data.digits()[0][:300]


@pytest.mark.slow
@ABSORB
def test_the_objective_never_falls(digits, absorb):
    model = GGAE(6, absorb=absorb, variance=20.0, max_iter=60, tol=0, random_state=0)
    with pytest.warns(UserWarning, match="max_iter=60"):
        model.fit(digits)
    assert np.diff(model.history_).min() > -1e-9
    assert abs(model.score(digits) - model.history_[-1]) < 0.01 * abs(model.history_[-1])
    assert model.transform(digits).shape == (300, 2)
    assert np.allclose(model.inverse_transform(model.prototypes_).mean(0), digits.mean(0), atol=6)


@pytest.mark.slow
def test_with_little_noise_it_is_k_means(digits):
    ours = GGAE(6, variance=0.05, tol=1e-5, random_state=0).fit(digits)
    reference = KMeans(6, tol=0, random_state=0).fit(digits)  # the same generator draws the same start
    assert np.abs(ours.cluster_centers_ - reference.cluster_centers_).max() < 1e-8
    assert (
        ours.joint_.gates(torch.tensor(ours.transform(digits)))[:, :-1].argmax(1).numpy() == reference.labels_
    ).all()


@pytest.mark.slow
def test_the_constant_parts_the_prototypes_and_the_exponential_holds_them(digits):
    spread = {}
    for absorb in (1.0, "exp"):
        w = GGAE(6, absorb=absorb, variance=20.0, tol=1e-4, random_state=0).fit(digits).prototypes_
        apart = np.sqrt(((w[:, None] - w) ** 2).sum(2)) + 99 * np.eye(6)
        spread[absorb] = np.abs(w).max(), apart.min()
    assert spread[1.0][1] > 1.7 and spread["exp"][0] < 2


@pytest.mark.slow
def test_batches_and_float32_and_torch(digits):
    options = dict(n_clusters=4, variance=20.0, tol=1e-3, random_state=0)
    whole = GGAE(**options).fit(digits)
    streamed = GGAE(**options).fit([digits[:100], digits[100:250], digits[250:]])
    assert np.abs(whole.prototypes_ - streamed.prototypes_).max() < 1e-9
    single = GGAE(**options).fit(digits.astype(np.float32))
    assert single.prototypes_.dtype == np.float32
    assert abs(single.score(digits.astype(np.float32)) / whole.score(digits) - 1) < 1e-3
    tensor = torch.tensor(digits)
    again = pickle.loads(pickle.dumps(GGAE(**options).fit(tensor)))
    assert torch.is_tensor(again.transform(tensor)) and torch.is_tensor(again.prototypes_)
    assert np.abs(again.transform(tensor).numpy() - whole.transform(digits)).max() < 1e-9


def test_a_dead_component_stays_where_it_is():
    model = KernelMixture(rows([0.0], [1e4]), rows([-1.0], [1.0]))
    history = alternate(model, [normal(30, 1)], Exact(), 20)
    assert model.means[1] == 1e4 and np.diff(history).min() > -1e-12


def test_a_longer_code_than_the_data_and_one_component():
    X = np.arange(12.0).reshape(6, 2)
    assert GGAE(2, 5, random_state=0).fit(X).transform(X).shape == (6, 5)
    alone = GGAE(1, 1, absorb=2.0, random_state=0).fit(X)
    assert np.allclose(alone.transform(X), alone.prototypes_)  # u = 1/(1 + b) at its prototype
    gate = alone.score_samples(X) + ((X - X.mean(0)) ** 2).sum(1) + np.log(np.pi)
    assert np.abs(gate + log(3.0)).max() < 1e-10


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [GGAE(n_clusters=2, n_components=1, variance=2.0, absorb="exp", tol=0.01, random_state=0)]
ALONE = {
    "GGAE": "No other library has Gaussian-kernel codes. With little noise its centres are those of KMeans, and its slopes are "
    "those of automatic differentiation; both are tested."
}


def drawn(n, D, seed):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


JOINTS = {
    "kernel mixture": (
        lambda: KernelMixture(drawn(4, 3, 1), drawn(4, 2, 2), 0.3, 1.0),
        lambda: drawn(40, 3, 0),
        [Exact()],
    ),
    "kernel mixture, exp": (
        lambda: KernelMixture(drawn(4, 3, 1), drawn(4, 2, 2), "exp", 1.0),
        lambda: drawn(40, 3, 0),
        [Exact()],
    ),
}
BAD = {
    "more kernels than samples": (lambda: GGAE(12).fit(X), ValueError, "n_clusters=12", "10 samples", "fewer clusters"),
    "a code of no length": (lambda: GGAE(2, 0).fit(X), ValueError, "n_components=0", "at least 1", "pass n_components=1"),
    "nothing absorbs": (lambda: GGAE(2, absorb=0).fit(X), ValueError, "absorb=0", "run away", "pass absorb=1.0 or 'exp'"),
    "an unknown absorption": (lambda: GGAE(2, absorb="log").fit(X), ValueError, "absorb='log'", "above 0", "pass absorb=1.0 or 'exp'"),
    "kernels without noise": (lambda: GGAE(2, variance=0).fit(X), ValueError, "variance=0", "above 0", "pass variance=1.0"),
    "the best of endless codes": (lambda: KernelMixture(torch.eye(2), torch.eye(2), 0).argmax(torch.eye(2)), ValueError, "absorb=0", "infinity", "pass absorb > 0"),
    "kernel codes of another length": (lambda: GGAE(2, 1, random_state=0).fit(X).inverse_transform(X), ValueError, "(n, 1)", "(10, 4)", "pass what transform returns"),
}  # fmt: skip
DEVICES = {"GGAE": (GGAE(2, 1, variance=4.0, max_iter=5, **registry.SEED), registry.CLOUDS)}
