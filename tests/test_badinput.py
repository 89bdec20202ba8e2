"""Bad input is refused before any work, with the numbers, the cause and the remedy."""

import itertools
from dataclasses import fields
from fractions import Fraction

import matplotlib as mpl
import numpy as np
import pytest
import registry
import torch
from gaelib import (
    LGAE,
    MPPCA,
    NMF,
    PPCA,
    TSNE,
    KMeans,
    LinearRegression,
    LogisticRegression,
    Memory,
    compare,
    core,
    data,
    explain,
    plot,
    sense,
)
from gaelib.hyper import plain, validate
from gaelib.joints.flats import Flats
from gaelib.limits import farthest
from gaelib.pictures import _checks
from gaelib.pictures.operators import Linear, Mask
from gaelib.rows import as_numpy
from registry import ENDLESS, HOLE, LABELS, X
from sklearn.base import clone
from sklearn.exceptions import NotFittedError


def km(**options):
    return KMeans(**({"n_clusters": 2, "random_state": 0} | options))


def fitted():
    return km().fit(X)


def given(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAELIB_DATA", folder)
        return data.mnist()


class Nothing(core.Joint):
    pass


CASES = {  # what is done, the error, what its message must say (numbers and cause | remedy)
    "a seed that is a truth value": (lambda: km(random_state=True).fit(X), ValueError, "random_state=True", "no seed", "pass None, an integer"),
    "no temperature": (lambda: core.Soft(0), ValueError, "T > 0", "T=0", "Exact()"),
    "no beta": (lambda: core.soft_floor(0), ValueError, "beta > 0", "0", "use mean"),
    "a step of zero": (lambda: core.climb(lambda z: -z, torch.ones(1, 1), 3, 0), ValueError, "lr > 0", "lr=0", "pass such numbers"),
    "a climb that leaves": (lambda: core.climb(lambda z: (z**4).sum(1), torch.ones(1, 1), 99, 1.0), FloatingPointError, "99 steps", "lr=1.0", "lower lr"),
    "no closed form": (lambda: core.Exact()(Nothing(), torch.ones(1, 1)), TypeError, "Nothing.argmax", "does not have", "use Climb"),
    "no joint": (lambda: Nothing().log_joint(None, None), TypeError, "Nothing", "no log_joint", "write one"),
    "batches that are spent": (lambda: core.alternate(Flats(torch.ones(1, 1)), iter([torch.ones(2, 1)]), core.Exact(), 3), ValueError, "step 1", "no batch", "such as a list"),
    "an objective that explodes": (lambda: core.ascend(lambda: torch.tensor(float("nan")), [torch.ones(1)], 3, 0.1), FloatingPointError, "nan", "step 0", "lower lr"),
    "a flat's posterior": (lambda: Flats(torch.ones(1, 2), torch.eye(2)[None]).posterior(torch.ones(1, 2), 1.0), TypeError, "p > 0", "p = 0", "use Exact()"),
    "an unknown benchmark": (lambda: data.results("none"), FileNotFoundError, "'none'", "no stored result", "make bench"),
    "a part in words": (lambda: data.mnist("test"), ValueError, "train='test'", "60,000 images", "pass True"),
    "a data folder that is not there": (lambda: given("nowhere"), FileNotFoundError, "GAELIB_DATA=nowhere", "no folder", "unset it"),
    "a data folder without data": (lambda: given("."), FileNotFoundError, "GAELIB_DATA=.", "neither mnist/train-images", "add one"),
    "a table without rows": (lambda: plot.table([], {}, "x"), ValueError, "0 rows", "pass at least one"),
    "a choice that no row has": (lambda: plot.table([{"d": 1}, {"d": 3}], {"d": 2}, "x"), ValueError, "d=2", "none of 2 rows", "pass one of 1, 3"),
    "a slider without frames": (lambda: plot.slider([], "x", "y"), ValueError, "0 frames", "start=0", "pass at least one frame"),
} | registry.gather("BAD", named=True)  # fmt: skip


DAYS = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]")
MIXED = np.array(["a", None] * 5, dtype=object)
PICTURES = [np.ones((8, 1, 2, 2)), np.ones((2, 1, 2, 2))]
NO_NUMBERS = {  # each a table (10, 4) that NumPy, torch or scikit-learn would read as other numbers, or choke on
    "dates": (lambda: np.repeat(DAYS[:, None], 4, 1), "no number.*pass numbers"),
    "dates as objects": (lambda: np.repeat(DAYS[:, None], 4, 1).astype(object), "no number|float"),
    "dates in an array of objects": (lambda: np.array([[day] * 4 for day in DAYS], dtype=object), "no number"),
    "spans of time": (lambda: X.astype("m8[s]"), "no number"),
    "a frame of dates": (lambda: frame("pandas", {"a": DAYS, "b": DAYS, "c": DAYS, "d": DAYS}), "no number"),
    "a polars frame of dates": (lambda: frame("polars", {name: DAYS for name in "abcd"}), "no number"),
    "records": (lambda: np.zeros((10, 4), dtype=[("a", "f8")]), "no number"),
    "complex numbers": (lambda: X + 1j, "omplex"),
    "complex objects": (lambda: (X + 1j).astype(object), "complex"),
    "a complex tensor": (lambda: torch.tensor(X + 1j), "omplex"),
    "a sparse tensor": (lambda: torch.tensor(X).to_sparse(), "parse.*to_dense"),
    "a sparse tensor by rows": (lambda: torch.tensor(X).to_sparse_csr(), "parse.*to_dense"),
    "a tensor without numbers": (lambda: torch.empty(10, 4, device="meta"), "meta.*pass a tensor"),
    "numbers too large": (lambda: [[10**400] * 4] * 10, "too large.*pass numbers"),
    "rows of several lengths": (
        lambda: [[1.0], [2.0, 3.0]] * 5,
        r"entry 1 .*(\(2,\), and entry 0 \(1,\).*many columns|list of 10 unlike parts)",
    ),
    "rows within rows": (lambda: [[[1.0], [2.0, 3.0]]] * 10, "entry [01] .*list of (2|10) unlike parts.*pass rows"),
    "batches of pictures": (
        lambda: PICTURES,
        r"4 axes, \(8, 1, 2, 2\).* 2, .*reshape|entry 1 .*\(2, 1, 2, 2\), and entry 0 \(8|list of 2 unlike",
    ),
    "a masked entry": (lambda: np.ma.masked_equal(X, 13), "NaN|non-finite"),
    "an endless entry": (lambda: ENDLESS, "infinity|non-finite"),
    "a missing entry of a frame": (
        lambda: frame("polars", {name: [None, *range(9)] for name in "abcd"}),
        "NaN|non-finite",
    ),
}


