"""The table of the family, at tiny sizes: what its measures say where the answer is known, what is kept, what is stored."""

import json

import numpy as np
import pytest
from gaelib import LGAE

from benchmarks import family, harness


def test_bits_of_a_linear_code_are_those_of_its_variances():
    X = np.random.default_rng(0).normal(size=(4000, 3)) * [8, 4, 1]
    model = LGAE(2).fit(X)
    Z, one = model.transform(X), np.zeros(len(X), int)
    found = family.bits(lambda _, z: model.inverse_transform(z), one, Z, one, Z, X)
    s = (0.05 * 1 / 2) ** 0.5  # noise on two numbers that adds a twentieth to an error of 1
    assert found == pytest.approx(np.log2(np.hypot(8, s) * np.hypot(4, s) / s**2), abs=0.2)
    names = np.repeat([0, 1, 2, 3], 5)
    assert family.bits(None, names, np.empty((20, 0)), names, np.empty((20, 0)), None) == 2


def test_a_name_and_a_place_are_read_from_a_block_and_put_back():
    k, u = np.array([2, 9, 0]), np.arange(6.0).reshape(3, 2)
    codes = family.whole(k, u)
    assert codes.shape == (3, 30) and (codes != 0).sum() == 8
    soft = 0.75 * codes
    soft[:, :] += 0.25 * family.whole((k + 1) % 10, -u)
    for found in (family.places(codes), family.places(soft)):
        np.testing.assert_allclose(found[0], k)
        np.testing.assert_allclose(found[1], u)


def test_cells_are_kept_one_by_one_and_run_again_where_their_version_changed(tmp_path, monkeypatch):
    path = tmp_path / "kept.jsonl"
    monkeypatch.setattr(family, "version", {name: name for name in family.MODELS}.get)
    jobs = [("breast cancer", kind, 3, 0, 0.02) for kind in ("PCA", "KMeans", "MPPCA", "VAE", "Isomap")]
    done = family.run(jobs, path)
    assert list(done) == jobs and [row["d"] for row in done[jobs[-1]]] == [1, 3]
    rows = {row["model"]: row for row in family.table(done)}
    assert 0.8 < rows["PCA"]["accuracy"][0] <= 1 and rows["KMeans"]["bits"][0] <= 2
    assert rows["MPPCA"]["nats"] and 0 <= rows["VAE"]["precision"][0] <= 1 and "error" not in rows["Isomap"]
    family.run(jobs, path)
    assert len(path.read_text().splitlines()) == 5
    monkeypatch.setattr(family, "version", {name: name for name in family.MODELS if name != "VAE"}.get)
    assert set(family.kept(path)) == set(jobs) - {jobs[3]}


def test_a_dense_file_has_a_line_for_each_row():
    result = {"machine": {"cores": 2}, "repeats": 3, "cells": [{"d": 1, "fit": [1.0, 2.0]}, {"d": 3}], "none": []}
    text = harness.lines(result)
    assert json.loads(text) == result and '  {"d": 1, "fit": [1.0, 2.0]},\n  {"d": 3}\n' in text


def test_every_length_of_the_paper_is_asked_for_where_a_row_is_longer():
    wanted = {(name, kind, d) for name, kind, d, _, _ in family.cells()}
    assert {("MNIST", "VAE", d) for d in family.LENGTHS} <= wanted
    assert ("breast cancer", "PCA", 39) not in wanted and ("digits", "Memory", 0) in wanted
    assert all(d == 2 for name, kind, d in wanted if kind == "TSNE")
