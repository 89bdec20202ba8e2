"""Tables in files: batches of parquet are the table, in memory that does not grow with it."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from gaelib import LGAE, LLGAE, MPPCA, PPCA, KMeans, LinearRegression, LogisticRegression, compare, data
from gaelib.plot.models import first
from pyarrow import parquet as pq
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

X = np.random.default_rng(0).normal(size=(1000, 5)) + 3


def written(path, rows, **columns):
    table = {f"c{i}": column for i, column in enumerate(rows.T)} | columns
    pq.write_table(pa.table(table), path, row_group_size=300)
    return path


@pytest.fixture
def folder(tmp_path):
    written(tmp_path / "a.parquet", X[:600])
    written(tmp_path / "b.parquet", X[600:])
    return tmp_path


def test_batches_are_the_table(folder):
    rows = data.parquet(folder, batch_rows=128)
    for _ in range(2):
        assert np.array_equal(np.concatenate(list(rows)), X) and max(map(len, rows)) <= 128
    assert np.array_equal(np.concatenate(list(data.parquet(folder, ["c3", "c0"]))), X[:, [3, 0]])
    files = data.parquet([folder / "b.parquet", str(folder / "a.parquet")])
    assert np.array_equal(np.concatenate(list(files)), np.concatenate([X[600:], X[:600]]))
    assert repr(rows) == "parquet(1,000 rows, 5 columns, batch_rows=128)"


def test_a_batch_is_read_through_a_function(folder):
    rows, scaler = data.parquet(folder, batch_rows=128), StandardScaler()
    for batch in rows:
        scaler.partial_fit(batch)
    scaled = rows.map(scaler.transform)
    assert np.allclose(np.concatenate(list(scaled)), StandardScaler().fit_transform(X)) and scaled.readings == 1
    assert np.array_equal(np.concatenate(list(scaled.map(scaler.inverse_transform).map(np.sign))), np.sign(X))
    assert np.array_equal(np.concatenate(list(rows)), X) and rows.readings == 2


def loader(*tables, **options):
    tables = [torch.tensor(table) for table in tables]
    return DataLoader(tables[0] if len(tables) == 1 else TensorDataset(*tables), batch_size=128, **options)


def test_a_loader_of_tensors_is_the_table():
    model, whole = KMeans(4, random_state=0), KMeans(4, random_state=0).fit([X])
    inside = DataLoader(TensorDataset(torch.tensor(X)), batch_size=128)  # gives each batch in a list
    for batches in (loader(X), inside, DataLoader(X, batch_size=128)):
        assert np.allclose(model.fit(batches).cluster_centers_, whole.cluster_centers_, rtol=0, atol=1e-10)
        assert np.array_equal(model.labels_, whole.labels_) and np.isclose(model.score(batches), whole.score(X))
        assert compare(batches, [whole], verbose=0)[0]["error"] == pytest.approx(
            compare(X, [whole], verbose=0)[0]["error"]
        )
        assert np.array_equal(first(batches, 200), X[:200])


def test_a_loader_of_pairs_is_both_tables():
    y = X @ np.arange(10.0).reshape(5, 2) + np.random.default_rng(1).normal(size=(1000, 2))
    model, whole = LinearRegression().fit(loader(X, y)), LinearRegression().fit(X, y)
    assert np.allclose(model.coef_, whole.coef_, atol=1e-12) and model.score(loader(X, y)) == whole.score(X, y) < 1
    inside = DataLoader(TensorDataset(torch.tensor(X)), batch_size=128)
    assert model.score(inside, y) == whole.score(X, y)
    named = LogisticRegression().fit(loader(X, y[:, 0] > 30))
    assert np.allclose(named.coef_, LogisticRegression().fit(X, y[:, 0] > 30).coef_, atol=1e-4)
    assert 0.9 < named.score(loader(X, y[:, 0] > 30)) == named.score(X, y[:, 0] > 30)
    with pytest.raises(ValueError, match="requires y to be passed"):
        LinearRegression().fit(loader(X))
    with pytest.raises(ValueError, match=r"another place in every pass.*shuffle=False"):
        LinearRegression().fit(loader(X, y, shuffle=True))


READINGS = {  # of the data, in a fit of ten steps: ten, and what finds the start and the last codes
    "KMeans": (KMeans(4, max_iter=10, tol=0, random_state=0), 10, 13),
    "LLGAE": (LLGAE(3, 1, max_iter=10, tol=0, random_state=0), 10, 14),
    "MPPCA": (MPPCA(3, 1, max_iter=10, tol=0, random_state=0), 10, 15),
    "PPCA": (PPCA(2), 1, 3),
    "LGAE": (LGAE(2), 1, 2),
    "LGAE, in turn": (LGAE(2, solver="alternate", max_iter=10, tol=0, random_state=0), 10, 12),
}


class Batches(list):
    """Batches in memory that count how often they are read."""

    readings = 0

    def __iter__(self):
        self.readings += 1
        return super().__iter__()


@pytest.mark.filterwarnings("ignore:.*stopped after max_iter")
@pytest.mark.parametrize(("model", "steps", "readings"), READINGS.values(), ids=READINGS)
def test_a_fit_reads_the_data_a_stated_number_of_times(folder, model, steps, readings):
    rows = data.parquet(folder, batch_rows=250)
    batches, streamed = Batches(rows), model.fit(rows).history_
    assert (len(streamed), rows.readings - 1) == (steps, readings)
    assert np.allclose(streamed, type(model)(**model.get_params()).fit(batches).history_, rtol=1e-9)
    assert batches.readings == readings + 1  # one look at their shapes: a list might be one table


PEAK = """
import resource, sys
from gaelib import KMeans, data
for n in (1, 8):
    KMeans(3, max_iter=2, tol=1, random_state=0).fit(data.parquet(sys.argv[1:] * n, batch_rows=4096))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def test_memory_does_not_grow_with_the_files(tmp_path):
    part = written(tmp_path / "x.parquet", np.random.default_rng(0).normal(size=(60_000, 20)))
    said = subprocess.run([sys.executable, "-c", PEAK, part], capture_output=True, text=True, check=True).stdout
    one, eight = map(float, said.split())
    assert eight - one < 7 * 60_000 * 20 * 8 / 2**20 / 3  # MiB; a third of what the further rows take


