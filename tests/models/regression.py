"""Linear and logistic regression against scikit-learn, the objective's own slope, and their promises."""

import pickle

import numpy as np
import pytest
import registry
import torch
from gaelib import LinearRegression, LogisticRegression, data
from gaelib.core import Given, objective
from gaelib.models import regression
from gaelib.models.regression import Linear
from registry import HOLE, LABELS
from registry import X as TABLE
from sklearn import linear_model as reference
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

rng = np.random.default_rng(0)
Z = rng.normal(size=(300, 5))
X = Z @ rng.normal(size=(5, 3)) + 2 + 0.3 * rng.normal(size=(300, 3))
UNITS = np.array([1e-9, 1e-4, 1.0, 1e4, 1e9])


@pytest.fixture(scope="module")
def digits():
    pixels, y = data.digits()
    return pixels[:500] / 16, y[:500]


def centred(model):
    """Parameters that differ by a row common to all classes are the same softmax."""
    both = np.column_stack([model.coef_, model.intercept_])
    return both - both.mean(0)


@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression(C=float("inf"))], ids=["linear", "logistic"])
def test_float32_columns_far_from_the_origin_predict_as_in_float64(model):
    z, y = (Z + 1e6).astype(np.float32), (Z[:, 0] + rng.logistic(size=len(Z)) > 0).astype(int)
    narrow, wide = (clone(model).fit(part, y) for part in (z, z.astype(float)))
    assert np.abs(narrow.score_samples(z, y) - wide.score_samples(z.astype(float), y)).max() < 1e-5


@pytest.mark.parametrize(
    "make", [LinearRegression, lambda: LogisticRegression(C=float("inf"))], ids=["linear", "logistic"]
)
def test_the_units_of_columns_do_not_matter(make):
    """Each column in its own: what is predicted is the same."""
    y = (Z @ [1.0, -1.0, 0.5, 0.0, 0.2] + rng.logistic(size=len(Z)) > 0).astype(int)
    one, other = make().fit(Z, y), make().fit(Z * UNITS, y)
    assert np.allclose(one.score_samples(Z, y), other.score_samples(Z * UNITS, y), atol=1e-6)
    assert np.allclose(one.coef_, other.coef_ * UNITS, atol=1e-6)


@pytest.mark.parametrize("x", [X, X[:, 0], X[:, :1]], ids=["three columns", "one axis", "one column"])
def test_linear_equals_scikit_learn(x, record_property, parity):
    record_property("ledger", "G9")
    ours, theirs = LinearRegression().fit(Z, x), reference.LinearRegression().fit(Z, x)
    for a, b in (
        (ours.coef_, theirs.coef_),
        (ours.intercept_, theirs.intercept_),
        (ours.predict(Z), theirs.predict(Z)),
    ):
        assert np.shape(a) == np.shape(b) and np.abs(a - b).max() < 1e-10
    assert abs(ours.score(Z, x) - theirs.score(Z, x)) < 1e-12
    difference = np.abs(ours.coef_ - theirs.coef_).max()
    parity(LinearRegression, reference.LinearRegression, f"weights for x of shape {x.shape}, largest difference",
           difference, 1e-10)  # fmt: skip


@pytest.mark.parametrize(("n", "p"), [(20, 40), (300, 5)])
def test_directions_without_data_get_the_smallest_weights(n, p):
    z = rng.normal(size=(n, p))
    z[:, 1] = 0.1  # constant, but not in binary
    z[:, 2] = z[:, 0] - 3 * z[:, 3]
    x = rng.normal(size=(n, 2))
    ours, theirs = LinearRegression().fit(z, x), reference.LinearRegression().fit(z, x)
    assert np.abs(ours.coef_ - theirs.coef_).max() < 1e-10
    assert np.abs(ours.coef_[:, 1]).max() < 1e-15


def test_far_from_the_origin_no_digit_is_lost():
    z, x = rng.integers(0, 9, (200, 4)).astype(float), rng.integers(0, 9, (200, 2)).astype(float)
    near, far = LinearRegression().fit(z, x), LinearRegression().fit(z + 2.0**40, x - 2.0**40)
    assert np.abs(near.coef_ - far.coef_).max() < 1e-10
    assert abs(near.history_[1] - far.history_[1]) < 1e-4  # predictions are as large as y, and so rounded
    single = LinearRegression().fit((z + 2.0**20).astype(np.float32), x.astype(np.float32))
    assert single.coef_.dtype == np.float32 and np.abs(near.coef_ - single.coef_).max() < 1e-7


