"""The nearest of many stored rows: exact search by gaelib, scikit-learn and faiss, and an index of faiss.

An index answers fast because it looks at a part of the rows only: of its lists, the ``nprobe`` whose centres
are nearest to the query.  Recall is the share of the queries whose answer is as near as the nearest row.
"""

import time

import faiss
import numpy as np
from gaelib import Memory, data
from sklearn.neighbors import NearestNeighbors

from .harness import race, round_to

LISTS = 256  # about the square root of the rows, as is usual
PROBES = (1, 4, 16, 64)


def exact(X, queries, part=50):
    """Squared distances (queries, rows), part by part, in float64: exact, for pixels are whole numbers."""
    rows = X.astype(np.float64)
    squares = (rows**2).sum(1)
    for start in range(0, len(queries), part):
        q = queries[start : start + part].astype(np.float64)
        yield start, squares - 2 * q @ rows.T + (q**2).sum(1)[:, None]


def row(X, queries, repeats):
    """Seconds and ratios for the search, recall, and the seconds that building the index took."""
    memory = Memory(device="cpu").fit(X)
    brute = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(X)
    flat, coarse = faiss.IndexFlatL2(X.shape[1]), faiss.IndexFlatL2(X.shape[1])
    flat.add(X)
    start = time.perf_counter()
    index = faiss.IndexIVFFlat(coarse, X.shape[1], LISTS)
    index.train(X)
    index.add(X)
    built = time.perf_counter() - start

    def probe(lists):
        index.nprobe = lists
        return index.search(queries, 1)[1][:, 0]

    contestants = {
        "gaelib, exact": lambda: memory.predict(queries),
        "scikit-learn, exact": lambda: brute.kneighbors(queries, return_distance=False)[:, 0],
        "faiss, exact": lambda: flat.search(queries, 1)[1][:, 0],
    } | {f"faiss, {n} of {LISTS} lists": lambda n=n: probe(n) for n in PROBES}
    found = {name: run() for name, run in contestants.items()}
    recall, excess = dict.fromkeys(found, 0), dict.fromkeys(found, 0)
    for start, squares in exact(X, queries):
        best = squares.min(1)
        for name, answer in found.items():
            reached = np.take_along_axis(squares, answer[start : start + len(best), None], 1)[:, 0]
            recall[name] += (reached == best).sum() / len(queries)
            excess[name] = max(excess[name], (reached / np.maximum(best, 1) - 1).max())
    for name in list(found)[:3]:  # float32 may take the second of two that are as good as equal
        assert excess[name] <= 1e-5, f"{name} is not exact: too far by the factor 1 + {excess[name]:.2g}"
    timed = race(contestants, repeats)
    results = {name: {**timed[name], "recall": round_to(recall[name], 4)} for name in timed}
    setting = {"data": "Fashion-MNIST", "stored": len(X), "queries": len(queries), "D": X.shape[1]}
    return {**setting, "lists": LISTS, "build_seconds": round_to(built), **results}


def measure(repeats):
    """All training images stored, in float32; queries from the test images."""
    return {"rows": [row(data.fashion_mnist()[0], data.fashion_mnist(train=False)[0][:1000], repeats)]}
