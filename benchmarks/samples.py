"""What drawn rows are worth, by a classifier that saw real ones and by nearest neighbours both ways."""

import numpy as np
import torch
from gaelib.core import ascend
from gaelib.joints.network import layers
from gaelib.training import Shuffled, adam, one_cycle
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin_min
from sklearn.neighbors import NearestNeighbors
from torch.nn.functional import cross_entropy

from .harness import round_to

HIDDEN, STEPS, BATCH, RATE = 256, 2000, 256, 3e-3
SHARE = 0.1  # a class is covered by so much of what it has among the real rows


def classifier(train, labels, seed=0):
    """A network that learned the labels of real rows: (n, D), (n,) -> (rows -> (m,) labels)."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    X, y = torch.as_tensor(np.asarray(train), dtype=torch.float32), torch.as_tensor(np.asarray(labels)).long()
    if len(X) != len(y):
        raise ValueError(f"{len(X)} rows have {len(y)} labels: pass one label a row")
    centre, scale = X.mean(0), X.std() or 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = layers(X.shape[1], HIDDEN, int(y.max()) + 1).to(device)
    X, y = ((X - centre) / scale).to(device), y.to(device)
    order = torch.Generator().manual_seed(seed)
    batches = Shuffled(lambda i: i.to(device), torch.arange(len(X)), min(BATCH, len(X)), order)

    def score(i):
        return -cross_entropy(network(X[i]), y[i], label_smoothing=0.05)

    ascend(score, list(network.parameters()), STEPS, one_cycle(RATE, STEPS), adam, batches=batches)

    def classify(rows):
        rows = torch.as_tensor(np.asarray(rows), dtype=torch.float32)
        with torch.no_grad():
            return network(((rows - centre) / scale).to(device)).argmax(1).cpu().numpy()

    return classify


def nearest(rows, among):
    """The distance of each row to the nearest of the others: (n, D), (m, D) -> (n,), in the data's units."""
    rows, among = (np.asarray(part, dtype=np.float64) for part in (rows, among))
    return pairwise_distances_argmin_min(rows, among)[1]


def precision_and_coverage(samples, real, k=5):
    """The share of samples among the real rows, and of real rows with a sample beside them: (n, D), (m, D) -> 2 floats.

    A place is "among" or "beside" where it lies within the distance of a real row to its k-th nearest of the others.
    Neither needs classes. Kynkaanniemi et al. (2019); Naeem et al. (2020).
    """
    samples, real = (np.asarray(part, dtype=np.float64).reshape(len(part), -1) for part in (samples, real))
    if len(real) <= k:
        raise ValueError(f"k={k} needs more than {k} real rows, got {len(real)}: pass more rows or a smaller k")
    radius = NearestNeighbors(n_neighbors=k).fit(real).kneighbors()[0][:, -1]
    inside = pairwise_distances(samples, real) <= radius
    return float(inside.any(1).mean()), float(inside.any(0).mean())


def judge(samples, train, labels, test, classify=None):
    """Samples beside real rows.

    Parameters
    ----------
    samples, train, test : array (n, D), (N, D), (M, D)
        Drawn rows, the real rows that the generator learned from, and real rows that it never saw.
    labels : array of int (N,)
        Classes of ``train``, from 0.
    classify : callable, optional
        What `classifier` returned for (train, labels), so that many samples have one judge.

    Returns
    -------
    dict
        ``covered`` counts the classes with at least a tenth of their share among the training rows, ``least`` is the
        smallest of these shares (1 is the training rows' own).  Noise has a class too: only distances say how good it is.
        Medians of Euclidean distances, in the data's units: ``to_train`` of a sample to the nearest training row (0:
        a copy), ``to_test`` of a sample to the nearest test row, ``from_test`` of a test row to the nearest sample.
        The last falls with the number of samples, so compare equal numbers: ``n``.
    """
    samples = np.asarray(samples).reshape(len(samples), -1)
    found = (classify or classifier(train, labels))(samples)
    real = np.bincount(labels) / len(labels)
    shares = np.bincount(found, minlength=len(real)) / len(samples)
    relative = (shares[: len(real)] / np.maximum(real, 1e-300))[real > 0]
    distances = {
        "to_train": nearest(samples, train), "to_test": nearest(samples, test), "from_test": nearest(test, samples),
    }  # fmt: skip
    return {
        "n": len(samples),
        "covered": int((relative >= SHARE).sum()),
        "least": round_to(relative.min()),
        **{name: round_to(np.median(found)) for name, found in distances.items()},
    }