def frame(library, columns):
    return pytest.importorskip(library).DataFrame(columns)


class iter_again:
    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        return iter(self.parts)


class Changing:
    """A stream that is itself for some readings, and then another."""

    def __init__(self, first, later, readings):
        self.first, self.later, self.left = first, later, readings

    def __iter__(self):
        self.left -= 1
        return iter(self.first if self.left >= 0 else self.later)


@pytest.mark.parametrize("case", CASES)
def test_refused(case):
    act, error, *says = CASES[case]
    with pytest.raises(error) as caught:
        act()
    for part in says:
        assert part in str(caught.value), f"{part!r} is missing from: {caught.value}"


def test_the_table_is_long_enough():
    assert len(CASES) >= 20


def test_sparse_input_is_refused_by_name():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"[Ss]parse.*toarray"):
        km().fit(sparse.csr_matrix(X))
    for model in (LinearRegression(), LogisticRegression()):
        for pair in ((sparse.csr_matrix(X), LABELS), (X, sparse.csr_matrix(LABELS))):
            with pytest.raises(TypeError, match=r"[Ss]parse"):
                model.fit(*pair)


def test_a_refusal_leaves_the_estimator_as_it_was():
    model = fitted()
    before = model.cluster_centers_.copy()
    with pytest.raises(ValueError, match="row 3, column 1"):
        model.fit(HOLE)
    assert np.array_equal(before, model.cluster_centers_)