def test_units_do_not_decide_what_is_absent():
    units = np.array([1e-9, 1.0, 1e9, 1e3, 1.0])
    ours = LinearRegression().fit(Z * units, X)
    assert np.abs(ours.coef_ * units - LinearRegression().fit(Z, X).coef_).max() < 1e-10


def test_the_first_update_is_already_the_maximum():
    z, x = torch.tensor(Z), torch.tensor(X)
    joint = Linear(z.mean(0), x.mean(0))
    joint.update({name: value.detach().double() for name, value in joint.stats(x, z).items()})
    assert np.abs(joint.weights.detach().numpy() - LinearRegression().fit(Z, X).coef_).max() < 1e-12


def test_linear_objective_is_the_squared_error_and_rises():
    model = LinearRegression().fit(Z, X)
    by_hand = -((X - model.predict(Z)) ** 2).sum(1) - 1.5 * np.log(np.pi)
    assert np.abs(model.score_samples(Z, X) - by_hand).max() < 1e-12
    assert abs(model.history_[1] - by_hand.mean()) < 1e-12 and model.history_[0] < model.history_[1]
    assert np.abs(model.score_samples(Z) + 1.5 * np.log(np.pi)).max() < 1e-12  # without y: of the best y


def slope(joint, x, z, penalty=0.0):
    """The largest entry of the objective's gradient in the parameters."""
    value = objective(joint, x, Given(z)).mean() - penalty * joint.weights.square().sum()
    return max(float(g.abs().max()) for g in torch.autograd.grad(value, list(joint.parameters())))


def test_the_slope_is_zero_at_the_optimum_and_not_beside_it(digits):
    linear, logistic = LinearRegression().fit(Z, X).joint_, LogisticRegression(C=0.5).fit(*digits).joint_
    z, y = (torch.tensor(part) for part in digits)
    slopes = [
        lambda: slope(linear, torch.tensor(X), torch.tensor(Z)),
        lambda: slope(logistic, y, z, 1 / len(z)),
    ]
    for joint, here, bound in zip((linear, logistic), slopes, (1e-12, 1e-5)):
        assert here() < bound
        joint.weights.data[0, 2] += 0.01 if joint is linear else 1.0
        assert here() > 100 * bound


def test_batches_equal_the_whole():
    whole, streamed = LinearRegression().fit(Z, X), LinearRegression().fit(
        [Z[i : i + 70] for i in range(0, 300, 70)], [X[:100], X[100:]]
    )  # fmt: skip
    assert np.abs(whole.coef_ - streamed.coef_).max() < 1e-12
    assert np.abs(whole.score_samples(Z, X) - streamed.score_samples([Z[:9], Z[9:]], X)).max() < 1e-12
    assert abs(whole.score(Z, X) - whole.score([Z[:9], Z[9:]], X)) < 1e-12


