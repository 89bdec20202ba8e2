"""t-SNE against scikit-learn's P, KL and map, autograd, and the sums over all pairs that its grid stands for."""

import inspect

import numpy as np
import pytest
import registry
import torch
from gaelib import TSNE, data, progress
from gaelib.models import tsne
from gaelib.models.tsne import Affinities, PointMap, conditional, log_volume
from gaelib.solvers import field
from gaelib.solvers import neighbours as search
from gaelib.solvers.field import Grid, every_pair
from gaelib.solvers.neighbours import neighbours
from registry import HOLE
from registry import X as TABLE
from scipy.spatial.distance import squareform
from sklearn import manifold
from sklearn.manifold import _t_sne as reference
from sklearn.neighbors import NearestNeighbors
from torch.utils._python_dispatch import TorchDispatchMode


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(P, n):
    """P as a table (n, n)."""
    table = torch.zeros(n, n, dtype=torch.float64)
    table[P.rows.long(), P.columns.long()] = P.p.double()
    return table


@pytest.fixture(scope="module")
def digits():
    return data.digits()[0][:600]


def test_the_neighbours_are_scikit_learns(digits, monkeypatch):
    x = torch.tensor(digits) + 1e-3 * normal(*digits.shape)  # no ties
    distance, index = NearestNeighbors(n_neighbors=8).fit(x).kneighbors()
    for entries in (search.ENTRIES, 7000, 1):
        monkeypatch.setattr(search, "ENTRIES", entries)
        squares, found = neighbours(x, 8)
        assert np.array_equal(found, index) and np.abs(squares.sqrt().numpy() - distance).max() < 1e-10
    far = neighbours((x + 2.0**20).float(), 8)[0]
    assert (far - squares).abs().max() / squares.max() < 0.02  # what is left of float32 there
    copies = neighbours(x[:3].repeat(2, 1), 1)
    assert copies[1][:, 0].tolist() == [3, 4, 5, 0, 1, 2] and copies[0].max() < 1e-10


def test_a_mirrored_or_turned_start_mirrors_or_turns_the_map():
    x, start = normal(40, 5), 1e-2 * normal(40, 2, seed=1)
    model = TSNE(perplexity=5, max_iter=30)
    found = [
        model.set_params(init=init).fit(x).embedding_ for init in (start, start * torch.tensor([-1, 1]), start.flip(1))
    ]
    assert torch.equal(found[1], found[0] * torch.tensor([-1, 1])) and torch.equal(found[2], found[0].flip(1))


@pytest.mark.parametrize("perplexity", [1.0, 5.0, 30.0, 90.0])
def test_every_row_has_the_perplexity_asked_for(perplexity):
    squares = neighbours(normal(400, 6), 91)[0]
    for units in (1.0, 1e-12, 1e12, 1e-40, 1e40):
        p = conditional(squares * units, perplexity)
        assert (p.sum(1) - 1).abs().max() < 1e-12 and (p[:, :-1] >= p[:, 1:]).all()
        if perplexity > 1:  # whose precision is infinite
            assert (torch.special.entr(p).sum(1) - np.log(perplexity)).abs().max() < 1e-12
    assert (conditional(torch.zeros(3, 7), 2.0) - 1 / 7).abs().max() < 1e-15  # all alike: nothing to choose by


