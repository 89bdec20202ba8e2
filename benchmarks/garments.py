"""Eight garments of Fashion-MNIST under each code of the book, the held-out errors, and a map of garments.

Pictures are bytes in base64, row after row; errors are squared grey levels (0 to 1) per held-out garment.
"""

import base64

import numpy as np
from gaelib import GGAE, LGAE, LLGAE, KMeans, Memory, data

from .harness import round_to

SHOWN = (9, 0, 1, 8, 3, 7, 5, 4)  # boot, T-shirt, trousers, bag, dress, sneaker, sandal, coat: the first of each
CODES = {  # name -> model
    "1 of 10": lambda: KMeans(10, random_state=0, max_iter=30),
    "1 of 256": lambda: KMeans(256, random_state=0, max_iter=30),
    "20 numbers": lambda: LGAE(20),
    "1 of 11, 20 numbers": lambda: LLGAE(11, 20, random_state=0, max_iter=30),
    "1 of 60,000": Memory,
}
MAPPED, VARIANCE = 4000, 0.15  # garments that the map is learned from; noise of its components, per pixel


def images(train):
    X, kind = data.fashion_mnist(train)
    return np.asarray(X, dtype=np.float32) / 255, kind


def packed(pictures):
    """Grey levels 0 to 1 as text."""
    return base64.b64encode((np.clip(pictures, 0, 1) * 255).round().astype(np.uint8).tobytes()).decode()


def codes(X, T, kind, T_kind):
    """The errors of each code, the eight garments that come back, and what a memory reads from a label table."""
    shown = [int(np.flatnonzero(T_kind == k)[0]) for k in SHOWN]
    pictures = [{"name": "garment", "pictures": packed(T[shown])}]
    errors = [{"name": "1 picture", "error": round_to(((T - X.mean(0)) ** 2).sum(1).mean(), 4)}]
    for name, make in CODES.items():
        model = make().fit(X)
        back = np.asarray(model.inverse_transform(model.transform(T)))
        row = {"name": name, "error": round_to(((T - back) ** 2).sum(1).mean(), 4)}
        if name == "1 of 60,000":
            row["accuracy"] = round_to((kind[model.predict(T)] == T_kind).mean(), 4)
        errors.append(row)
        pictures.append({"name": name, "pictures": packed(back[shown])})
    return {"errors": errors, "pictures": pictures}


def chart(X, T):
    """A map: 16 components of `GGAE`, their prototypes and means, codes of 300 held-out garments, and two errors."""
    few = X[:MAPPED]
    model = GGAE(16, 2, variance=VARIANCE, tol=1e-4, random_state=0).fit(few)
    held = T[:1000]
    back = np.asarray(model.inverse_transform(model.transform(held)))
    flat, hard = LGAE(2).fit(few), KMeans(16, n_init=5, random_state=0).fit(few)
    error = {
        name: round_to(((held - np.asarray(m)) ** 2).sum(1).mean(), 4)
        for name, m in {
            "map": back,
            "two numbers of PCA": flat.inverse_transform(flat.transform(held)),
            "1 of 16": hard.inverse_transform(hard.transform(held)),
        }.items()
    }
    return [
        {
            "error": error,
            "prototypes": model.prototypes_.astype(float).round(3).tolist(),
            "codes": model.transform(T[:300]).astype(float).round(3).tolist(),
            "pictures": packed(np.asarray(model.cluster_centers_)),
        }
    ]


def measure(repeats):
    """All tables; nothing here is timed."""
    (X, kind), (T, T_kind) = images(True), images(False)
    return codes(X, T, kind, T_kind) | {"map": chart(X, T)}
