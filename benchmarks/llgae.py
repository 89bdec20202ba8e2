"""LLGAE on Fashion-MNIST: its errors, the author's figure, his recipe's speed and ours, and how the time grows.

Errors are mean squared errors per pixel on the 0-255 scale.
"""

import math
import time
import warnings
from statistics import median

import numpy as np
import torch
from gaelib import LLGAE, data
from gaelib.core import Exact, alternate
from gaelib.joints.flats import Flats
from gaelib.models.llgae import RACE

from .harness import limited, round_to
from .recipe import FORMS, images, recipe

AUTHOR, EPOCHS = 768.06, 540  # the document author's public figure, and after how many epochs (K = 11, p = 20)
SEEDS, STARTS, PASSES = 5, 5, 30
PLAIN, CENTRED = "plain pixels", "each image's mean removed"  # the author's loader removes it
BASE, GROWTH = (
    {"n": 15000, "K": 10, "p": 20},
    {"n": (7500, 15000, 30000, 60000), "K": (5, 10, 20, 40), "p": (5, 10, 20, 40)},
)


def load(pixels, train=True):
    return data.fashion_mnist(train=train)[0] if pixels == PLAIN else images(train)


def squared_error(scores, K, D=784):
    """The objective is minus the squared error of an image, plus a constant."""
    return (-np.asarray(scores) - math.log(K)) / D - 0.5 * math.log(math.pi)


def fit(X, K, seed, passes=PASSES, starts=STARTS):
    """``passes`` over the data for the start that goes on: of several, the race is a part of them."""
    steps = passes - RACE * (starts > 1)
    return LLGAE(K, 20, n_init=starts, max_iter=steps, tol=0, random_state=seed).fit(X)


def fits():
    """Five seeds of every setting, each with five starts; and after how many passes one start alone passes the author."""
    table = []
    for pixels, K in ((PLAIN, 11), (PLAIN, 15), (CENTRED, 11)):
        train, test = load(pixels), load(pixels, train=False)
        models = [fit(train, K, seed) for seed in range(SEEDS)]
        errors = {"train": [model.inertia_ / train.size for model in models]}
        errors["test"] = [float(squared_error(model.score(test), K)) for model in models]
        alone = [fit(train, K, seed, 4, starts=1) for seed in range(SEEDS)]
        passed = [int((squared_error(model.history_, K) <= AUTHOR).argmax()) for model in alone]
        row = {"data": "Fashion-MNIST", "pixels": pixels, "K": K, "p": 20, "starts": STARTS, "passes": PASSES}
        for part, values in errors.items():
            row |= {part: round(median(values), 2), f"{part} worst": round(max(values), 2)}
        row |= {"passes to the author's error": max(passed)}
        table.append(row | ({"author": AUTHOR} if (pixels, K) == (CENTRED, 11) else {}))
    return table


def curve():
    """One start, from the first pass on: what the figure of the chapter draws."""
    model = fit(load(CENTRED), 11, 0, starts=1)
    found = recipe(load(CENTRED), batches=430)
    return [
        {"who": "LLGAE", "unit": "passes", "error": [round_to(e, 4) for e in squared_error(model.history_, 11)]},
        {"who": "recipe", "unit": "batches", "error": [round_to(e, 4) for e in found["losses"]]},
    ]


def ours(repeats):
    """Seconds to pass the author's error, start and last look at the data included."""
    table = []
    for pixels in (CENTRED, PLAIN):
        X = load(pixels)
        errors = squared_error(fit(X, 11, 0, starts=1).history_, 11)
        passes = int((errors <= AUTHOR).argmax()) + 1
        taken = []
        for _ in range(min(repeats, 3)):
            begun = time.perf_counter()
            fit(X, 11, 0, passes, starts=1)
            taken.append(time.perf_counter() - begun)
        row = {"data": "Fashion-MNIST", "pixels": pixels, "K": 11, "p": 20, "error": AUTHOR, "passes": passes}
        table.append(row | {"seconds": round_to(median(taken))})
    return table


def race(repeats):
    """And the recipe's, by 540 times its epoch."""
    table = ours(repeats)
    for form in FORMS:
        epoch = recipe(images(), batches=4, form=form)["seconds_per_epoch"]
        row = {
            "recipe": form,
            "seconds per epoch": round_to(epoch),
            "epochs": EPOCHS,
            "seconds": round_to(epoch * EPOCHS),
        }
        table.append(row | {"ratio": round_to(epoch * EPOCHS / table[0]["seconds"])})
    return table


def growth(repeats):
    """Seconds of one pass when one of n, K and p grows and the others stay."""
    X, table = data.fashion_mnist()[0], []
    for what, sizes in GROWTH.items():
        for size in sizes:
            n, K, p = (BASE | {what: size}).values()
            x, generator = torch.from_numpy(X[:n]), torch.Generator().manual_seed(0)
            bases = torch.linalg.qr(torch.randn(K, x.shape[1], p, generator=generator)).Q
            joint, seconds = Flats(x[torch.randperm(n, generator=generator)[:K]], bases), []
            for _ in range(repeats + 1):
                begun = time.perf_counter()
                alternate(joint, x.split(2048), Exact(), 1)
                seconds.append(time.perf_counter() - begun)
            table.append({"grows": what, "n": n, "K": K, "p": p, "seconds": round_to(median(seconds[1:]))})
    return table


def measure(repeats):
    """All tables."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # so many passes and no more: that is what is measured
        with limited(1):
            alone = ours(repeats)
        return {
            "fits": fits(),
            "curve": curve(),
            "race": race(repeats),
            "one thread": alone,
            "growth": growth(min(repeats, 3)),
        }