def test_P_and_KL_are_scikit_learns(parity, record_property):
    record_property("ledger", "L4")
    x, y = normal(300, 5), normal(300, 2, seed=1)
    P = Affinities(x, 15.0, 299, torch.float64)
    squares = torch.cdist(x, x).square().numpy().astype(np.float32)
    theirs = reference._joint_probabilities(squares, 15.0, 0)
    assert np.abs(dense(P, 300).numpy() - squareform(theirs)).max() < 1e-7
    kl = P.spread(y) + float(log_volume(every_pair(y))) - P.entropy
    assert abs(kl - reference._kl_divergence(y.numpy().ravel(), theirs, 1.0, 300, 2)[0]) < 1e-5
    P = Affinities(x, 15.0, 46, torch.float64)
    graph = NearestNeighbors(n_neighbors=46).fit(x).kneighbors_graph(mode="distance")
    graph.data **= 2
    theirs = reference._joint_probabilities_nn(graph, 15.0, 0).toarray()
    difference = np.abs(dense(P, 300).numpy() - theirs).max() / theirs.max()
    parity(TSNE, manifold.TSNE, "P of 300 points, largest difference over the largest P", difference, 1e-5)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_slope_equals_autograd(d, record_property):
    record_property("ledger", "L4")
    x, joint = normal(60, 5), PointMap(normal(60, d, seed=1))
    P = Affinities(x, 15.0, 59, torch.float64)
    pairs = torch.stack([P.rows, P.columns], 1).long()
    slope = joint.slope(P, every_pair(joint.map))
    joint.map.requires_grad_()
    exact = torch.autograd.grad(P.p @ joint.log_joint(pairs), joint.map)[0]
    assert (slope - exact).abs().max() < 1e-10 < 1e-4 < exact.abs().max()
    assert slope.sum(0).abs().max() < 1e-12


def test_log_q_is_a_density_over_pairs():
    joint = PointMap(normal(40, 2))
    i, j = (~torch.eye(40, dtype=torch.bool)).nonzero(as_tuple=True)
    assert abs(float(joint.log_joint(torch.stack([i, j], 1)).logsumexp(0))) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("width", [1e-12, 1e-3, 1.0, 30.0])
def test_the_grid_holds_the_sums_of_all_pairs(width):
    """At any width of the map: a start is 1e-4 wide, and before clusters part it may shrink to nothing."""
    y, bound = width * normal(1000, 2), {0.5: 0.05, 0.25: 4e-3, 0.125: 4e-4}
    exact = every_pair(y)
    for spacing, most in bound.items():
        found = Grid(spacing)(y)
        off = (found - exact).norm(dim=0) / exact.norm(dim=0)
        assert off[0] < most / 10 and off[1:].max() < most
        assert abs(float(log_volume(found) - log_volume(exact))) < bound[spacing] / 100
    single = Grid()(y.float())
    assert (single - exact)[:, 1:].norm() / exact[:, 1:].norm() < (0.05 if width > 1 else 1e-3)


def test_one_grid_goes_along_with_the_map():
    grid, y = Grid(0.25), normal(500, 2)
    for width in (1e-4, 1.0, 1.1, 40.0, 30.0, 1e-6, 0.0):
        off = (grid(width * y) - every_pair(width * y)).norm() / every_pair(width * y).norm()
        assert off < 2e-3


@pytest.mark.slow
def test_a_map_of_digits_is_as_good_as_scikit_learns(parity, record_property):
    record_property("ledger", "L4")
    pixels, labels = (part[:700] for part in data.digits())
    ours = TSNE(random_state=0).fit(pixels)
    theirs = manifold.TSNE(random_state=0).fit(pixels)
    y = ours.embedding_
    P = Affinities(torch.tensor(pixels), 30.0, 91, torch.float64)
    kl = [
        P.spread(torch.tensor(map)) + float(log_volume(every_pair(torch.tensor(map)))) - P.entropy
        for map in (y.astype(float), theirs.embedding_.astype(float))
    ]
    assert abs(ours.kl_divergence_ - kl[0]) < 1e-3 and kl[0] < kl[1] + 0.02
    trust = [manifold.trustworthiness(pixels, map, n_neighbors=12) for map in (y, theirs.embedding_)]
    assert trust[0] > trust[1] - 0.005 and trust[0] > 0.98
    near = NearestNeighbors(n_neighbors=5).fit(y).kneighbors(return_distance=False)
    assert (labels[near] == labels[:, None]).mean() > 0.95


