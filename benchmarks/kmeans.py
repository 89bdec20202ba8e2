"""KMeans against scikit-learn's Lloyd and faiss: the same rows, the same start, the same number of passes.

And two of scikit-learn's own settings: ten starts of KMeans, and GaussianMixture at equal passes of EM.
"""

import time
import warnings

import faiss
import numpy as np
from gaelib import GaussianMixture, KMeans, data
from sklearn.cluster import KMeans as Reference
from sklearn.mixture import GaussianMixture as Mixtures

from .harness import limited, race, round_to, thread_counts

CASES = ((10, 20), (64, 20), (256, 10), (1024, 3))  # clusters of Fashion-MNIST, and passes


def same_labels(X, K, options):
    """The part of the rows on which the two agree."""
    found = [model(K, **options).fit(X).labels_ for model in (KMeans, Reference)]
    return round_to((found[0] == found[1]).mean(), 6)


def row(name, X, K, passes, repeats):
    """Seconds and ratios for one number of clusters; faiss, whose passes are dear, once where there are many images."""
    start = X[np.random.default_rng(0).choice(len(X), K, replace=False)]
    options = {"init": start, "n_init": 1, "max_iter": passes, "tol": 0}

    def peer():
        model = faiss.Kmeans(X.shape[1], K, niter=passes, max_points_per_centroid=len(X), min_points_per_centroid=1)
        model.train(X, init_centroids=start)
        return model.obj[-1]

    contestants = {
        "gaelib": lambda: KMeans(K, **options).fit(X).inertia_,
        "scikit-learn": lambda: Reference(K, algorithm="lloyd", **options).fit(X).inertia_,
    }
    begun = time.perf_counter()
    error, once = peer(), time.perf_counter() - begun
    small = len(X) < 10_000
    timed = race(contestants | ({"faiss": peer} if small else {}), repeats)
    timed.setdefault("faiss", {"seconds": round_to(once), "ratio": round_to(timed["gaelib"]["seconds"] / once)})
    model = KMeans(K, **options).fit(X)
    assert max(error, model.inertia_) / min(error, model.inertia_) < 1.02, "the contestants do not solve one problem"
    return {"data": name, "n": len(X), "D": X.shape[1], "K": K, "passes": model.n_iter_} | timed


def agreement(name, X, K, passes):
    """Whether the labels are scikit-learn's, in float32 and in float64."""
    start = X[np.random.default_rng(0).choice(len(X), K, replace=False)]
    options = {"init": start, "n_init": 1, "max_iter": passes, "tol": 0}
    found = {"same labels": same_labels(X, K, options)}
    if K < 1024:  # whose table of float64 distances is large
        found["in float64"] = same_labels(X.astype(float), K, options | {"init": start.astype(float)})
    return {"data": name, "K": K} | found


def usual(X, repeats):
    """What people write: ten starts of KMeans, one; and GaussianMixture(10), 20 passes of EM, each after its own start."""
    own = {"random_state": 0, "max_iter": 20, "tol": 0}
    for what, ours, theirs in (
        ("KMeans(10, n_init=10)", KMeans(10, n_init=10, random_state=0), Reference(10, n_init=10, random_state=0)),
        ("KMeans(10)", KMeans(10, random_state=0), Reference(10, n_init=1, random_state=0)),
        (
            "GaussianMixture(10)",
            GaussianMixture(10, noise="own", **own),
            Mixtures(10, covariance_type="spherical", **own),
        ),
    ):
        timed = race({"gaelib": lambda m=ours: m.fit(X), "scikit-learn": lambda m=theirs: m.fit(X)}, repeats)
        yield {"data": "digits", "what": what} | timed


def measure(repeats):
    """On one thread and on all; ``labels`` once."""
    digits, images = data.digits()[0], data.fashion_mnist()[0]
    cases = [("digits", digits.astype(np.float32), K, 20) for K in (10, 64)]
    cases += [("Fashion-MNIST", images, *case) for case in CASES]
    table, small = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few passes to converge: that is not what is measured
        for threads in thread_counts():
            faiss.omp_set_num_threads(threads)
            with limited(threads):
                rows = (row(*case, repeats if len(case[1]) < 10_000 else min(repeats, 3)) for case in cases)
                table += [each | {"threads": threads} for each in rows]
                small += [each | {"threads": threads} for each in usual(digits, repeats)]
        return {"rows": table, "usual": small, "labels": [agreement(*case) for case in cases]}
