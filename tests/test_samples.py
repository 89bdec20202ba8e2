"""The judge of samples: what it says of real rows, copies, one class and noise is known."""

import numpy as np
import pytest
from gaelib import data

from benchmarks.samples import classifier, judge, nearest, precision_and_coverage


@pytest.fixture(scope="module")
def digits():
    X, y = data.digits()
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order] / 16, y[order]
    return X[:900], y[:900], X[900:1350], X[1350:], y[1350:]


@pytest.fixture(scope="module")
def classify(digits):
    return classifier(digits[0], digits[1])


def test_the_classifier_knows_new_digits(digits, classify):
    assert (classify(digits[3]) == digits[4]).mean() > 0.95


def test_copies_are_at_no_distance_and_new_rows_are_not(digits, classify):
    train, labels, test, new, _ = digits
    copies, fresh = (judge(rows, train, labels, test, classify) for rows in (train[: len(new)], new))
    assert copies["to_train"] < 1e-6 < 0.5 < fresh["to_train"]
    assert copies["covered"] == fresh["covered"] == 10 and copies["least"] > 0.7
    assert abs(copies["from_test"] / fresh["from_test"] - 1) < 0.05


def test_one_class_noise_and_blur_are_told_apart(digits, classify):
    train, labels, test, new, _ = digits
    fresh, one = (judge(rows, train, labels, test, classify) for rows in (new, train[labels == 3]))
    noise = judge(np.random.default_rng(0).random(new.shape), train, labels, test, classify)
    mean = judge(np.repeat(train.mean(0)[None], len(new), 0), train, labels, test, classify)
    assert one["covered"] <= 3 and one["least"] == 0
    assert one["from_test"] > 1.2 * fresh["from_test"]
    assert noise["to_test"] > 2 * fresh["to_test"] and noise["covered"] < 10
    assert mean["covered"] == 1 and mean["from_test"] > 1.2 * fresh["from_test"]


def test_the_judge_does_not_see_units_or_order(digits):
    train, labels, test, new, _ = digits
    here, there = (judge(s * new[::step], s * train, labels, s * test) for s, step in ((1.0, 1), (255.0, -1)))
    assert here["covered"] == there["covered"] and here["least"] == pytest.approx(there["least"], abs=0.02)
    assert there["from_test"] == pytest.approx(255 * here["from_test"], rel=1e-2)


def test_nearest_is_the_least_distance(digits):
    a, b = digits[0][:20], digits[2][:30]
    by_hand = np.sqrt(((a[:, None] - b) ** 2).sum(2)).min(1)
    assert np.allclose(nearest(a, b), by_hand, atol=1e-7)


def test_a_row_without_a_label_is_refused(digits):
    with pytest.raises(ValueError, match="900 rows have 899 labels: pass one label a row"):
        classifier(digits[0], digits[1][1:])


def test_precision_and_coverage_fall_for_what_is_elsewhere_and_for_what_is_left_out():
    draw = np.random.default_rng(0)
    real = np.concatenate([draw.normal(size=(100, 2)), draw.normal(size=(100, 2)) + 20])
    half, far = real[:100] + 1e-6, real + 200
    assert precision_and_coverage(real, real) == (1, 1)
    assert precision_and_coverage(half, real) == (1, 0.5)
    assert precision_and_coverage(far, real) == (0, 0)
    with pytest.raises(ValueError, match="more than 5 real rows, got 4"):
        precision_and_coverage(real, real[:4])