TAKERS = {  # every way in for numbers
    "fit": lambda bad: km().fit(bad),
    "a batch": lambda bad: km().fit([X, bad]),
    "predict": lambda bad: fitted().predict(bad),
    "predict of batches": lambda bad: fitted().predict([X, bad]),
    "inverse_transform": lambda bad: Memory().fit(np.eye(4)).inverse_transform(bad),
    "init": lambda bad: KMeans(10, init=bad).fit(np.vstack([X, X])),
    "y": lambda bad: LinearRegression().fit(X, bad),
    "a mask": Mask,
    "a matrix": lambda bad: Linear(bad, (2, 2)),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:X has feature names")
@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_table_of_numbers_is_refused_everywhere(kind, taker):
    make, says = NO_NUMBERS[kind]
    with pytest.raises((ValueError, TypeError), match=f"(?s){says}"):
        TAKERS[taker](make())


GOOD = {  # the same numbers in other clothes: (10, 4)
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "reversed rows": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "Fortran order": np.asfortranarray,
    "read-only": lambda x: np.lib.stride_tricks.as_strided(x, writeable=False),
    "every second column": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "objects": lambda x: x.astype(object),
    "nested lists": lambda x: x.tolist(),
    "big-endian": lambda x: x.astype(">f8"),
    "unsigned bytes": lambda x: x.astype(np.uint8),
    "columns of a tensor": lambda x: torch.tensor(x.T.copy()).T,
    "rows of numbers of NumPy": lambda x: [list(row) for row in x],
    "half": lambda x: torch.tensor(x).half(),
    "bfloat16": lambda x: torch.tensor(x).bfloat16(),
    "integers in a tensor": lambda x: torch.tensor(x).long(),
    "a tensor that asks for its gradient": lambda x: torch.tensor(x, requires_grad=True),
    "a negated view": lambda x: torch._neg_view(-torch.tensor(x)),
    "a mask that hides nothing": lambda x: np.ma.masked_equal(x, 99),
    "a pandas frame": lambda x: frame("pandas", {str(i): column for i, column in enumerate(x.T)}),
    "a polars frame": lambda x: frame("polars", {str(i): column for i, column in enumerate(x.T)}),
    "polars batches": lambda x: [frame("polars", {str(i): c for i, c in enumerate(part.T)}) for part in (x[:4], x[4:])],
    "pandas batches": lambda x: [frame("pandas", {str(i): c for i, c in enumerate(part.T)}) for part in (x[:4], x[4:])],
    "empty batches between": lambda x: [x[:0], x[:4], x[:0], x[4:]],
    "batches of two dtypes": lambda x: [x[:4].astype(np.float32), x[4:]],
    "batches of two kinds": lambda x: (x[:4], torch.tensor(x[4:])),
    "a loader": lambda x: torch.utils.data.DataLoader(torch.tensor(x), batch_size=3),
}


@pytest.mark.parametrize("clothes", GOOD)
def test_the_same_numbers_in_other_clothes(clothes):
    dressed, plain = GOOD[clothes](X), LGAE(2).fit(X)
    model = LGAE(2).fit(dressed)
    codes = np.asarray(model.transform(dressed))
    assert np.abs(np.asarray(model.components_) - plain.components_).max() < 1e-4
    assert np.abs(codes - plain.transform(X)).max() < 1e-3 and len(codes) == 10
    if not isinstance(dressed, (list, tuple)) and not hasattr(dressed, "batch_size"):
        wide = Memory().fit(np.eye(4)).inverse_transform(dressed)
        assert np.abs(np.asarray(wide, dtype=float) - X).max() < 1e-12


ROWS = np.random.default_rng(0).normal(size=(40, 3))
WAYS = {  # every other way in for a table (10, 4)
    "targets": lambda x: LinearRegression().fit(X, x).coef_,
    "targets of a score": lambda x: LinearRegression().fit(X, X**2).score(X, x),
    "targets one by one": lambda x: LinearRegression().fit(X, X).score_samples(X, x),
    "init of k-means": lambda x: KMeans(10, init=x).fit(np.vstack([X, X + 0.2])).cluster_centers_,
    "init of parts": lambda x: NMF(10, init=x, max_iter=1).fit(np.vstack([X, X + 0.2])).components_,
    "init of a map": lambda x: TSNE(4, init=x, perplexity=2, max_iter=1).fit(X).embedding_,
    "measurements": lambda x: sense(fitted(), x, np.eye(4), 0.1).mean,
    "a matrix of measurements": lambda x: sense(fitted(), np.ones((1, 10)), x, 0.1).mean,
    "a comparison": lambda x: [row["error"] for row in compare(x, [LGAE(2)], verbose=0)],
    "a comparison's test": lambda x: [row["error"] for row in compare(X, [LGAE(2)], x, verbose=0)],
    "reconstructions": lambda x: plot.reconstructions(fitted(), x, n=1)[0].lines[0].get_ydata(),
    "labels": lambda x: plot.codes(LGAE(2).fit(ROWS), ROWS, x).collections[0].get_array(),
    "a picture": lambda x: _checks.measured(x, Mask(np.ones((10, 4))), None, None)[0],
    "a mask": lambda x: 1.0 * Mask(x).known,
    "a matrix of pixels": lambda x: Linear(x, (2, 2)).matrix,
}


@pytest.mark.filterwarnings("ignore:.*stopped after max_iter", "ignore:X has feature names")
@pytest.mark.parametrize("way", WAYS)
def test_the_same_numbers_in_other_clothes_by_every_way_in(way):
    mpl.use("agg")
    x = {"a picture": 1.0 * (X > 20), "labels": X.reshape(40, 1)}.get(way, X)
    plain = WAYS[way](x)
    for clothes, dress in GOOD.items():
        dressed = dress(x)
        if "batches" in clothes or "loader" in clothes:
            continue
        found = WAYS[way](dressed)
        assert np.abs(as_numpy(found) - as_numpy(plain)).max() < 1e-6, clothes
        mpl.pyplot.close("all")


def test_eight_bits_are_numbers():
    rows = torch.tensor(X % 16).to(torch.float8_e4m3fn)
    assert np.abs(as_numpy(LGAE(1).fit(rows).mean_) - (X % 16).mean(0)).max() < 1e-5
    assert LinearRegression().fit(X, rows).coef_.shape == (4, 4)


def test_the_dtype_of_batches_does_not_depend_on_their_order():
    parts = [X[:4].astype(np.float32), X[4:]]
    assert {LGAE(1).fit(order).mean_.dtype for order in (parts, parts[::-1])} == {np.dtype(float)}


@pytest.mark.parametrize(
    "labels", [MIXED, MIXED.tolist(), [1, "a"] * 5, np.array([1.0, np.nan] * 5, dtype=object), [None] * 10]
)
def test_labels_without_an_order_are_refused(labels):
    with pytest.raises(ValueError, match=r"kinds .* cannot be put in order: pass labels of one kind") as caught:
        LogisticRegression().fit(X, labels)
    assert "<" not in str(caught.value)


def test_dates_for_y_are_refused():
    with pytest.raises(TypeError, match=r"y holds datetime64.*no number"):
        LinearRegression().fit(X, DAYS)


def test_impute_fills_holes_and_refuses_infinity():
    for model in (MPPCA(2, 1, random_state=0), PPCA(1)):
        model.fit(np.random.default_rng(0).normal(size=(50, 4)))
        assert np.isfinite(model.impute(HOLE)).all()
        with pytest.raises(ValueError, match=r"infinity.*row 9, column 3.*inf.*by NaN"):
            model.impute(ENDLESS)
        assert np.array_equal(model.impute(np.ma.masked_equal(X, 13)), model.impute(HOLE))


@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_batches_that_are_no_tables_are_refused(model):
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(X)
    for batches, says in (
        ([sparse], r"parse.*real arrays"),
        (PICTURES, r"list .*4 axes, \(8, 1, 2, 2\), .*2, rows and columns: pass .*reshape"),
        (tuple(map(torch.tensor, PICTURES)), r"tuple .*4 axes, \(8, 1, 2, 2\), .*2, rows and columns: pass .*reshape"),
        (list(np.ones((20, 2, 2, 2))), r"list .*3 axes, \(2, 2, 2\), .*2, rows and columns: pass .*reshape"),
        (iter_again(PICTURES), "dim 4.*flatten each sample"),
        (iter_again([X, sparse]), r"parse.*real arrays"),
        (iter_again([1.0, 2.0]), r"got scalar array.*one row per sample"),
        (iter_again([X, np.float64(1)]), r"got scalar array.*one row per sample"),
        (torch.tensor(X).reshape(10, 2, 2).to_sparse(), r"parse.*to_dense"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"(?s){says}"):
            clone(model).fit(batches, np.arange(20) % 2)


def test_a_loader_of_pairs_or_out_of_order_is_refused():
    tensors = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(LABELS))
    with pytest.raises(TypeError, match=r"of 2 arrays.*yield its rows alone"):
        km().fit(torch.utils.data.DataLoader(tensors, batch_size=4))
    with pytest.raises(ValueError, match=r"another place in every pass.*shuffle=False"):
        km().fit(torch.utils.data.DataLoader(torch.tensor(X), batch_size=4, shuffle=True))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:.*small enough")
@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_entries_whose_squares_have_no_room_are_refused(model):
    rows, says = (
        np.random.default_rng(0).random((30, 4)),
        r"has 1e\+{} at row 7, column 2; squares in {} have room .* up to",
    )
    for dtype, power in ((np.float32, 30), (np.float64, 200)):
        bad = rows.astype(dtype)
        bad[7, 2] = 10.0**power
        with pytest.raises(ValueError, match=says.format(power, dtype.__name__) + ".*: divide it by a constant"):
            clone(model).fit(bad, np.arange(30) % 2)
    there = clone(model).fit((rows * farthest(torch.float32, 4)).astype(np.float32), np.arange(30) % 2)
    assert np.isfinite(there.history_).all() and len(there.history_)
    for ask in (getattr(there, name) for name in ("transform", "predict", "score_samples") if hasattr(there, name)):
        with pytest.raises(ValueError, match=says.format(200, "float32") + r".*, or pass float64$"):
            ask(bad)


@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_data_whose_squares_are_no_numbers_are_refused(model):
    rows = np.random.default_rng(0).random((30, 4))
    says = r"no entry beyond 9\.\S+e-{}; squares in {} keep their digits from .*: multiply it by a constant{}$"
    kinds = [(np.float64, 200, "")]
    if "Regression" not in type(model).__name__ and not model._wide:  # whose squares are in float64
        kinds.append((np.float32, 30, ", or pass float64"))
    for dtype, power, wider in kinds:
        small = (rows * 10.0**-power).astype(dtype)
        for bad in (small, [small[:9], small[9:]], torch.tensor(small)):
            with pytest.raises(ValueError, match=says.format(power + 1, dtype.__name__, wider)):
                clone(model).fit(bad, np.arange(30) % 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_a_stream_that_changes_between_its_readings_is_refused(model):
    rows, y = np.random.default_rng(0).random((30, 4)), np.arange(30) % 2
    whole = [rows[:9], rows[9:]]
    others = {
        r"gave 9 rows, and 30 in an earlier": whole[:1],
        r"gave 0 rows": [],
        r"gave another first row": whole[::-1],
    }
    for says, later in others.items():
        with pytest.raises(ValueError, match=says + ".*: pass batches that stay as they are"):
            clone(model).fit(Changing(whole, later, 1), y)


def test_a_loader_that_draws_is_refused():
    rows = torch.tensor(X)
    for sampler in (
        {"sampler": torch.utils.data.SubsetRandomSampler(range(9, -1, -1))},
        {"batch_sampler": torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(range(10)), 4, False)},
    ):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            with pytest.raises(ValueError, match="another first row"):
                km(tol=0).fit(torch.utils.data.DataLoader(rows, **sampler))


def test_a_part_of_the_data_may_be_small():
    small = np.full((4, 4), 1e-200)
    for few in (np.concatenate([X, small]), [small, X], [np.zeros((4, 4)), X]):
        assert np.isfinite(LGAE(1).fit(few).transform(small)).all()


def test_targets_whose_squares_have_no_room_are_refused():
    with pytest.raises(ValueError, match=r"Input y has 1e\+80 at row 9, column 0; squares in float64 have room"):
        LinearRegression().fit(X, np.r_[np.ones(9), 1e80])


def test_targets_whose_squares_lose_their_digits_are_refused():
    with pytest.raises(ValueError, match=r"Input y has no entry beyond 9e-200; squares in float64 keep their digits"):
        LinearRegression().fit(X, 1e-200 * np.arange(10))


FIRST = {  # a first fit that fails, early or late
    "a hole": lambda model: model.fit(HOLE),
    "too few rows": lambda model: model.set_params(n_clusters=99).fit(X),
    "a hole in the last batch": lambda model: model.fit([X, HOLE]),
    "squares without room": lambda model: model.fit(X * 1e300),
    "a step that fails": lambda model: fails_late(model),
}


def fails_late(model):
    def fail(joint, sums):
        raise FloatingPointError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flats, "update", fail)
        model.fit(X)


