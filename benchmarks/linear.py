"""LGAE against scikit-learn's PCA: Fashion-MNIST's errors and seconds, and what a neighbour classifier reads from the code."""

import warnings

import numpy as np
import torch
from gaelib import LGAE, data
from gaelib.solvers.eigen import leading
from gaelib.solvers.sums import LONG, gram
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from .harness import alone, limited, race, round_to, thread_counts

WANTED = {"Fashion-MNIST": 0.95, "digits": 2.0}  # seconds over scikit-learn's PCA, at most
SETS = {"MNIST": data.mnist, "Fashion-MNIST": data.fashion_mnist}
DIMENSIONS = (9, 19, 29, 39)
AUTHOR = 1207  # the document author's figure for PCA, from his public repository
PUBLISHED = {  # PCA + k-NN of Fournier and Aloise (arXiv 2103.04874), measured again with k = 9
    "MNIST": (0.9164, 0.9680, 0.9732, 0.9742),
    "Fashion-MNIST": (0.8047, 0.8464, 0.8519, 0.8546),
}


def squared_error(model, X):
    """Mean over pixels; the score is minus the squared error of an image, plus a constant."""
    return -model.score(X) / X.shape[1] - 0.5 * np.log(np.pi)


def errors():
    """Fashion-MNIST, 20 components, on the 0-255 scale: plain, and with each image's own mean removed."""
    table = []
    for pixels, author in (("plain pixels", {}), ("each image's mean removed", {"author": AUTHOR})):
        train, test = (data.fashion_mnist(train=part)[0] for part in (True, False))
        if pixels != "plain pixels":
            train, test = (X - X.mean(1, keepdims=True) for X in (train, test))
        model = LGAE(20).fit(train)
        found = {name: float(round(squared_error(model, X), 2)) for name, X in (("train", train), ("test", test))}
        table.append({"data": "Fashion-MNIST", "pixels": pixels, "p": 20} | found | author)
    return table


def neighbours():
    """Accuracy of a 9-nearest-neighbour classifier on the codes, pixels divided by 255."""
    table = []
    for name, load in SETS.items():
        (train, labels), (test, truth) = ((X / np.float32(255), y) for X, y in (load(True), load(False)))
        model = LGAE(max(DIMENSIONS)).fit(train)  # the axes are ordered: a shorter code is a prefix
        codes, queries = model.transform(train), model.transform(test)
        for p, published in zip(DIMENSIONS, PUBLISHED[name], strict=True):
            reader = KNeighborsClassifier(9, algorithm="brute").fit(codes[:, :p], labels)
            accuracy = float((reader.predict(queries[:, :p]) == truth).mean())
            table.append({"data": name, "p": p, "accuracy": round_to(accuracy, 4), "published": published})
    return table


def seconds(repeats):
    """LGAE and PCA on Fashion-MNIST's 60,000 images, float32, and on the digits; on one thread and on all."""
    table, cases = [], (("Fashion-MNIST", data.fashion_mnist()[0], 20), ("digits", data.digits()[0], 10))
    for threads in thread_counts():
        for name, X, p in cases:
            contestants = {"gaelib": lambda X=X, p=p: LGAE(p).fit(X), "scikit-learn": lambda X=X, p=p: PCA(p).fit(X)}
            setting = {"data": name, "n": len(X), "D": X.shape[1], "p": p, "threads": threads, "wanted": WANTED[name]}
            with limited(threads):
                table.append(setting | race(contestants, repeats) | parts(X, p, threads))
    return table


def parts(X, p, threads):
    """Seconds of what no fit by a covariance can do without, each alone: one reading, the product, the eigenvectors."""
    rows = torch.from_numpy(X).split(LONG)
    covariance = sum(map(gram, rows))
    works = {"read": (torch.sum, rows), "product": (lambda x: x.numpy().T @ x.numpy(), rows)}
    works["eigenvectors"] = (lambda matrix: leading(matrix, p), [covariance])
    return {name: alone(work, blocks, threads) for name, (work, blocks) in works.items()}


def measure(repeats):
    """All tables: errors, neighbours and seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"errors": errors(), "neighbours": neighbours(), "seconds": seconds(repeats)}
