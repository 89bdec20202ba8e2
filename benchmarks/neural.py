"""MNIST in nine numbers: the errors of PCA, an autoencoder and a VAE on held-out digits, what comes back, and samples.

Pictures are bytes in base64, row after row; errors are squared grey levels (0 to 1) per held-out digit.  Every fit
is kept in a file until all are done, so that a run that was stopped goes on where it was.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
from gaelib import LGAE, VAE, Autoencoder, data

from .garments import packed
from .harness import round_to, source_hash

CODE, SEEDS, SHOWN = 9, 3, 8
KEPT = Path(tempfile.gettempdir()) / "gaelib-neural.json"
OPTIONS = {"hidden": (256, 128), "max_epochs": 8}
MODELS = {
    "PCA": lambda seed: LGAE(CODE),
    "autoencoder": lambda seed: Autoencoder(CODE, random_state=seed, **OPTIONS),
    "VAE": lambda seed: VAE(CODE, random_state=seed, **OPTIONS),
}


def images(train):
    return np.asarray(data.mnist(train)[0], dtype=np.float32).reshape(-1, 784) / 255


def fit(name, seed, X, T, shown):
    """One fit: its error on held-out digits, its CPU seconds, and for the first seed its pictures."""
    start = time.process_time()
    model = MODELS[name](seed).fit(X)
    row = {"name": name, "seed": seed, "cpu_seconds": round_to(time.process_time() - start)}
    back = np.asarray(model.inverse_transform(model.transform(T)))
    row["error"] = round_to(((T - back) ** 2).sum(1).mean(), 4)
    if name == "VAE":
        row["score"], row["variance"] = round_to(model.score(T[:2000]), 5), round_to(model.variance_, 4)
    if seed == 0:
        row["pictures"] = packed(back[shown])
        if name == "VAE":
            row["samples"] = packed(np.asarray(model.sample(SHOWN, random_state=0, noise=False)))
    return row


def measure(repeats):
    """Every model, three seeds; nothing here is raced."""
    X, T, digit = images(True), images(False), data.mnist(False)[1]
    shown = [int(np.flatnonzero(digit == k)[0]) for k in range(SHOWN)]
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    done = kept.get(source_hash(), {})
    for name in MODELS:
        for seed in range(1 if name == "PCA" else SEEDS):
            if f"{name} {seed}" not in done:
                done[f"{name} {seed}"] = fit(name, seed, X, T, shown)
                KEPT.write_text(json.dumps({source_hash(): done}))
    spectrum = np.linalg.eigvalsh(np.cov(X.T.astype(np.float64), bias=True))[::-1]
    KEPT.unlink()
    return {
        "fits": list(done.values()),
        "pictures": [{"name": "digit", "pictures": packed(T[shown])}],
        "spectrum": [{"name": "eigenvalues", "values": [round_to(value, 5) for value in spectrum[:60]]}],
        "total": [{"name": "variance", "value": round_to(spectrum.sum(), 5)}],
    }
