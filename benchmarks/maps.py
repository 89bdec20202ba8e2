"""t-SNE and locally linear embedding beside scikit-learn and openTSNE: seconds on one thread, and how good the maps are.

A map is judged by the exact KL(P||Q) over all pairs with one P for all, trustworthiness (12 neighbours, the first 2000
rows) and five nearest neighbours in the map.  ``full`` races on 10,000 pictures and maps all 70,000 of MNIST; its
parts can run side by side, each is stored when it ends, and what is stored is not run again:

    taskset -c 0 python -c "from benchmarks.maps import full; full('MNIST')"

Rivals that are not installed (scikit-learn and openTSNE come as wheels, with ``pip install generative-autoencoders[bench]``)
are left out.
"""

import base64
import importlib.util
import json
import os
import time
import warnings
from statistics import median

import numpy as np
import torch
from gaelib import TSNE, LocallyLinearEmbedding, data
from gaelib.models.tsne import Affinities, log_volume
from gaelib.solvers.field import every_pair
from sklearn import manifold
from sklearn.datasets import make_swiss_roll
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from .harness import PACKAGE, limited, machine, race, round_to, source_hash

PERPLEXITY = 30.0
SETS = {"MNIST": data.mnist, "Fashion-MNIST": data.fashion_mnist}
STORED = PACKAGE / "results" / "maps_large.json"
SHOWN = 20000  # of the 70,000 places are kept, for the picture
ROUNDS, PATIENCE = 3, 200  # of a race of ten thousand; seconds after which no further round begins


def pictures(name, n=10000):
    """The first n test images and their labels; beyond 10,000 the training images first."""
    X, y = SETS[name](train=False)
    if n > 10000:
        more = SETS[name]()
        X, y = np.concatenate([more[0], X]), np.concatenate([more[1], y])
    return np.asarray(X[:n].reshape(n, -1), np.float32) / 255, y[:n]


def contestants(X):
    """Who maps X: name -> (() -> map)."""
    found = {
        "gaelib": lambda: TSNE(perplexity=PERPLEXITY, random_state=0, device="cpu").fit_transform(X),
        "scikit-learn": lambda: manifold.TSNE(perplexity=PERPLEXITY, random_state=0, n_jobs=1).fit_transform(X),
    }
    if importlib.util.find_spec("openTSNE"):
        from openTSNE import TSNE as Open

        options = {"neighbors": "exact", "negative_gradient_method": "fft", "n_jobs": 1, "random_state": 0}
        found["openTSNE"] = lambda: np.asarray(Open(perplexity=PERPLEXITY, **options).fit(X))
    return found


def judge(X, y, maps):
    """name -> KL in nats, trustworthiness, accuracy of five neighbours, width."""
    P, scores = Affinities(torch.tensor(X), PERPLEXITY, int(3 * PERPLEXITY + 1), torch.float64), {}
    for name, Y in maps.items():
        place = torch.tensor(np.asarray(Y, float))
        scores[name] = {
            "KL": round_to(P.spread(place) + float(log_volume(every_pair(place))) - P.entropy, 5),
            "trustworthiness": round_to(manifold.trustworthiness(X[:2000], Y[:2000], n_neighbors=12), 4),
            "5-NN": round_to(cross_val_score(KNeighborsClassifier(5), Y, y, cv=5).mean(), 4),
            "width": round_to(float(np.ptp(Y, axis=0).max())),
        }
    return scores


def contest(name, X, y, rounds, patience=np.inf):
    """One row: every contestant's median seconds, its ratio to the first and the quality of its map."""
    who, seconds, maps, begun = contestants(X), {}, {}, time.perf_counter()
    for number in range(rounds):
        if number and time.perf_counter() - begun > patience:
            break
        for rival, run in who.items():
            start = time.perf_counter()
            maps[rival] = run()
            seconds.setdefault(rival, []).append(time.perf_counter() - start)
    ours, scores = seconds["gaelib"], judge(X, y, maps)
    row = {"data": name, "n": len(X), "D": X.shape[1], "perplexity": PERPLEXITY, "rounds": len(ours)}
    for rival, taken in seconds.items():
        ratio = median(a / b for a, b in zip(ours, taken))
        row[rival] = {"seconds": round_to(median(taken)), "ratio": round_to(ratio), **scores[rival]}
    return row