def test_the_objective_is_the_joints_and_rises(digits):
    model = TSNE(max_iter=300, random_state=0).fit(digits)
    P = Affinities(torch.tensor(digits), 30.0, 91, torch.float64)
    pairs = torch.stack([P.rows, P.columns], 1).long()
    assert abs(float(P.p @ model.joint_.log_joint(pairs)) - model.history_[-1]) < 1e-3
    assert abs(model.history_[-1] + model.kl_divergence_ + P.entropy) < 1e-6
    assert model.history_[-1] > model.history_[0] + 1 and model.n_iter_ == 300 and len(model.history_) == 7
    assert np.abs(model.embedding_.mean(0)).max() < 1e-5 * np.ptp(model.embedding_)


def test_all_pairs_and_a_grid_climb_alike(digits, monkeypatch):
    ends = [TSNE(max_iter=60, random_state=0).fit(digits).history_[-1]]
    monkeypatch.setattr(tsne, "FEW", 600)
    ends.append(TSNE(max_iter=60, random_state=0).fit(digits).history_[-1])
    assert abs(ends[0] - ends[1]) < 0.02


def test_units_kinds_and_batches_do_not_matter(digits):
    """For some steps; then rounding grows to another map, as good.  Of whole numbers, ties would choose neighbours."""
    x, options = digits + 1e-2 * normal(*digits.shape).numpy(), dict(max_iter=6, random_state=0)
    whole = TSNE(**options).fit_transform(x)
    for other in (1024 * x, x + 2.0**12, [x[:250], x[250:]], x.astype(np.float32)):
        assert np.abs(TSNE(**options).fit_transform(other) - whole).max() < 1e-3 * np.ptp(whole)
    tensor = TSNE(**options).fit_transform(torch.tensor(x, dtype=torch.float32))
    assert torch.is_tensor(tensor) and tensor.dtype == torch.float32
    order = np.random.default_rng(0).permutation(600)
    assert np.abs(TSNE(**options).fit_transform(x[order]) - whole[order]).max() < 1e-3 * np.ptp(whole)


@pytest.mark.parametrize("turns", [False, True])
def test_steps_grow_while_slopes_keep_their_sign_and_shrink_while_they_turn(turns, monkeypatch):
    maps = []

    def slope(joint, P, sums, exaggeration):
        maps.append(joint.map.clone())
        return (-1.0 if turns else 1.0) ** len(maps) * torch.tensor([[1.0], [-1.0], [0.0]], dtype=torch.float64)

    monkeypatch.setattr(PointMap, "slope", slope)
    TSNE(1, perplexity=1, init=[[-1.0], [0.0], [1.0]], learning_rate=1e-3, max_iter=20).fit(normal(3, 2))
    steps = torch.stack(maps).diff(dim=0).abs().amax((1, 2))
    assert steps[-1] < steps[0] / 10 if turns else steps[-1] > 2 * steps[4]  # 4: what momentum alone comes to


def test_any_map_may_be_the_start(digits):
    start = np.random.default_rng(0).normal(size=(600, 2))
    for init in (start, torch.tensor(start), start.tolist()):
        model = TSNE(init=init, max_iter=1, random_state=0).fit(digits)
        assert (
            np.abs(model.embedding_ - start).max() < 1 and np.corrcoef(model.embedding_[:, 0], start[:, 0])[0, 1] > 0.9
        )
    assert start.std() > 0.9  # the caller's array is left alone


