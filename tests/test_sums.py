"""Sums over rows: right to float32's last digits whatever the unit, the offset, the order, the batches and the dtype."""

import copy
import itertools
import re
import warnings
from pathlib import Path

import gaelib
import numpy as np
import pytest
import registry
import torch
from gaelib import LGAE, LLGAE, MPPCA, PPCA, GaussianMixture, KMeans
from gaelib.core import Exact, Soft
from gaelib.joints.flats import Flats
from gaelib.joints.linear import LinearGaussian
from gaelib.joints.mixture import Mixture
from gaelib.solvers import sums
from gaelib.solvers.eigen import SMALL, leading
from gaelib.solvers.nearest import nearest, off
from gaelib.solvers.sums import added, by_code, by_part, by_row, gram, in_parts, products, total
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from torch.utils._python_dispatch import TorchDispatchMode

UNITS = st.sampled_from([1e-12, 1e-6, 1e-3, 1.0, 255.0, 1e6, 1e12])
OFFSETS = st.sampled_from([0.0, 3.0, 1e3, 1e5])  # in units


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def blobs(seed=0, n=300, K=3, D=3, gap=8.0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(n, D)) + gap * np.eye(K, D)[k] for k in range(K)])


def strong(n, D, signal, seed=0):
    """One direction ``signal`` times as wide as the noise of size 1; float32 values."""
    rng = np.random.default_rng(seed)
    return (signal * rng.normal(size=(n, 1)) @ rng.normal(size=(1, D)) + rng.normal(size=(n, D))).astype(np.float32)


# --- the one place that adds -----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 5000), K=st.integers(1, 5), seed=st.integers(0, 10**6), dtype=st.sampled_from(["f4", "f8"]))
def test_added_as_in_float64(n, K, seed, dtype):
    rng = np.random.default_rng(seed)
    a, b = (torch.tensor((rng.normal(size=(n, D)) + 5).astype(dtype)) for D in (3, 2))
    k = torch.tensor(rng.integers(0, K, n))
    wide = torch.zeros(K, 3, dtype=torch.float64)
    for code in range(K):
        wide[code] = a[k == code].double().sum(0)
    sums = total(a), total(a[:, 0]), products(a, b), gram(a), by_code(k, K, a), by_code(k, K, a[:, 0])
    x = a.double()
    expected = x.sum(0), x[:, 0].sum(), x.T @ b.double(), x.T @ x, wide, wide[:, 0]
    for found, right in zip(sums, expected, strict=True):
        assert found.dtype == torch.float64 and found.shape == right.shape
        assert (found - right).abs().max() <= 2e-6 * (1 + right.abs().max())


def test_a_running_sum_would_have_lost_the_last_rows():
    rows = torch.full((2**22, 1), 0.1)
    right = 2**22 * float(rows[0])
    k = torch.zeros(len(rows), dtype=torch.int64)
    for found, bound in ((total(rows), 2e-7), (by_code(k, 1, rows), 1e-12), (products(rows, rows / rows), 5e-6)):
        assert abs(float(found) / right - 1) < bound
    assert abs(float(gram(rows)) / (right * float(rows[0])) - 1) < 5e-6
    assert abs(float(torch.zeros(1, 1).index_add_(0, k, rows)) / right - 1) > 1e-4  # what it guards against


