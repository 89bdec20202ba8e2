"""NMF and dictionaries against scikit-learn's: CPU seconds of one thread to its final error, and pictures of parts.

Both start for themselves, the start included.  scikit-learn runs once for each table and size; ours from several
seeds, each as many passes as it needs to get there, which is looked up beforehand.
"""

import base64
import math
import time
import warnings
from statistics import median

import numpy as np
import torch
from gaelib import LGAE, NMF, SparseCoding, data
from gaelib.joints.parts import Parts
from sklearn.decomposition import NMF as ReferenceNMF
from sklearn.decomposition import MiniBatchDictionaryLearning

from .harness import limited, round_to

TABLES = {"MNIST": (20, 50, 100), "Fashion-MNIST": (20, 50, 100), "digits": (10, 20, 40)}
SEEDS, PASSES, ATOMS, ALPHA, SHOWN = 5, 120, 64, 0.1, 25  # how many passes it takes differs a lot from seed to seed


def load(name):
    """Rows with ink from 0 to 1: 10,000 of 784 pixels, or 1797 of 64."""
    rows = {"MNIST": data.mnist, "Fashion-MNIST": data.fashion_mnist}.get(name)
    X = np.asarray(rows(train=False)[0] if rows else data.digits()[0], np.float32)
    return X.reshape(len(X), -1) / X.max()


def timed(fit):
    """What ``fit()`` gives, and its CPU seconds."""
    begun = time.process_time()
    return fit(), time.process_time() - begun


def squared_error(X, codes, parts):
    """|X - codes parts|^2, added in float64."""
    return float(np.square(X - codes @ parts, dtype=np.float64).sum())


class Reached(Exception):
    """A pass found what was looked for."""


def passes_to(model, X, target):
    """How many passes the model needs to a squared error, or None."""

    def on_step(now):
        if -len(X) * (now.history_[-1] + X.shape[1] / 2 * math.log(math.pi)) <= target:
            raise Reached(now.n_iter_)

    try:
        model.fit(X, on_step=on_step)
    except Reached as found:
        return found.args[0]


def nmf():
    """A row for each table and size: scikit-learn's seconds and error, ours to that error, the median of the seeds."""
    table = []
    for name, sizes in TABLES.items():
        X = load(name)
        for K in sizes:
            reference = ReferenceNMF(K, init="nndsvda", random_state=0)
            codes, theirs = timed(lambda: reference.fit_transform(X))
            target, ours, passes = squared_error(X, codes, reference.components_), [], []
            for seed in range(SEEDS):
                options = {"tol": 0, "random_state": seed}
                needed = passes_to(NMF(K, max_iter=PASSES, **options), X, target)
                if needed is None:
                    continue  # a worse optimum: counted as not reached
                passes.append(needed)
                model, seconds = timed(lambda: NMF(K, max_iter=passes[-1], **options).fit(X))
                assert squared_error(X, model.transform(X), model.components_) <= target
                ours.append(seconds)
            row = {
                "data": name,
                "rows": len(X),
                "K": K,
                "error": round_to(target, 6),
                "reached": f"{len(ours)} of {SEEDS}",
            }
            row |= {"scikit-learn seconds": round_to(theirs), "seconds": round_to(median(ours or [math.inf]))}
            row |= {"passes": median(passes or [math.inf]), "passes of each seed": passes}
            table.append(row | {"ratio": round_to(median(ours or [math.inf]) / theirs)})
    return table


def dictionary():
    """The same for dictionaries of digits, by the objective at exact codes, for two lengths of the mini-batch run."""
    X = load("digits").astype(np.float64)
    X, table = X - X.mean(0), []
    x = torch.from_numpy(X)

    def value(parts):
        joint = Parts(torch.from_numpy(parts), 2 * ALPHA, "signed", "ball")
        return float(-joint._value(x, joint.argmax(x)).mean() / 2)

    for epochs in (3, 10):
        reference = MiniBatchDictionaryLearning(
            ATOMS, alpha=ALPHA, fit_algorithm="cd", max_iter=epochs, batch_size=256, random_state=0
        )
        _, theirs = timed(lambda: reference.fit(X))
        target = value(reference.components_)
        ours = []
        for seed in range(SEEDS):
            options = {"alpha": ALPHA, "tol": 0, "random_state": seed}
            fits = (SparseCoding(ATOMS, max_iter=n, **options).fit(X).components_ for n in range(4, 400, 2))
            passes = next(n for n, parts in zip(range(4, 400, 2), fits) if value(parts) <= target)
            ours.append(timed(lambda: SparseCoding(ATOMS, max_iter=passes, **options).fit(X))[1])
        row = {"data": "digits", "K": ATOMS, "alpha": ALPHA, "epochs": epochs, "objective": round_to(target, 5)}
        row |= {
            "MiniBatchDictionaryLearning seconds": round_to(theirs),
            "seconds": round_to(median(ours)),
            "passes": passes,
        }
        table.append(row | {"ratio": round_to(median(ours) / theirs)})
    return table


def coded(pictures):
    return base64.b64encode(np.ascontiguousarray(pictures, np.uint8).tobytes()).decode()


def pictures():
    """25 parts of MNIST and 25 eigen-pictures, what each leaves of new images, and one image as a sum of parts."""
    X, new = load("MNIST"), np.asarray(data.mnist()[0][:2000], np.float32).reshape(2000, -1) / 255
    parts, axes = NMF(SHOWN, random_state=0, max_iter=PASSES).fit(X), LGAE(SHOWN).fit(X)
    W, V, codes = parts.components_, axes.components_, parts.transform(new)
    order = np.argsort(-(codes * np.linalg.norm(W, axis=1)).sum(0))
    W, codes = W[order], codes[:, order]
    scaled = W / W.max(1, keepdims=True)
    image = 7
    used = np.argsort(-codes[image] * np.linalg.norm(W, axis=1))[:5]
    pieces = codes[image, used, None] * W[used]
    table = [
        {"name": "parts", "pictures": coded(255 * scaled)},
        {"name": "eigen-pictures", "pictures": coded(127.5 + 127.5 * V / np.abs(V).max(1, keepdims=True))},
        {"name": "image", "pictures": coded(255 * new[image : image + 1])},
        {"name": "pieces", "pictures": coded(255 * pieces.clip(0, 1))},
        {"name": "sum", "pictures": coded(255 * (codes[image : image + 1] @ W).clip(0, 1))},
    ]
    figures = {
        "K": SHOWN,
        "error of parts": float(np.square(new - codes @ W).sum(1).mean()),
        "error of eigen-pictures": float(np.square(new - axes.inverse_transform(axes.transform(new))).sum(1).mean()),
        "of the mean": float(np.square(new - X.mean(0)).sum(1).mean()),
        "blank pixels of a part": float((scaled < 0.05).mean()),
        "blank pixels of an eigen-picture": float((np.abs(V) < 0.05 * np.abs(V).max(1, keepdims=True)).mean()),
        "parts on": float((codes > 0).sum(1).mean()),
        "negative entries of eigen-pictures": float((V < 0).mean()),
    }
    return table, [{name: round_to(value) for name, value in figures.items()}]


def measure(repeats):
    """All tables, on one thread."""
    with limited(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so many passes and no more: that is what is measured
        shown, figures = pictures()
        return {"nmf": nmf(), "dictionary": dictionary(), "pictures": shown, "figures": figures}
