"""The table of the family, at tiny sizes: what its measures say where the answer is known, what is kept, what is stored."""

import json
import os
import time

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


def test_cells_are_kept_one_by_one_and_run_again_where_their_version_or_processor_changed(tmp_path, monkeypatch):
    path = tmp_path / "kept.jsonl"
    monkeypatch.setattr(family, "version", lambda table, kind: kind)
    cells = [("breast cancer", kind, 3, 0, 0.02) for kind in ("PCA", "KMeans", "MPPCA", "VAE", "Isomap")]
    jobs = [("cells", *cell) for cell in cells] + [("again", *cells[0])]
    done = family.run(jobs, path, count=2)
    assert set(done) == set(jobs) and [row["d"] for row in done[jobs[4]]] == [1, 3]
    rows = {row["model"]: row for row in family.table(done)}
    assert 0.8 < rows["PCA"]["accuracy"][0] <= 1 and rows["KMeans"]["bits"][0] <= 2
    assert rows["MPPCA"]["nats"] and 0 <= rows["VAE"]["precision"][0] <= 1 and "error" not in rows["Isomap"]
    assert rows["PCA"]["seeds"] == [0]  # a second run is not a second seed
    assert {row["fit"][0] >= 0 for row in rows.values()} == {True} and rows["VAE"]["memory"][0] >= 0
    family.run(jobs, path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 6
    monkeypatch.setattr(family, "version", lambda table, kind: "new" if kind == "VAE" else kind)
    assert set(family.kept(path)[0]) == set(jobs) - {jobs[3]}
    assert set(family.kept(path, stale=True)[0]) == set(jobs)
    with path.open("a") as file:  # another machine's clock is another clock
        old = next(line for line in lines if tuple(line["job"]) == jobs[1])
        abacus = old | {"machine": old["machine"] | {"processor": "abacus"}}
        second = abacus | {"job": [*jobs[1][:4], 1, 0.02], "rows": [old["rows"][0] | {"seed": 1}]}
        for line in (abacus, second, second | {"job": ["again", *second["job"][1:]]}):
            file.write(json.dumps(line) + "\n")
    found, where = family.kept(path)
    assert "processor" not in found[jobs[1]][0] and where["processor"] != "abacus"
    assert found[tuple(second["job"])][0]["processor"] == "abacus"
    assert set(family.kept(path, processor="abacus")[0]) == {
        jobs[1],
        tuple(second["job"]),
        ("again", *second["job"][1:]),
    }
    rows = {row["model"]: row for row in family.table(found)}
    assert rows["KMeans"]["processor"] == "two" and "processor" not in rows["PCA"]
    assert {row["seed"] for row in family.again(found)} == {1}  # one seed alone has no spread


def test_a_cell_that_fails_dies_or_is_late_leaves_no_rows_and_stops_no_other(monkeypatch, capfd):
    def asked(what):
        {"die": lambda: os._exit(1), "fail": lambda: 1 / 0, "late": lambda: time.sleep(60)}.get(what, int)()
        return [{"value": 1 / 3}]

    monkeypatch.setattr(family, "asked", asked)
    begun = time.monotonic()
    found = dict(family.beside([("die",), ("fail",), ("late",), ("well",)], 2, end=1))
    assert found == {("die",): None, ("fail",): None, ("late",): None, ("well",): [{"value": 0.3333}]}
    assert time.monotonic() - begun < 20 and "ZeroDivisionError" in capfd.readouterr().err
    assert not dict(family.beside([("well",)], 2, begin=0))


def test_a_dense_file_has_a_line_for_each_row():
    result = {"machine": {"cores": 2}, "repeats": 3, "cells": [{"d": 1, "fit": [1.0, 2.0]}, {"d": 3}], "none": []}
    text = harness.lines(result)
    assert json.loads(text) == result and '  {"d": 1, "fit": [1.0, 2.0]},\n  {"d": 3}\n' in text


def test_every_length_of_the_paper_is_asked_for_where_a_row_is_longer():
    wanted = {(name, kind, d) for name, kind, d, _, _ in family.cells()}
    assert {("MNIST", "VAE", d) for d in family.LENGTHS} <= wanted
    assert ("breast cancer", "PCA", 39) not in wanted and ("digits", "Memory", 0) in wanted
    assert all(d == 2 for name, kind, d in wanted if kind == "TSNE")
    jobs = list(family.jobs())
    assert len(set(jobs)) == len(jobs)
    assert {job[1:4] for job in jobs if job[0] == "paper"} == {
        (name, kind, d) for name in family.SETS for kind in ("PCA", "autoencoder", "VAE") for d in family.LENGTHS
    }
    first, second = ({job[1:] for job in jobs if job[0] == table} for table in ("cells", "again"))
    assert second < first and len(second) == pytest.approx(len(first) / 10, abs=1)


def test_a_clock_that_ticks_too_slowly_is_not_trusted(monkeypatch):
    assert family.tick() > 0
    readings = iter([0.0, 0.0, 0.01])
    monkeypatch.setattr(family.time, "process_time", lambda: next(readings))
    assert family.tick() == 0.01


def test_a_stored_figure_says_what_held_the_blas(monkeypatch):
    for name in harness.machine()["held by"]:
        monkeypatch.delenv(name)
    assert harness.machine()["held by"] == []
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert harness.machine()["held by"] == ["OPENBLAS_CORETYPE"]


def test_a_race_waits_before_every_start(monkeypatch):
    """Until the threads of whoever ran last wait for more work no longer; who is quick wakes its own before it runs."""
    seen, clock = [], [0.0]

    def contestant(name, takes):
        def run():
            seen.append(name)
            clock[0] += takes

        return run

    monkeypatch.setattr(harness.time, "sleep", lambda seconds: seen.append("-" if seconds == harness.PAUSE else "?"))
    monkeypatch.setattr(harness.time, "perf_counter", lambda: clock[0])
    found = harness.race({"q": contestant("q", harness.PAUSE / 2), "s": contestant("s", 2.0)}, 2)
    starts = "".join(seen).split("-")[1:]
    assert sorted(starts[:2]) == ["q", "s"] and sorted(starts[2:]) == ["qq", "qq", "s", "s"]
    assert found["q"]["seconds"] == harness.PAUSE / 2 and found["s"]["seconds"] == 2.0