def test_products_of_parts_are_added_band_by_band_and_few_wait(monkeypatch):
    """Whoever adds them, in whatever company: the same digits; and no more stand side by side than there is room."""
    x, together = torch.randn(10_000, 150, generator=torch.Generator().manual_seed(0)), []

    def each(f, parts):
        together.append((type(parts[0]), len(parts)))
        return [f(part) for part in reversed(parts)][::-1]

    expected, rows = gram(x), total(x)
    assert (expected - x.double().T @ x.double()).abs().max() < 1e-5 * expected.max()
    monkeypatch.setattr(sums, "each", each)
    for room, most in ((2 * 150**2, 2), (0, 1), (2**23, 3)):
        together.clear()
        monkeypatch.setattr(sums, "SIDE", room)
        assert torch.equal(gram(x), expected) and torch.equal(total(x), rows)
        assert max(count for kind, count in together if kind is np.ndarray) == most
        assert (slice, 3) in together and (torch.Tensor, 3) in together


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 3000), K=st.integers(1, 12), used=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_parts_hold_every_row_once_and_add_up(n, K, used, seed):
    """What a GPU does with the rows of all codes at once."""
    rng = np.random.default_rng(seed)
    k, x = torch.tensor(rng.integers(0, min(K, used), n)), torch.tensor(rng.normal(size=(n, 3)))
    codes, rows, here = in_parts(k, K)
    assert rows.numel() <= 2 * n + K and rows[here].sort().values.equal(torch.arange(n))
    assert k[rows[here]].equal(codes[:, None].expand_as(rows)[here]) and codes.equal(codes.sort().values)
    found = torch.stack([codes.expand(rows.shape[1], -1).T, rows], 2)
    assert by_row(found, rows, here, n).equal(torch.stack([k, torch.arange(n)], 1))
    summed = by_part(codes, K, (x[rows] * here[:, :, None]).sum(1))
    assert torch.allclose(summed, by_code(k, K, x), rtol=1e-12, atol=1e-12)


def test_many_codes_beside_their_parts_take_bounded_memory(monkeypatch):
    """Codes times parts are the square of the codes."""
    monkeypatch.setattr(sums, "ENTRIES", 2**14)
    k = torch.arange(700).repeat(2)
    codes, rows, here = in_parts(k, 700)

    class Largest(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, f, types, args=(), kwargs=None):
            found = f(*args, **(kwargs or {}))
            self.found = max(self.found, found.numel() if torch.is_tensor(found) else 0)
            return found

    with Largest() as largest:
        summed = by_part(codes, 700, (rows[:, :, None] * here[:, :, None]).sum(1))
    assert torch.equal(summed, by_code(k, 700, torch.arange(1400.0)[:, None])) and largest.found <= 2**14


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flats_at_once_are_flats_one_by_one(dtype):
    """A GPU's sums and residuals, and a CPU's: flat 2 of 5 has one row, flat 3 none."""
    generator = torch.Generator().manual_seed(0)
    x, means = (torch.randn(n, 7, generator=generator, dtype=dtype) for n in (900, 5))
    bases = torch.linalg.qr(torch.randn(5, 7, 2, generator=generator, dtype=dtype)).Q
    k = torch.randint(5, (900,), generator=generator) // 2 * 2
    k[k == 2], k[17] = 1, 2
    joint = Flats(means + 100, bases)
    u = joint.inside(x + 100, k)
    one, other = joint._flat_by_flat(x + 100, k, u), joint._at_once(x + 100, k, u)
    near = {"rtol": 1e-5 if dtype == torch.float32 else 1e-12, "atol": 2e-5 if dtype == torch.float32 else 1e-11}
    assert one.keys() == other.keys() and all(torch.allclose(one[name], other[name], **near) for name in one)
    c, away = k.sort().values, x.double()
    alone = torch.cat([off(away[c == j], c[c == j], bases, True) for j in c.unique()])
    assert torch.allclose(off(away, c, bases, False), alone, rtol=1e-12)


def test_dicts_are_added_by_name_in_float64():
    sums = added({"n": torch.tensor(count), "x": torch.full((2,), 2.0**-30) + count} for count in (2**24, 1, 1))
    assert sums["n"] == 2**24 + 2 and sums["x"].dtype == sums["n"].dtype == torch.float64
    assert sums["x"].tolist() == [2**24 + 2.0] * 2  # a float32 sum would have stopped at 2^24


ADDERS = [  # who reads tables of any dtype and offset
    *("core", "estimator", "rows", "supervised", "training", "joints/flats", "joints/linear", "joints/mixture"),
    *("solvers/eigen", "solvers/nearest", "solvers/pruning", "solvers/starts"),
    *(f"models/{name}" for name in ("kmeans", "lgae", "llgae", "mppca", "ppca", "ggae", "autoencoder")),
]


