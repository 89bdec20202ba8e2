"""KMeans against scikit-learn's Lloyd and faiss: the same rows, the same start, the same number of passes.

And scikit-learn's own settings on its digits: one start and ten of KMeans, and GaussianMixture at equal passes of EM.
"""

import time
import warnings

import faiss
import numpy as np
import torch
from gaelib import GaussianMixture, KMeans, data
from gaelib.joints.flats import Flats
from gaelib.solvers.pruning import PART, Known
from sklearn.cluster import KMeans as Reference
from sklearn.mixture import GaussianMixture as Mixtures

from .harness import alone, limited, race, round_to, thread_counts

SOME = {10: 5, 64: 3, 256: 3, 1024: 2}  # repeats, at most, for so many clusters of Fashion-MNIST
WANTED = {10: 0.8, 64: 1.0, 256: 0.4, 1024: 0.33}  # seconds over scikit-learn's on Fashion-MNIST, at most
USUAL = {"KMeans(10, init=array)": 3.0, "KMeans(10, n_init=10)": 1.5, "GaussianMixture(10)": 1.5}  # on the digits
CASES = ((10, 20), (64, 20), (256, 20), (1024, 20))  # clusters of Fashion-MNIST, and passes


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
    wanted = {} if small else {"wanted": WANTED[K]}
    model = KMeans(K, **options).fit(X)
    assert max(error, model.inertia_) / min(error, model.inertia_) < 1.02, "the contestants do not solve one problem"
    return {"data": name, "n": len(X), "D": X.shape[1], "K": K, "passes": model.n_iter_} | timed | wanted


def agreement(name, X, K, passes):
    """Whether the labels are scikit-learn's, in float32 and in float64."""
    start = X[np.random.default_rng(0).choice(len(X), K, replace=False)]
    options = {"init": start, "n_init": 1, "max_iter": passes, "tol": 0}
    found = {"same labels": same_labels(X, K, options)}
    if K < 1024:  # whose table of float64 distances is large
        found["in float64"] = same_labels(X.astype(float), K, options | {"init": start.astype(float)})
    return {"data": name, "K": K} | found


def parts(X, K, passes, threads):
    """Seconds of so many readings of all rows, and products with all centres, which a fit by the full table needs."""
    x = torch.from_numpy(X)
    joint, rows = Flats(x[:K]), x.split(PART // X.shape[1])
    with torch.no_grad():  # as a fit does, which multiplies by another library then
        known = Known(joint, [x[:1000]])
        known._look(joint)
    read, multiply = (passes * alone(work, rows, threads) for work in (torch.sum, known.product))
    return {"K": K, "passes": passes, "threads": threads, "read": round_to(read), "product": round_to(multiply)}


def fixed(X, threads, repeats):
    """Seconds of a fit to the digits that makes one pass, from a given start: mostly checks of what was passed."""
    for dtype in ("float64", "float32"):
        x = X.astype(dtype)
        model = KMeans(10, init=x[np.random.default_rng(0).choice(len(x), 10, replace=False)], max_iter=1, tol=1)
        with limited(threads):
            seconds = race({"one pass": lambda model=model, x=x: model.fit(x)}, repeats)["one pass"]["seconds"]
        yield {"data": "digits", "dtype": dtype, "threads": threads, "one pass": seconds}


def usual(X, repeats):
    """What people write: KMeans from a given start, from ten, from one of its own; and 20 passes of GaussianMixture."""
    own = {"random_state": 0, "max_iter": 20, "tol": 0}
    for dtype in ("float64", "float32"):
        x = X.astype(dtype)
        given = {"init": x[np.random.default_rng(0).choice(len(x), 10, replace=False)], "n_init": 1}
        cases = [(name, KMeans(10, **options), Reference(10, **options)) for name, options in (
            ("KMeans(10, init=array)", given),
            ("KMeans(10, n_init=10)", {"n_init": 10, "random_state": 0}),
            ("KMeans(10)", {"n_init": 1, "random_state": 0}),
        )]  # fmt: skip
        mixtures = GaussianMixture(10, noise="own", **own), Mixtures(10, covariance_type="spherical", **own)
        for what, ours, theirs in [*cases, ("GaussianMixture(10)", *mixtures)]:
            contestants = {"gaelib": lambda m=ours, x=x: m.fit(x), "scikit-learn": lambda m=theirs, x=x: m.fit(x)}
            wanted = {"wanted": USUAL[what]} if what in USUAL else {}
            yield {"data": "digits", "dtype": dtype, "what": what} | race(contestants, repeats) | wanted


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
                rows = (row(*case, min(repeats, repeats if len(case[1]) < 10_000 else SOME[case[2]])) for case in cases)
                table += [each | {"threads": threads} for each in rows]
                small += [each | {"threads": threads} for each in usual(digits, repeats)]
        limits = [parts(images, *case, threads) for threads in thread_counts() for case in CASES]
        once = [row for threads in thread_counts() for row in fixed(digits, threads, repeats)]
        labels = [agreement(*case) for case in cases]
        return {"rows": table, "usual": small, "labels": labels, "parts": limits, "fixed": once}
