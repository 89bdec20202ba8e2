"""Garments of Fashion-MNIST through short codes, and walks along the flats that were learned.

Errors are mean squared errors per pixel on the 0-255 scale; pictures are stored as bytes, in base64.
"""

import base64
import warnings

import numpy as np
from gaelib import LGAE, LLGAE, KMeans, data
from sklearn.neighbors import KNeighborsClassifier

SHOWN = (9, 0, 1, 8, 3, 7, 5, 4)  # boot, T-shirt, trousers, bag, dress, sneaker, sandal, coat
KINDS = "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"
STEPS = (-2, -1, 0, 1, 2)  # standard deviations along a flat's first direction


def packed(pictures):
    """Pictures (n, 784), 0 to 255, as text."""
    return base64.b64encode(np.clip(pictures, 0, 255).round().astype(np.uint8).tobytes()).decode()


def models():
    """Name -> (model, what its code says of one picture)."""
    return {
        "PCA, 20 numbers": (LGAE(20), "20 numbers"),
        "PCA, 21 numbers": (LGAE(21), "21 numbers"),
        "k-means, 1 of 256": (KMeans(256, random_state=0, max_iter=50), "1 of 256"),
        "LLGAE, 1 of 11 and 20 numbers": (
            LLGAE(11, 20, n_init=3, random_state=0, max_iter=30, tol=0),
            "1 of 11, and 20 numbers",
        ),
    }


def walk(model, X, y):
    """Each flat's first direction: five pictures, and of what kind their fifteen nearest real garments are."""
    judge, table = KNeighborsClassifier(15).fit(X[:20000], y[:20000]), []
    for k in range(len(model.cluster_centers_)):
        step = np.sqrt(model.explained_variance_[k, 0]) * model.components_[k, 0]
        pictures = np.clip(model.cluster_centers_[k] + np.array(STEPS)[:, None] * step, 0, 255)
        kinds = [KINDS[label] for label in judge.predict(pictures)]
        share = np.bincount(y[model.labels_ == k], minlength=10)
        most = {"mostly": KINDS[share.argmax()], "share": round(share.max() / share.sum(), 2)}
        table.append({"flat": k, "rows": int(share.sum()), **most, "kinds": kinds, "pictures": packed(pictures)})
    return table


def measure(repeats):
    """Both tables; nothing is timed.  With two repeats, on a twentieth of the rows."""
    (X, y), (T, kind) = data.fashion_mnist(), data.fashion_mnist(train=False)
    if repeats <= 2:
        X, y = X[:3000], y[:3000]
    shown = T[[int(np.argmax(kind == k)) for k in SHOWN]]
    table = [{"who": "garment", "kinds": [KINDS[k] for k in SHOWN], "pictures": packed(shown)}]
    for name, (model, code) in models().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so many passes and no more
            model.fit(X)
        errors = {
            part: round(float(((rows - model.inverse_transform(model.transform(rows))) ** 2).mean()), 2)
            for part, rows in (("train", X), ("test", T))
        }
        copies = model.inverse_transform(model.transform(shown))
        table.append({"who": name, "code": code, **errors, "pictures": packed(copies)})
    return {"codes": table, "walks": walk(model, X, y)}
