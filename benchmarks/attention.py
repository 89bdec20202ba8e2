"""An autoencoder that decodes by attention, beside rivals with codes of as many numbers.

    python -m benchmarks attention

`digits`: 1500 pictures to learn from, 297 new ones; `fashion`: 60,000 and 10,000.  Errors are squared grey levels
(0 to 1) per pixel of new pictures, seconds are CPU seconds of a fit on one thread.  NMF is scikit-learn's.
"""

import sys
import time

import numpy as np
import torch
from gaelib import AttentionAutoencoder, Autoencoder, data
from sklearn.decomposition import NMF, PCA

from .harness import limited, round_to

CODE, SEEDS = 16, 3
MODELS = {
    "PCA": lambda seed: PCA(CODE),
    "NMF": lambda seed: NMF(CODE, init="random", max_iter=100, tol=1e-3, random_state=seed),
    "autoencoder": lambda seed: Autoencoder(CODE, max_epochs=20, precision="float32", random_state=seed),
    "attention, one head": lambda seed: AttentionAutoencoder(CODE, n_slots=256, n_heads=1, random_state=seed),
    "attention, four heads": lambda seed: AttentionAutoencoder(CODE, n_slots=64, n_heads=4, random_state=seed),
}
FREE = {"PCA": 1}  # nothing in it is drawn: one seed


def rows(X, T, seeds=SEEDS, names=MODELS):
    """Every model on every seed: its error on new pictures, and what the fit cost."""
    table = []
    for name in names:
        for seed in range(min(seeds, FREE.get(name, seeds))):
            start = time.process_time()
            model = MODELS[name](seed).fit(X)
            seconds = time.process_time() - start
            back = np.asarray(model.inverse_transform(model.transform(T)))
            error = round_to(float(((back - T) ** 2).mean()), 4)
            row = {"name": name, "seed": seed, "learned": len(X), "error": error, "cpu_seconds": round_to(seconds)}
            table.append(row)
            print(table[-1], flush=True)
    return table


def digits():
    """The order in which the chapter parts them."""
    X = np.float32(data.digits()[0] / 16)[torch.randperm(1797, generator=torch.Generator().manual_seed(0)).numpy()]
    return X[:1500], X[1500:]


def fashion(n=60000):
    X, T = (np.asarray(data.fashion_mnist(part)[0], np.float32).reshape(-1, 784) / 255 for part in (True, False))
    return X[:n], T


def measure(repeats):
    """Both tables; nothing is raced."""
    with limited(1):
        return {"digits": rows(*digits()), "fashion": rows(*fashion(3000 if repeats <= 2 else 60000))}


if __name__ == "__main__":  # for a look at a part: the number of pictures, and models
    rows(*fashion(int(sys.argv[1])), 1, sys.argv[2:] or MODELS)