def test_products_are_small_and_add_up(monkeypatch):
    """OpenBLAS multiplies a few rows at a time twice as fast; the sums are those of all rows."""
    x = torch.randn(300, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, asked = torch.arange(300) % 7, []

    def product(a, b):
        asked.append(len(a) * a.shape[1] * b.shape[1])
        return a @ b

    monkeypatch.setattr(regression, "product", product)
    bias, weights = (0.1 * x[:7, :k] for k in (1, 500))
    bias, weights = bias[:, 0].clone().requires_grad_(), weights.clone().requires_grad_()
    found = regression.Total.apply(bias, weights, [(y[:299], x[:299]), (y[299:], x[299:])])
    expected = -torch.nn.functional.cross_entropy(x @ weights.T + bias, y, reduction="sum")
    assert torch.isclose(found, expected) and max(asked) <= regression.FEW < 299 * 500 * 7
    slopes = (torch.autograd.grad(value, (bias, weights)) for value in (found, expected))
    assert all(map(torch.allclose, *slopes))


@pytest.mark.parametrize(("C", "solver"), [(0.01, "lbfgs"), (1.0, "lbfgs"), (1e3, "newton-cg")])
def test_logistic_equals_scikit_learn(digits, C, solver, record_property, parity):
    # Where the penalty is weak scikit-learn's lbfgs stops too early to be a reference; its Newton method does not.
    record_property("ledger", "G9")
    ours = LogisticRegression(C=C, tol=1e-13).fit(*digits)
    theirs = reference.LogisticRegression(C=C, solver=solver, tol=1e-10, max_iter=20000).fit(*digits)
    assert ours.coef_.shape == (10, 64) and (ours.classes_ == np.arange(10)).all()
    assert np.abs(centred(ours) - centred(theirs)).max() < 1e-4
    difference = np.abs(ours.predict_proba(digits[0]) - theirs.predict_proba(digits[0])).max()
    parity(LogisticRegression, reference.LogisticRegression,
           f"probabilities of 500 digits at C={C:g} by {solver}, largest difference", difference, 1e-5)  # fmt: skip
    assert ours.score(*digits) == theirs.score(*digits)


def test_two_classes_are_a_softmax_of_two_rows(digits):
    pixels, y = digits
    y = np.where(y % 2, "odd", "even")
    ours = LogisticRegression(C=0.5).fit(pixels, y)
    theirs = reference.LogisticRegression(C=1.0, tol=1e-10, max_iter=20000).fit(pixels, y)
    assert np.abs(ours.coef_[1] - ours.coef_[0] - theirs.coef_[0]).max() < 1e-4
    assert np.abs(ours.predict_proba(pixels) - theirs.predict_proba(pixels)).max() < 1e-5
    assert (ours.predict(pixels) == theirs.predict(pixels)).all() and set(ours.predict(pixels)) == {
        "even",
        "odd",
    }


def test_a_penalty_holds_a_column_that_hardly_varies():
    """So beside another it keeps its own unit; without a penalty nothing would bend there."""
    joint, variance = regression.Logistic(torch.zeros(2).double(), torch.zeros(3).double()), torch.tensor([1e-12, 1.0])
    free, held = (regression.alike(joint, variance.double(), penalty)[1] for penalty in (0.0, 0.01))
    assert free[0] > 100 * free[1] and held[0] == held[1]


def test_without_a_penalty_the_rate_of_each_class_is_met():
    pixels, y = Z[:, :2], (Z[:, 0] + 2 * rng.normal(size=300) > 0) + 1 * (Z[:, 1] > 1)
    model = LogisticRegression(C=float("inf")).fit(pixels, y)
    theirs = reference.LogisticRegression(C=np.inf, tol=1e-10).fit(pixels, y)
    assert np.abs(centred(model) - centred(theirs)).max() < 1e-4
    assert np.abs(model.predict_proba(pixels).mean(0) - np.bincount(y) / len(y)).max() < 1e-8


def test_logistic_scores_are_log_probabilities(digits):
    pixels, y = digits
    model = LogisticRegression().fit(pixels, y)
    logs = model.predict_log_proba(pixels)
    assert np.abs(logs - np.log(model.predict_proba(pixels))).max() < 1e-12
    assert np.abs(model.score_samples(pixels, y) - logs[np.arange(500), y]).max() < 1e-12
    assert np.abs(model.score_samples(pixels) - logs.max(1)).max() < 1e-12
    penalty = (model.coef_**2).sum() / (2 * 500)
    assert abs(model.history_[-1] - (model.score_samples(pixels, y).mean() - penalty)) < 1e-8


def test_logistic_far_from_the_origin(digits):
    pixels, y = digits
    near, far = LogisticRegression().fit(pixels, y), LogisticRegression().fit(pixels + 1024.0, y)
    assert np.abs(near.coef_ - far.coef_).max() < 1e-6


def test_the_fit_keeps_the_digits_of_single_precision(digits):
    pixels, y = digits  # sixteenths: exact in float32
    double, single = (
        LogisticRegression().fit(pixels, y),
        LogisticRegression().fit(pixels.astype(np.float32), y),
    )
    assert single.coef_.dtype == np.float32 and np.abs(double.coef_ - single.coef_).max() < 1e-6


def test_torch_in_torch_out(digits):
    z, x = torch.tensor(Z, dtype=torch.float32), torch.tensor(X)
    linear = LinearRegression().fit(z, x)
    pixels, y = (torch.tensor(part) for part in digits)
    logistic = LogisticRegression(C=0.01).fit(pixels, y)
    answers = [linear.coef_, linear.intercept_, linear.predict(z), linear.score_samples(z, x)]
    assert all(torch.is_tensor(a) and a.dtype == torch.float32 for a in answers)
    for answer in (
        logistic.coef_,
        logistic.intercept_,
        logistic.predict_proba(pixels),
        logistic.predict(pixels),
    ):
        assert torch.is_tensor(answer)
    assert logistic.predict(pixels).dtype == y.dtype
    assert isinstance(logistic.predict(digits[0]), np.ndarray) and isinstance(linear.predict(Z), np.ndarray)
    assert isinstance(LogisticRegression().fit(pixels[:20], list("ab" * 10)).predict(pixels), np.ndarray)
    assert abs(linear.score(z, x) - LinearRegression().fit(Z, X).score(Z, X)) < 1e-6
    assert logistic.score(pixels, y) == logistic.score(*digits)


def test_pickle(digits):
    for model, inputs in (
        (LinearRegression().fit(Z, X), Z),
        (LogisticRegression(C=0.01).fit(*digits), digits[0]),
    ):
        assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(inputs), model.predict(inputs))