@pytest.mark.parametrize("name", ADDERS)
def test_rows_are_added_in_one_place(name):
    source = (Path(gaelib.__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    assert not re.search(r"\.sum\((0|dim=0|axis=0)|index_add|scatter_add_\(0|\.sum\(\)\.to\(", source)


# --- joints: stats and update are those of float64 ----------------------------------------------------------


def flats(x):
    return Flats(x[[0, -1]])


def lines(x):
    return Flats(x[[0, -1]], torch.eye(x.shape[1], dtype=x.dtype)[:, :1].expand(2, -1, 1))


def mixture(x):
    scale = float(x.double().var(0).mean())
    bases = torch.eye(x.shape[1], dtype=x.dtype)[:, :1].expand(2, -1, 1)
    return Mixture(x[[0, -1]], bases, scale**0.5, scale, shared=False, floor=1e-9 * scale)


def linear(x):
    mean, scale = x.double().mean(0), float(x.double().var(0).mean())
    weights = torch.ones(x.shape[1], 1, dtype=x.dtype) * scale**0.5
    return LinearGaussian(mean.to(x), weights, scale)


MAKE = {flats: Exact(), lines: Exact(), mixture: Soft(1.0), linear: Soft(1.0)}


@pytest.mark.parametrize("make", MAKE, ids=lambda make: make.__name__)
@settings(max_examples=25, deadline=None)
@given(unit=UNITS, offset=OFFSETS, seed=st.integers(0, 10**4))
def test_float32_passes_are_those_of_float64(make, unit, offset, seed):
    x = torch.tensor(unit * (blobs(seed, n=100) + offset)).float()
    narrow = make(x)
    for _ in range(3):  # each pass from the same parameters: their own rounding to float32 is no fault of the sums
        wide, found = copy.deepcopy(narrow).double(), []
        for joint, rows in ((narrow, x), (wide, x.double())):
            z, bonus = MAKE[make](joint, rows)
            sums = joint.stats(rows, z)
            found.append(float(sums.pop("objective") + bonus.sum()) / len(x))
            joint.update({name: value.double() for name, value in sums.items()})
        assert np.allclose(*found, rtol=1e-5, atol=1e-4 * max(1.0, unit**2))
        at = next(iter(narrow.buffers())).double() - next(iter(wide.buffers()))  # the means
        assert at.abs().max() <= 1e-5 * unit + 6e-8 * unit * offset  # half a last digit


@pytest.mark.parametrize("make", MAKE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_order_and_batches_change_nothing(make, dtype):
    x = torch.tensor(blobs(1) + 1e3).to(dtype)
    joint = make(x)
    z = [MAKE[make](joint, part)[0] for part in (x, x.flip(0), *x.split(7))]
    whole, turned, *parts = (joint.stats(part, code) for part, code in zip((x, x.flip(0), *x.split(7)), z))
    for name, value in whole.items():
        scale = max(1.0, float(value.abs().max()))
        assert (value - turned[name]).abs().max() <= 2e-6 * scale, name
        assert (value - sum(part[name] for part in parts)).abs().max() <= 2e-6 * scale, name


# --- the nearest ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), K=st.integers(1, 6), p=st.integers(0, 2), unit=UNITS,
    spread=st.sampled_from([1.0, 1e-2, 1e-4]), rows=st.sampled_from([1, 3, 50]),
)  # fmt: skip
def test_the_nearest_by_residuals_whatever_the_product_loses(seed, K, p, unit, spread, rows):
    """Close pairs of flats, the pairs far from each other: float32 products cannot tell the two apart."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    far = draw(K, 4) * 100
    means = torch.cat([far, far + spread * draw(K, 4)]).float() * unit
    bases = torch.linalg.qr(draw(2 * K, 4, p)).Q.float() if p else None
    x = (means.repeat(25 // K + 1, 1)[:50] + spread * unit * draw(50, 4)).float()
    found = torch.cat([(lambda z: z[0] if p else z)(nearest(part, means, bases)) for part in x.split(rows)])
    away = x.double()[:, None] - means.double()
    if p:
        W = bases.double()
        away = away - torch.einsum("nkp,kdp->nkd", torch.einsum("nkd,kdp->nkp", away, W), W)
    lengths = away.norm(dim=2)
    chosen = lengths.gather(1, found[:, None])[:, 0]
    assert (
        chosen
        <= lengths.min(1).values * (1 + 1e-9) + 1e-13 * (x.double()[:, None] - means.double()).norm(dim=2).max(1).values
    ).all()


def test_of_equals_the_first_whatever_stands_beside():
    x = torch.tensor([[0.5, 0.0], [1.5, 7.0], [0.5, 3.0]])
    means = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert nearest(x, means).tolist() == [0, 0, 0]
    assert [int(nearest(row, means)) for row in x.split(1)] == [0, 0, 0]


# --- models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_two_blobs_far_from_the_origin_are_found_as_in_float64(streamed):
    x = (np.random.default_rng(0).normal(size=(500_000, 2)) + 1000).astype(np.float32)
    x[250_000:] += 4
    narrow, wide = (KMeans(2, init=x[[0, -1]], tol=0) for _ in range(2))
    narrow.fit(np.array_split(x, 7) if streamed else x)
    wide.fit(x.astype(np.float64))
    assert abs(narrow.inertia_ / wide.inertia_ - 1) < 1e-6
    assert (
        np.abs(narrow.cluster_centers_ - wide.cluster_centers_).max() <= 6.2e-5
    )  # half of float32's last digit at 1000
    assert (narrow.labels_ == wide.labels_).mean() > 0.9999


@settings(max_examples=20, deadline=None)
@given(
    value=st.floats(-1e7, 1e7, width=32).filter(lambda v: v == 0 or abs(v) > 1e-15),
    n=st.integers(1, 700),
    D=st.integers(1, 3),
)
def test_the_mean_of_equal_rows_is_that_row(value, n, D):
    x = np.full((n, D), value, np.float32)
    assert (KMeans(1).fit(x).cluster_centers_ == np.float32(value)).all()
    assert KMeans(1).fit(x).inertia_ == 0


@pytest.mark.parametrize("signal", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("seed", range(3))
def test_a_strong_direction_leaves_the_noise_its_digits(signal, seed):
    x = strong(500, 20, signal, seed)
    for model in (LLGAE(3, 1, random_state=1, tol=0), LLGAE(3, 2, random_state=1, tol=0), LGAE(1), LGAE(3)):
        narrow, wide = (type(model)(**model.get_params()).fit(part) for part in (x, x.astype(np.float64)))
        if isinstance(model, LLGAE):
            assert narrow.inertia_ <= 1.02 * wide.inertia_
        assert abs(narrow.history_[-1] - wide.history_[-1]) <= 0.02 * abs(wide.history_[-1])
        assert abs(narrow.score(x) - wide.score(x.astype(np.float64))) <= 0.02 * abs(wide.history_[-1])
    for model in (PPCA(2), PPCA(2, solver="em", random_state=0, tol=1e-7), MPPCA(2, 1, random_state=0, tol=0)):
        narrow, wide = (type(model)(**model.get_params()).fit(part) for part in (x, x.astype(np.float64)))
        assert narrow.history_[-1] > wide.history_[min(narrow.n_iter_, wide.n_iter_) - 1] - 0.1  # nats, of 37 and more
        assert np.allclose(narrow.noise_variance_, wide.noise_variance_, rtol=0.05)
        assert abs(narrow.score(x) - narrow.score(x.astype(np.float64))) < 1e-3


@settings(max_examples=20, deadline=None)
@given(
    unit=st.sampled_from([1e-12, 1e-10, 1e-5, 1e-3, 1 / 255, 1e3, 1e8, 1e12]), noise=st.sampled_from(["shared", "own"])
)
def test_mixtures_see_no_unit(unit, noise):
    x = blobs()
    for make in (GaussianMixture, MPPCA):
        settings = {"noise": noise, "random_state": 0, "tol": 0, "max_iter": 30}
        one, other = make(3, **settings).fit(x), make(3, **settings).fit(x * unit)
        assert np.allclose(other.noise_variance_ / unit**2, one.noise_variance_, rtol=1e-3)
        assert (one.labels_ == other.labels_).mean() > 0.999
        assert sorted(np.bincount(other.labels_, minlength=3))[0] > 250


IN_UNITS = {  # hyperparameters that have the data's unit
    "GGAE": lambda u: {"variance": 2.0 * u**2},
    "SparseCoding": lambda u: {"alpha": 0.1 * u},
    "LogisticRegression": lambda u: {"C": u**-2},
}


def asked(model, x):
    """What a fit says that has no unit, and what it decodes to; of tables with classes or targets as well."""
    kind = type(model).__name__
    model.fit(x, np.arange(len(x)) % 2 if kind == "LogisticRegression" else np.sin(np.arange(len(x))))
    names = ("predict", "predict_proba", "embedding_") if kind != "TSNE" else ("embedding_",)
    found = [getattr(model, name) for name in names if hasattr(model, name)]
    found = [each(x) if callable(each) else each for each in found]
    return found, [model.inverse_transform(model.transform(x))] if hasattr(model, "transform") else []


@pytest.mark.parametrize("unit", [2.0**-40, 2.0**-14, 2.0**40], ids=["2^-40", "2^-14", "2^40"])
@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_no_model_sees_a_unit(model, unit):
    """Powers of 2 round nothing: the same passes, and the same answers."""
    kind, x = type(model).__name__, np.abs(blobs(n=8))
    one, other = (
        clone(model).set_params(**registry.SEED) if "random_state" in model.get_params() else clone(model)
        for _ in range(2)
    )
    other.set_params(**IN_UNITS.get(kind, lambda u: {})(unit))
    one.set_params(**IN_UNITS.get(kind, lambda u: {})(1.0))
    (plain, decoded), (found, made) = asked(one, x), asked(other, unit * x)
    assert one.n_iter_ == other.n_iter_ or kind == "LogisticRegression"  # its intercept has no unit
    for a, b in zip([*plain, *decoded], [*found, *(part / unit for part in made)], strict=True):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize("offset", [1e3, 1e5])
@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_float32_rows_far_from_the_origin_are_fitted_as_in_float64(model, offset):
    x = (np.abs(blobs(n=8)) + offset * np.array([1, 1, 0.5])).astype(np.float32)
    seed = registry.SEED if "random_state" in model.get_params() else {}
    one, other = (clone(model).set_params(**seed) for _ in range(2))
    (_, narrow), (_, wide) = asked(one, x), asked(other, x.astype(np.float64))
    assert abs(one.history_[-1] - other.history_[-1]) < 2e-3 * max(1.0, abs(other.history_[-1]))
    for a, b in zip(narrow, wide):
        assert a.dtype == np.float32
        errors = [float(((part.astype(np.float64) - x) ** 2).mean()) for part in (a, b)]
        assert errors[0] < 1.02 * errors[1] + (1e-7 * offset) ** 2


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("rows", [1, 64, 1000])
def test_batches_of_any_size_and_order_fit_alike(order, rows):
    x = (blobs() + 1e4).astype(np.float32)
    start = x[[0, 300, 600]]
    x = x[np.random.default_rng(0).permutation(len(x))] if order else x
    whole = KMeans(3, init=start, tol=0).fit(x)
    parts = KMeans(3, init=start, tol=0).fit([x[i : i + rows] for i in range(0, len(x), rows)])
    assert np.array_equal(whole.labels_, parts.labels_)
    assert np.abs(whole.cluster_centers_ - parts.cluster_centers_).max() <= np.spacing(np.float32(1e4))
    assert abs(whole.inertia_ / parts.inertia_ - 1) < 1e-6


def test_the_history_of_lgae_is_its_mean_score():
    for p, x in itertools.product((1, 2, 3), (blobs(), blobs() + 50, strong(200, 9, 1e3), strong(20, 90, 10.0))):
        model = LGAE(p).fit(x)
        assert model.history_[-1] == pytest.approx(model.score(x), rel=1e-4)


@pytest.mark.parametrize("size", [SMALL, SMALL + 1])
@pytest.mark.parametrize("count", [1, 5, "all"])
def test_the_leading_eigenpairs_of_small_and_of_large_matrices(size, count):
    count = size if count == "all" else count
    rows = torch.randn(2 * size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = rows.T @ rows
    values, axes = leading(matrix, count)
    assert torch.allclose(values, torch.linalg.eigvalsh(matrix).flip(0)[:count], rtol=1e-10)
    assert torch.allclose(matrix @ axes, axes * values, atol=1e-8 * float(values[0]))
    assert torch.allclose(axes.T @ axes, torch.eye(count, dtype=torch.float64), atol=1e-10)