@pytest.mark.parametrize("why", FIRST)
def test_a_refused_first_fit_is_no_fit(why):
    model = km()
    with pytest.raises((ValueError, FloatingPointError)):
        FIRST[why](model)
    with pytest.raises(NotFittedError):
        model.predict(X)
    assert set(vars(model)) == set(vars(km()))


def test_a_fitted_model_that_refuses_new_data_stays_as_it_was():
    model = fitted()
    before, answers = dict(vars(model)), model.predict(X)
    for bad in (HOLE, HOLE[:, :3], X[:1], [X[:, :2], HOLE]):
        with pytest.raises(ValueError, match=r"."):
            model.fit(bad)
        assert vars(model) == before and np.array_equal(model.predict(X), answers)


def stop_in(monkeypatch, owner, name, call):
    """Ctrl-C while a function is called for this time."""
    whole, calls = getattr(owner, name), []

    def stopped(*args, **options):
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return whole(*args, **options)

    monkeypatch.setattr(owner, name, stopped)


def test_ctrl_c_before_there_is_anything_leaves_no_fit(monkeypatch):
    stop_in(monkeypatch, KMeans, "_start", 1)
    model = km()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize(("owner", "name", "call"), [(Flats, "update", 2), (KMeans, "_finish", 1)])
def test_ctrl_c_keeps_the_best_so_far(owner, name, call, monkeypatch):
    stop_in(monkeypatch, owner, name, call)
    model = km(n_init=4)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.score(X) >= model.history_[-1] - 1e-9 and model.n_iter_ == len(model.history_)
    assert model.labels_.shape == (10,) and model.inertia_ > 0