def large(threads=1, device="cpu", n=70000):
    """All of MNIST, by gaelib alone; the places of some, as 16-bit numbers in base64, with their labels."""
    X, y = pictures("MNIST", n)
    with limited(threads):
        begun = time.perf_counter()
        model = TSNE(perplexity=PERPLEXITY, random_state=0, device=device).fit(X)
        seconds = time.perf_counter() - begun
    Y = model.embedding_
    near = cross_val_score(KNeighborsClassifier(5), Y[:10000], y[:10000], cv=5).mean()
    some = np.random.default_rng(0).permutation(n)[:SHOWN]
    places = ((Y[some] - Y.min(0)) / np.ptp(Y, axis=0).max() * 65535).astype("<u2")
    where = torch.cuda.get_device_name() if device == "cuda" else f"{threads} threads" if threads > 1 else "1 thread"
    row = {"data": "MNIST", "n": n, "on": where, "seconds": round_to(seconds), "KL": round_to(model.kl_divergence_, 5)}
    row |= {"5-NN of 10000": round_to(near, 4), "width": round_to(float(np.ptp(Y, axis=0).max()))}
    codes = {
        key: base64.b64encode(part.tobytes()).decode()
        for key, part in (("places", places), ("labels", y[some].astype("u1")))
    }
    return row, codes


PARTS = {
    "MNIST": lambda: contest("MNIST", *pictures("MNIST"), ROUNDS, PATIENCE),
    "Fashion-MNIST": lambda: contest("Fashion-MNIST", *pictures("Fashion-MNIST"), ROUNDS, PATIENCE),
    "1 thread": lambda: large(1),
    "2 threads": lambda: large(2),
    "card": lambda: large(device="cuda"),
}


def full(*names, parts=PARTS, path=STORED):
    """The parts of these names, or all: each is stored at its end in a file of its own, and all that are there in one."""
    for name in names or parts:
        own = path.with_name(f"{path.stem}-{name}.part")
        if own.exists() or (name == "card" and not torch.cuda.is_available()):
            continue
        with limited(2 if name == "2 threads" else 1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = {"machine": machine(), "source": source_hash(), "found": parts[name]()}
        own.write_text(json.dumps(found))
        gather(parts, path)


def gather(parts, path):
    """One file of all parts that have ended."""
    result = {"race": [], "large": []}
    for name in parts:
        own = path.with_name(f"{path.stem}-{name}.part")
        if not own.exists():
            continue
        part = json.loads(own.read_text())
        result.setdefault("machine", part["machine"] | {"threads": 1})
        result.setdefault("source", part["source"])
        if isinstance(part["found"], dict):
            result["race"].append(part["found"])
        else:
            row, codes = part["found"]
            result["large"].append(row)
            result.setdefault("picture", codes)
    spare = path.with_name(f"{path.name}.{os.getpid()}")  # processes side by side: the last one has all
    spare.write_text(json.dumps(result, indent=1) + "\n")
    spare.replace(path)


def turned(found, wanted):
    """The largest difference after the best rotation."""
    left, _, right = np.linalg.svd(found.T @ wanted)
    return float(np.abs(found @ (left @ right) - wanted).max())


def embed(name, X, repeats):
    """Locally linear embedding: seconds, ratio, and how far the two maps are apart after a rotation."""
    options = {"n_neighbors": 12, "n_components": 2}
    rival = manifold.LocallyLinearEmbedding(**options, random_state=0, eigen_solver="arpack", max_iter=500, n_jobs=1)
    ours = LocallyLinearEmbedding(**options, device="cpu")
    who = {"gaelib": lambda: ours.fit_transform(X), "scikit-learn": lambda: rival.fit_transform(X)}
    apart = turned(ours.fit_transform(X), rival.fit_transform(X))
    return {"data": name, "n": len(X), "neighbours": 12, "apart": round_to(apart), **race(who, repeats)}


def measure(repeats):
    """The digits, and locally linear embedding; one thread."""
    pixels, labels = data.digits()
    with limited(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "race": [contest("digits", pixels, labels, min(repeats, 3))],
            "lle": [
                embed("swiss roll", make_swiss_roll(1500, random_state=0)[0], repeats),
                embed("MNIST", pictures("MNIST")[0][:4000].astype(float), repeats),
            ],
        }
