"""The long runs of the maps, at tiny sizes: what is stored, and what is not run again."""

import json

import numpy as np
import pytest

from benchmarks import maps


@pytest.mark.data
def test_parts_are_stored_one_by_one_and_not_run_again(real_data, tmp_path):
    X, y = maps.pictures("MNIST", 150)
    path, runs = tmp_path / "maps_large.json", []

    def raced():
        runs.append("race")
        return maps.contest("MNIST", X, y, 2, 0.0)

    parts = {"MNIST": raced, "1 thread": lambda: maps.large(n=200), "card": None}
    maps.full("MNIST", parts=parts, path=path)
    assert json.loads(path.read_text())["large"] == []
    maps.full(parts=parts, path=path)
    stored = json.loads(path.read_text())
    assert runs == ["race"] and len(stored["large"]) == 1 and stored["race"][0]["rounds"] == 1
    for name in ("gaelib", "scikit-learn"):
        scores = stored["race"][0][name]
        assert 0 < scores["KL"] < 2 and 0.5 < scores["trustworthiness"] < 1 and scores["seconds"] > 0
    assert stored["race"][0]["gaelib"]["ratio"] == 1 and len(stored["picture"]["labels"]) == 4 * np.ceil(200 / 3)