NO_NUMBER = [
    np.array([1, 2]), torch.ones(2), np.array(["auto", "learn"]), {}, b"auto", 1j, float("nan"), np.datetime64(1, "D"),
]  # fmt: skip


@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_what_is_no_hyperparameter_is_refused_by_name(model):
    checked = {field.name: field.metadata["check"] for field in fields(model) if "check" in field.metadata}
    assert checked or isinstance(model, LinearRegression)
    for (name, check), bad in itertools.product(checked.items(), NO_NUMBER):
        if name != "init":  # an array, judged beside the data
            with pytest.raises(ValueError, match=rf"{name}=.*: pass"):
                check(name, bad)


TWINS = {"batch_size": 8, "variance": 0.5, "amount": 0.5, "step": 1.0, "learning_rate": 50.0, "absorb": 1.0}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:.*small enough")
@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_numbers_of_numpy_are_hyperparameters_like_others(model):
    """As a grid made by ``np.linspace`` or ``np.arange`` passes them, or whoever counts in fractions."""
    given = {name: (TWINS | registry.SEED).get(name, value) for name, value in model.get_params().items()}
    given = {name: value for name, value in given.items() if isinstance(value, (bool, int, float))}
    given = {
        name: float(np.float16(value)) or value if type(value) is float else value for name, value in given.items()
    }
    others, kinds = {}, itertools.cycle([np.float16, Fraction, np.longdouble])
    for name, value in given.items():
        others[name] = next(kinds)(value) if type(value) is float else np.asarray(value)[()]
    others |= {
        name: np.float64(value) for name, value in given.items() if type(value) is float and others[name] != value
    }
    rows = np.random.default_rng(0).random((30, 4))
    one, other = (clone(model).set_params(**params).fit(rows, np.arange(30) % 2) for params in (given, others))
    assert one.history_ == other.history_ and len(one.history_)
    assert all(getattr(other, name) is value for name, value in others.items())  # they stay as they were given


