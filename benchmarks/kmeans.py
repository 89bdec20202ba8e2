"""KMeans against scikit-learn's Lloyd and faiss: the same rows, the same start, the same number of passes."""

import warnings

import faiss
import numpy as np
from gaelib import KMeans, data
from sklearn.cluster import KMeans as Reference

from .harness import limited, race, round_to, thread_counts


def same_labels(X, K, options):
    """The part of the rows on which the two agree."""
    found = [model(K, **options).fit(X).labels_ for model in (KMeans, Reference)]
    return round_to((found[0] == found[1]).mean(), 6)


def row(name, X, K, passes, repeats):
    """Seconds and ratios for one number of clusters, in float32; and whether the labels agree, in float64 too."""
    start = X[np.random.default_rng(0).choice(len(X), K, replace=False)]
    options = {"init": start, "n_init": 1, "max_iter": passes, "tol": 0}

    def peer():
        model = faiss.Kmeans(X.shape[1], K, niter=passes, max_points_per_centroid=len(X), min_points_per_centroid=1)
        model.train(X, init_centroids=start)
        return model.obj[-1]

    contestants = {
        "gaelib": lambda: KMeans(K, **options).fit(X).inertia_,
        "scikit-learn": lambda: Reference(K, algorithm="lloyd", **options).fit(X).inertia_,
        "faiss": peer,
    }
    errors = [float(run()) for run in contestants.values()]
    assert max(errors) / min(errors) < 1.02, f"the contestants do not solve the same problem: {errors}"
    setting = {"data": name, "n": len(X), "D": X.shape[1], "K": K, "passes": KMeans(K, **options).fit(X).n_iter_}
    double = options | {"init": start.astype(float)}
    setting |= {"same labels": same_labels(X, K, options), "in float64": same_labels(X.astype(float), K, double)}
    return setting | race(contestants, repeats)


def rows(repeats):
    """Digits, and Fashion-MNIST with few, many and very many clusters, and to the end."""
    X = {"digits": data.digits()[0].astype(np.float32), "Fashion-MNIST": data.fashion_mnist()[0]}
    table = [row("digits", X["digits"], K, 20, repeats) for K in (10, 64)]
    table += [row("Fashion-MNIST", X["Fashion-MNIST"], K, 20, min(repeats, 5)) for K in (10, 64, 256)]
    table += [row("Fashion-MNIST", X["Fashion-MNIST"], 1024, 3, min(repeats, 5))]
    return [*table, row("Fashion-MNIST, to the end", X["Fashion-MNIST"], 10, 300, min(repeats, 3))]


def measure(repeats):
    """On one thread and on all."""
    table = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few passes to converge: that is not what is measured
        for threads in thread_counts():
            faiss.omp_set_num_threads(threads)
            with limited(threads):
                table += [each | {"threads": threads} for each in rows(repeats)]
    return {"rows": table}
