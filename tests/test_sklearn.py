"""scikit-learn's own contract for every estimator, and its tools around them."""

import numpy as np
import pytest
import registry
from gaelib import KMeans, Memory, data
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

EXCEPTIONS = registry.gather("EXCEPTIONS")


@parametrize_with_checks(
    registry.gather("ESTIMATORS"),
    expected_failed_checks=lambda estimator: EXCEPTIONS.get(type(estimator).__name__, {}),
    xfail_strict=True,
)
def test_estimator_contract(estimator, check):
    check(estimator)


def test_memory_in_a_pipeline_under_another_name():
    X = data.digits()[0][:50]
    assert (Pipeline([("scale", StandardScaler()), ("recall", Memory())]).fit(X).predict(X) == np.arange(50)).all()


def test_in_a_pipeline_and_a_grid_search():
    X = data.digits()[0][:300]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), KMeans(random_state=0)), {"kmeans__n_clusters": [2, 20]}, cv=2
    )
    assert search.fit(X).best_params_ == {"kmeans__n_clusters": 20}


def test_named_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(data.digits()[0][:50]).add_prefix("pixel")
    codes = KMeans(2, random_state=0).set_output(transform="pandas").fit_transform(frame)
    assert list(codes.columns) == ["kmeans0", "kmeans1"] and set(np.unique(codes)) == {0.0, 1.0}