@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_numbers_that_no_machine_word_holds_are_refused_or_taken_as_floats(model):
    for each in fields(model):
        if each.init and each.name != "random_state" and isinstance(getattr(model, each.name), int | float):
            huge = clone(model).set_params(**{each.name: 10**30})
            if each.type is int and each.name != "verbose":
                with pytest.raises(ValueError, match=f"{each.name}={10**30} must be an integer below 2\\*\\*63"):
                    validate(huge)
            elif each.type is not bool and each.type is not int:
                assert plain(huge)[each.name] == 1e30 and type(plain(huge)[each.name]) is float


WORDS = {  # another word for each choice
    "noise": "bernoulli", "corruption": "poisson", "beta_loss": "kullback-leibler", "method": "exact", "loss": "hinge",
    "precision": "bfloat16", "solver": "em", "init": "random", "absorb": 0.1, "step": 0.5, "amount": 0.9, "variance": 7.0,
    "learning_rate": 1.0, "hidden": (4,), "random_state": 7, "batch_size": 3, "prior_variance": 3.0,
    "decoder": torch.nn.Identity(), "encoder": torch.nn.Identity(), "critic": torch.nn.Identity(),
}  # fmt: skip
ASKED = {"device", "verbose", "restarts", "score_draws"}  # how a question is answered: the docstrings say so