def test_an_interrupt_keeps_the_map(digits, monkeypatch):
    steps = []

    def interrupted(joint, P, sums, exaggeration, whole=PointMap.slope):
        steps.append(joint.map.clone())
        if len(steps) == 120:
            raise KeyboardInterrupt
        return whole(joint, P, sums, exaggeration)

    monkeypatch.setattr(PointMap, "slope", interrupted)
    model = TSNE(random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(digits)
    assert model.n_iter_ == 119 and np.array_equal(model.embedding_, steps[-1].numpy())
    assert len(model.history_) == 4 and model.kl_divergence_ > 0


def test_progress_shows_the_divergence(digits, monkeypatch):
    said = []

    class Bar(progress.tqdm):
        def set_postfix_str(self, s="", refresh=True):
            said.append(s)

    monkeypatch.setattr(progress, "tqdm", Bar)
    model = TSNE(perplexity=5, max_iter=110, verbose=1, random_state=0).fit(digits[:100])
    entropy = -model.history_[-1] - model.kl_divergence_
    assert said == [f"KL {-value - entropy:.4f} nats" for value in model.history_[:3]]


def test_memory_grows_like_the_rows(monkeypatch):
    """No tensor is as large as all pairs; tables of a fixed size aside."""
    monkeypatch.setattr(search, "ENTRIES", 2**16)
    monkeypatch.setattr(field, "ENTRIES", 2**16)
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            sizes.extend(
                x.numel() for x in (found if isinstance(found, (tuple, list)) else [found]) if torch.is_tensor(x)
            )
            return found

    largest = {}
    for n in (1000, 3000):
        sizes.clear()
        with Watch():
            TSNE(perplexity=5, max_iter=20, random_state=0).fit(normal(n, 3))
        largest[n] = max(sizes)
    assert largest[3000] < 4 * largest[1000] and largest[3000] < 3000**2 / 10


def test_copies_lie_together_and_islands_apart():
    rows = normal(3, 4).repeat_interleave(60, 0)
    y = TSNE(max_iter=400, random_state=0).fit_transform(rows.numpy())
    groups = y.reshape(3, 60, 2)
    apart = np.linalg.norm(groups.mean(1)[:, None] - groups.mean(1), axis=2)[np.triu_indices(3, 1)].min()
    assert np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=2).max() < apart / 2
    islands = np.concatenate([normal(70, 4, seed=i).numpy() + 1e6 * i for i in range(3)])  # no neighbours in common
    model = TSNE(perplexity=8, max_iter=400, random_state=0).fit(islands)
    near = NearestNeighbors(n_neighbors=5).fit(model.embedding_).kneighbors(return_distance=False)
    assert (near // 70 == np.arange(210)[:, None] // 70).mean() > 0.99
    flat = TSNE(perplexity=5, random_state=0).fit(np.ones((50, 3)))  # all alike: an even disc
    assert np.isfinite(flat.embedding_).all() and flat.kl_divergence_ < 2


@pytest.mark.parametrize(("n", "perplexity"), [(2, 1), (3, 1.5), (4, 3)])
def test_few_rows(n, perplexity):
    model = TSNE(perplexity=perplexity, random_state=0).fit(normal(n, 3).numpy())
    assert (
        model.embedding_.shape == (n, 2) and np.isfinite(model.embedding_).all() and -1e-9 < model.kl_divergence_ < 0.5
    )


def test_few_rows_do_not_fly_apart():
    """Among few, a full momentum as soon as the exaggeration ends throws the map apart (a fault once made)."""
    for seed in range(3):
        model = TSNE(random_state=0).fit(normal(100, 5, seed=seed).numpy())
        assert np.ptp(model.embedding_, axis=0).max() < 30 and model.kl_divergence_ < 0.5


def test_one_column_and_other_dimensions():
    for d in (1, 2, 3):
        y = TSNE(d, perplexity=5, random_state=0).fit_transform(np.arange(60.0)[:, None])
        assert y.shape == (60, d) and np.ptp(y, axis=0).min() > 0.1


def test_the_same_seed_gives_the_same_map():
    x = np.arange(60.0)[:, None]
    first, again = (TSNE(perplexity=5, max_iter=50, random_state=3).fit_transform(x) for _ in range(2))
    assert np.array_equal(first, again)


def test_other_rows_have_no_place():
    model = TSNE(perplexity=2, max_iter=2, random_state=0).fit(TABLE)
    assert not any(
        hasattr(model, name) for name in ("transform", "inverse_transform", "predict", "score", "score_samples")
    )
    assert model.get_feature_names_out().tolist() == ["tsne0", "tsne1"]


def test_a_step_too_long_is_refused_and_leaves_nothing(digits):
    model = TSNE(learning_rate=1e9, random_state=0)
    with pytest.raises(FloatingPointError, match=r"fly away.*pass 'auto'"):
        model.fit(digits)
    assert not hasattr(model, "embedding_")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card")
def test_a_real_card_finds_as_good_a_map(digits):
    ends = [TSNE(random_state=0, device=device).fit(digits).kl_divergence_ for device in ("cpu", "cuda")]
    assert abs(ends[0] - ends[1]) < 0.05


def test_the_defaults_are_scikit_learns_where_they_mean_the_same():
    theirs = inspect.signature(manifold.TSNE).parameters
    for name, own in inspect.signature(TSNE).parameters.items():
        if name in theirs and name not in ("max_iter", "method", "init"):
            assert own.default == theirs[name].default, name


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [TSNE(perplexity=2, max_iter=20, random_state=0)]
EXCEPTIONS = {"TSNE": {"check_fit2d_1sample": "It asks for a perplexity of 0.5: less than the one neighbour it can be"}}
UNBOUND = {"PointMap": "There is no code: the map is the parameter."}
BAD = {
    "more neighbours than samples": (lambda: TSNE().fit(TABLE), ValueError, "perplexity=30", "got 10 samples", "lower perplexity"),
    "one sample to map": (lambda: TSNE(perplexity=1).fit(TABLE[:1]), ValueError, "perplexity=1", "got 1 sample", "pass more data"),
    "four samples to map": (lambda: TSNE(perplexity=3.5).fit(TABLE[:4]), ValueError, "perplexity=3.5", "got 4 samples", "lower perplexity"),
    "less than one neighbour": (lambda: TSNE(perplexity=0.5).fit(TABLE), ValueError, "perplexity=0.5", "at least 1", "pass perplexity=30"),
    "half a neighbour more than rows": (lambda: TSNE(perplexity=9.5).fit(TABLE), ValueError, "perplexity=9.5", "at least 11 samples", "10 samples", "lower perplexity"),
    "a hole in what is mapped": (lambda: TSNE(perplexity=2).fit(HOLE), ValueError, "row 3", "column 1", "drop or fill"),
    "a map of no dimensions": (lambda: TSNE(0).fit(TABLE), ValueError, "n_components=0", "at least 1", "pass n_components=1"),
    "a start of other rows": (lambda: TSNE(perplexity=2, init=TABLE[:9, :2]).fit(TABLE), ValueError, "(9, 2)", "(10, 2)", "a place for each row"),
    "a start by name": (lambda: TSNE(perplexity=2, init="random").fit(TABLE), ValueError, "init='random'", "no start", "pass 'pca'"),
    "a start with a hole": (lambda: TSNE(perplexity=2, init=HOLE[:, :2]).fit(TABLE), ValueError, "init has 1 non-finite", "20 entries", "finite numbers"),
    "a step backwards": (lambda: TSNE(learning_rate=-1).fit(TABLE), ValueError, "learning_rate=-1", "above 0", "learning_rate='auto'"),
    "less than no exaggeration": (lambda: TSNE(early_exaggeration=0.5).fit(TABLE), ValueError, "early_exaggeration=0.5", "at least 1", "pass early_exaggeration=12"),
    "an unknown method": (lambda: TSNE(method="barnes_hut").fit(TABLE), ValueError, "method='barnes_hut'", "auto, exact", "pass one of these"),
    "new rows for a map": (lambda: TSNE(perplexity=2, max_iter=2).fit(TABLE).transform(TABLE), AttributeError, "TSNE", "transform", "no attribute"),
}  # fmt: skip
DEVICES = {
    "TSNE": (
        TSNE(perplexity=5, max_iter=5, **registry.SEED),
        np.tile(registry.CLOUDS, (4, 1)) + np.arange(320)[:, None] / 99,
    )
}