def test_too_few_steps_warn(digits):
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        LogisticRegression(max_iter=1).fit(*digits)


def test_one_class_is_refused_as_by_scikit_learn():
    for model in (LogisticRegression(), reference.LogisticRegression()):
        with pytest.raises(ValueError, match="at least 2 classes"):
            model.fit(Z, np.ones(300))


def test_an_interrupted_fit_keeps_its_best(digits, monkeypatch):
    products = []

    def product(a, b, whole=regression.product):
        products.append(1)
        if len(products) == 80:
            raise KeyboardInterrupt
        return whole(a, b)

    monkeypatch.setattr(regression, "product", product)
    model = LogisticRegression()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*digits)
    # a line search looks at worse points too: what is kept is what the last step reached
    assert model.score(*digits) > 0.9 and model.score_samples(*digits).mean() >= model.history_[-1]


def test_logistic_batches_equal_the_whole(digits, tmp_path):
    pixels, y = digits
    np.save(tmp_path / "x.npy", pixels)
    whole, parts = LogisticRegression().fit(pixels, y), [pixels[:100], pixels[100:]]
    for X, labels in ((parts, [y[:100], y[100:]]), (parts, y), (np.load(tmp_path / "x.npy", mmap_mode="r"), y)):
        streamed = LogisticRegression().fit(X, labels)
        assert np.abs(whole.coef_ - streamed.coef_).max() < 1e-5
        assert abs(whole.history_[-1] - streamed.history_[-1]) < 1e-9
        assert streamed.score(X, labels) == whole.score(pixels, y)


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [LinearRegression(), LogisticRegression()]
UNBOUND = {
    "Affine": "The code is given, or there is none: no max is answered.",
    "Linear": "The code is given.",
    "Logistic": "There is no code.",
}
BAD = {
    "a regression without y": (lambda: LinearRegression().fit(TABLE, None), ValueError, "requires y", "None", "call fit(X, y)"),
    "fewer labels than rows": (lambda: LogisticRegression().fit(TABLE, LABELS[:9]), ValueError, "10 rows", "y has 9", "one y for each row"),
    "a hole in y": (lambda: LinearRegression().fit(TABLE, HOLE), ValueError, "row 3", "nan", "drop the rows"),
    "words for numbers": (lambda: LinearRegression().fit(TABLE, ["a"] * 10), ValueError, "convert", "'a'", "encode"),
    "y of another width": (lambda: LinearRegression().fit(TABLE, TABLE).score_samples(TABLE, TABLE[:, :3]), ValueError, "3 columns", "saw 4", "pass the columns"),
    "one class": (lambda: LogisticRegression().fit(TABLE, LABELS * 0), ValueError, "2 classes", "1 class (0)", "another class"),
    "numbers for labels": (lambda: LogisticRegression().fit(TABLE, TABLE[:, 0] / 3), ValueError, "label type", "continuous", "LinearRegression"),
    "labels in two columns": (lambda: LogisticRegression().fit(TABLE, TABLE[:, :2]), ValueError, "1d array", "(10, 2)", "one label per row"),
    "a label never seen": (lambda: LogisticRegression().fit(TABLE, LABELS).score_samples(TABLE, LABELS + 1), ValueError, "label 2", "2 that fit saw", "fit again"),
    "a penalty of infinity": (lambda: LogisticRegression(C=0).fit(TABLE, LABELS), ValueError, "C=0", "above 0", "C=float('inf')"),
    "sample weights of a regression": (lambda: LinearRegression().fit(TABLE, TABLE, sample_weight=LABELS), TypeError, "sample_weight", "unexpected", "fit"),
    "regression before fit": (lambda: LogisticRegression().predict(TABLE), ValueError, "not fitted", "LogisticRegression", "fit"),
}  # fmt: skip
DEVICES = {
    "LinearRegression": (LinearRegression(), registry.CLOUDS, registry.TARGETS),
    "LinearRegression, one column": (LinearRegression(), registry.CLOUDS, registry.TARGETS[:, 0]),
    "LogisticRegression": (LogisticRegression(), registry.CLOUDS, registry.CLASSES),
}