@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:.*small enough", "ignore:.*fall into"
)
@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_set_params_after_fit_changes_nothing(model):
    rows = np.abs(np.random.default_rng(0).normal(size=(30, 4)) + 9 * (np.arange(30) % 2)[:, None])
    model = clone(model).fit(rows, np.arange(30) % 2)
    before, bar = said_by(model, rows), explain(model).lines
    for name, value in model.get_params().items():
        if name not in ASKED:
            other = not value if isinstance(value, bool) else WORDS[name] if name in WORDS else 2 * (value or 0) + 1
            model.set_params(**{name: other})
    for one, other in zip(before, said_by(model, rows), strict=True):
        assert np.array_equal(one, other)
    assert bar == explain(model).lines


def said_by(model, rows):
    """What a fitted model answers, decodes and draws, and what it calls its columns."""
    names = ("transform", "predict", "score_samples", "predict_proba", "score_field")
    found = [getattr(model, name)(rows) for name in names if hasattr(model, name)]
    found += (
        [model.inverse_transform(found[0])]
        if hasattr(model, "inverse_transform") and hasattr(model, "transform")
        else []
    )
    found += [model.sample(3, random_state=0)] if hasattr(model, "sample") else []
    return [*found, *([model.get_feature_names_out()] if hasattr(model, "get_feature_names_out") else [])]


FITS = ("fit", "fit_transform", "fit_predict")


@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_before_a_fit_every_question_says_so(model):
    told, model = {"sample": (2,), "get_feature_names_out": (), "tangents": (X, 1)}, clone(model)
    ours = {name for kind in type(model).__mro__ if "gaelib" in kind.__module__ for name in vars(kind)} | {
        "get_feature_names_out"
    }
    asked = [
        name for name in sorted(ours) if name[0] != "_" and name not in FITS and callable(getattr(model, name, None))
    ]
    asked = [name for name in asked if name not in ("infer", "judge") and not name.endswith("_request")]
    for name in asked:
        with pytest.raises(NotFittedError):
            getattr(model, name)(*told.get(name, (X, LABELS) if name == "score" else (X,)))
    assert asked or hasattr(model, "fit_transform")


@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_columns_have_no_names_before_a_fit(model):
    if hasattr(model, "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            clone(model).get_feature_names_out()
