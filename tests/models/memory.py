"""Memory against scikit-learn's nearest neighbour and its own promises."""

import pickle
from math import log, pi

import numpy as np
import pytest
import registry
import torch
from gaelib import KMeans, Memory, data
from gaelib.solvers import nearest as search
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors


@pytest.fixture(scope="module")
def digits():
    """Stored images (1200, 64), queries (597, 64), and their labels."""
    X, y = data.digits()
    order = np.random.default_rng(0).permutation(len(X))
    stored, new = order[:1200], order[1200:]
    return X[stored], X[new], y[stored], y[new]


def squared(new, X, rows):
    return ((new - X[rows]) ** 2).sum(1)


def test_equals_scikit_learn(digits, parity):
    X, new, *_ = digits
    distance, rows = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(X).kneighbors(new)
    found = Memory().fit(X).predict(new)
    apart = np.abs(squared(new, X, found) - squared(new, X, rows[:, 0])).max()  # whole numbers: no rounding
    parity(Memory, NearestNeighbors, "squared distance to the digit found, largest difference", apart, 0)
    alone = distance[:, 0] < distance[:, 1]
    assert alone.mean() > 0.9
    assert np.array_equal(found[alone], rows[alone, 0])


def test_labels_read_by_the_code_are_those_of_one_nearest_neighbour(digits):
    X, new, y, _ = digits
    ours = y[Memory().fit(X).predict(new)]
    assert np.array_equal(ours, KNeighborsClassifier(1).fit(X, y).predict(new))


def test_of_copies_the_first_is_found(digits):
    X, new, *_ = digits
    assert np.array_equal(Memory().fit(np.concatenate([X, X])).predict(new), Memory().fit(X).predict(new))


@pytest.mark.parametrize("entries", [1, 1200, 5000, 2**30])
def test_chunks_do_not_change_the_answer(digits, monkeypatch, entries):
    X, new, *_ = digits
    memory = Memory().fit(X)
    whole, sizes = memory.predict(new), []
    split = torch.Tensor.split

    def spy(x, rows, *rest):
        sizes.append(rows)
        return split(x, rows, *rest)

    monkeypatch.setattr(search, "ENTRIES", entries)
    monkeypatch.setattr(torch.Tensor, "split", spy)
    assert np.array_equal(memory.predict(new), whole)
    assert sizes[0] == max(1, min(entries // 1200, search.ROWS))  # inside a chunk the solver splits on its own


def test_training_data_come_back_without_error(digits):
    X = digits[0]
    memory = Memory().fit(X)
    assert np.array_equal(memory.inverse_transform(memory.transform(X)), X)
    constants = -log(len(X)) - 0.5 * X.shape[1] * log(pi)
    assert abs(memory.score(X) - constants) < 1e-9
    assert abs(memory.history_[-1] - constants) < 1e-9


def test_is_the_end_of_k_means(digits):
    X = digits[0][:200]
    assert len(np.unique(X, axis=0)) == len(X)
    km, memory = KMeans(len(X), random_state=0).fit(X), Memory().fit(X)
    new = digits[1]
    assert np.array_equal(*(squared(new, m.inverse_transform(m.transform(new)), slice(None)) for m in (km, memory)))


def test_float32_far_from_the_origin():
    X = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    near = Memory().fit(X + 1000)
    assert near.predict(X + 1000).tolist() == list(range(300))


def test_batches_equal_the_whole(digits):
    X, new, *_ = digits
    parts = [X[i : i + 100] for i in range(0, len(X), 100)]
    assert np.array_equal(Memory().fit(parts).predict(new), Memory().fit(X).predict(new))


def test_the_stored_rows_are_a_copy(digits):
    X, new, *_ = digits
    mine = X.copy()
    memory = Memory().fit(mine)
    before = memory.predict(new)
    mine[:] = 0
    assert np.array_equal(memory.predict(new), before)


def test_pickle(digits):
    X, new, *_ = digits
    memory = Memory().fit(X)
    assert np.array_equal(pickle.loads(pickle.dumps(memory)).predict(new), memory.predict(new))


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [Memory()]
EXCEPTIONS = {
    "Memory": {
        "check_pipeline_consistency": "make_pipeline would name the step 'memory', which is an argument of Pipeline; "
        "Pipeline([('recall', Memory())]) works, and is tested in tests/test_sklearn.py"
    }
}
BAD = {
    "nothing to keep": (lambda: Memory().fit(np.ones((0, 4))), ValueError, "0 sample(s)", "minimum of 1", "pass at least one row"),
    "recall of another width": (lambda: Memory().fit(np.eye(3)).predict(np.eye(2)), ValueError, "2 features", "3 features", "pass the columns"),
}  # fmt: skip
DEVICES = {"Memory": (Memory(), registry.CLOUDS)}