def table(path):
    path.write_text("a,b\n1,2\n")
    return path


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda folder: data.parquet(folder / "no"), FileNotFoundError, ("1 of 1 paths", "pass files")),
        (lambda folder: data.parquet(folder.parent), FileNotFoundError, ("holds 0 files",)),
        (lambda folder: data.parquet(folder, ["c0", "weight"]), ValueError, ("'weight'", "5", "pass some of", "c4")),
        (
            lambda folder: data.parquet(written(folder / "t", X[:2], name=["a", "b"])),
            ValueError,
            ("'name'", "string", "pass columns=['c0', 'c1', 'c2', 'c3', 'c4']"),
        ),
        (lambda folder: data.parquet(folder, batch_rows=0), ValueError, ("batch_rows=0", "at least 1")),
        (lambda folder: data.parquet(folder, "c0"), ValueError, ("columns='c0'", "pass a list")),
        (lambda folder: data.parquet(folder, []), ValueError, ("columns=[]", "pass a list")),
        (lambda folder: data.parquet(table(folder / "t.csv")), ValueError, ("t.csv", "no whole parquet", "read_csv")),
        (lambda folder: KMeans(2).fit(str(folder)), TypeError, ("is the str", "names a file", "gaelib.data.parquet")),
        (
            lambda folder: KMeans(2).fit(data.parquet(written(folder / "h", X[:2], hole=[1.0, None]))),
            ValueError,
            ("NaN", "row 1", "column 5"),
        ),
    ],
    ids=["no file", "no files", "no column", "words", "no rows", "one name", "no names", "CSV", "a path", "a hole"],
)
def test_what_cannot_be_read(folder, ask, error, words):
    with pytest.raises(error) as caught:
        ask(folder)
    assert all(word in str(caught.value) for word in words), caught.value


def test_pyarrow_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"need pyarrow: pip install 'generative-autoencoders\[parquet\]'"):
        data.parquet("x")
