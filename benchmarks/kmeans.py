"""KMeans against scikit-learn's Lloyd and faiss: the same rows, the same start, the same number of passes."""

import warnings

import faiss
import numpy as np
from sklearn.cluster import KMeans as Reference

from gaelib import KMeans, data

from .harness import race


def row(X, K, passes, repeats):
    """Seconds and ratios for one number of clusters."""
    start = X[np.random.default_rng(0).choice(len(X), K, replace=False)]
    options = {"init": start, "n_init": 1, "max_iter": passes, "tol": 0}

    def peer():
        model = faiss.Kmeans(
            X.shape[1], K, niter=passes, max_points_per_centroid=len(X), min_points_per_centroid=1
        )
        model.train(X, init_centroids=start)
        return model.obj[-1]

    contestants = {
        "gaelib": lambda: KMeans(K, **options).fit(X).inertia_,
        "scikit-learn": lambda: Reference(K, algorithm="lloyd", **options).fit(X).inertia_,
        "faiss": peer,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few passes to converge: that is not what is measured
        errors = [float(run()) for run in contestants.values()]
        timed = race(contestants, repeats)
    assert max(errors) / min(errors) < 1.02, f"the contestants do not solve the same problem: {errors}"
    return {"data": "digits", "n": len(X), "D": X.shape[1], "K": K, "passes": passes, **timed}


def measure(repeats):
    """Digits in float32, 20 passes."""
    X = data.digits()[0].astype(np.float32)
    return {"rows": [row(X, K, 20, repeats) for K in (10, 64)]}
