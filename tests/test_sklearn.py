"""scikit-learn's own contract for every estimator, and its tools around them."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import registry
from devices import SEARCH
from gaelib import KMeans, Memory, data
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

ROOT = Path(__file__).parents[1]
EXCEPTIONS = registry.gather("EXCEPTIONS")


@parametrize_with_checks(
    registry.gather("ESTIMATORS"),
    expected_failed_checks=lambda estimator: EXCEPTIONS.get(type(estimator).__name__, {}),
    xfail_strict=True,
)
def test_estimator_contract(estimator, check, monkeypatch):
    monkeypatch.setattr("gaelib.models.generators.SEARCH", SEARCH)  # what is asked here, few steps answer as well
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


def test_the_picture_of_an_estimator_links_to_its_entry_on_the_api_page():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = (ROOT / "book/api.md").read_text(encoding="utf-8")
    for estimator in registry.gather("ESTIMATORS"):
        page, anchor = estimator._get_doc_link().split("#")
        assert page == project["urls"]["Documentation"] + "api.html" and f"\n({anchor})=\n" in entries
        assert f'href="{page}#{anchor}"' in estimator._repr_html_()

    class Mine(KMeans):
        pass

    Mine.__module__ = "mine"
    assert Mine()._get_doc_link() == ""  # of what others derive, the book says nothing
