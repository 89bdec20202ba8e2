"""Generators without inference: what eight numbers bring back, and what is drawn, over seeds; every rival tuned alike.

``rebuilt``: squared errors, in grey levels (0 to 1) a picture, of an autoencoder and of gradient-origin networks.
``drawn``: samples of 25 round Gaussians (modes hit by a sample, modes that get a tenth of their share, share of samples
within three standard deviations of a centre) and of digits (by `samples.judge`).  Of four settings each model takes the
one that is best on a seed that is not reported.  So do two samplers without a network, a Gaussian mixture and training
rows with noise on top: what a generator should beat.
"""

import itertools
import json
import multiprocessing
import os
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from gaelib import GAN, GLO, IMLE, VAE, Autoencoder, GradientOrigin, data
from gaelib.joints.network import layers
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from torch import nn

from .garments import packed
from .harness import PACKAGE, round_to, source_hash, store
from .samples import SHARE, classifier, judge

NAME, SEEDS, TUNING = "generators", 5, 100
KEPT = Path(tempfile.gettempdir()) / "gaelib-generators.json"
CODE, WIDTH = 8, 128  # of the rebuilt pictures
STEPS = {"digits": (0.1, 0.3, 1.0, 3.0, 10.0), "mnist": (0.01, 0.03, 0.1, 0.3, 1.0)}
SPREAD, DRAWN = 0.05, 2000
CENTRES = np.stack(np.meshgrid(*[np.arange(-4.0, 5, 2)] * 2), -1).reshape(-1, 2)
LONG = {"digits": 60, "mnist": 12, "25 gaussians": 400, "digits drawn": 100, "seeds": SEEDS}  # epochs, seeds
SHORT = {"digits": 10, "mnist": 1, "25 gaussians": 40, "digits drawn": 10, "seeds": 2}
KNOBS = {  # a model's own choice, two values; each with two step sizes
    "VAE": ("draws", (1, 5)),
    "GLO": ("batch_size", (128, 256)),
    "gradient origin": ("step", ("learn", 0.1)),
    "IMLE": ("candidates", (256, 1024)),
    "GAN": ("penalty", (0.01, 0.1)),
    "GAN, hinge": ("penalty", (0.01, 0.1)),
}
RATES = (1e-3, 3e-3)
MODELS = {"VAE": VAE, "GLO": GLO, "gradient origin": GradientOrigin, "IMLE": IMLE, "GAN": GAN, "GAN, hinge": GAN}
SIMPLE = {  # samplers without a network, four settings each
    "Gaussian mixture": (
        lambda seed, **setting: GaussianMixture(random_state=seed, **setting),
        [{"n_components": K, "reg_covar": floor} for K in (25, 50) for floor in (1e-4, 1e-2)],
    ),
    "jittered rows": (
        lambda seed, **setting: KernelDensity(**setting),
        [{"bandwidth": h} for h in (0.01, 0.03, 0.1, 0.3)],
    ),
}


# --- data ---


@cache
def pictures(name):
    """Training and test pictures as rows, ink from 0 to 1, and the training labels."""
    if name == "mnist":
        (X, y), (T, _) = data.mnist(True), data.mnist(False)
        X, T = (np.asarray(part, dtype=np.float32).reshape(-1, 784) / 255 for part in (X, T))
        return X, T, y
    X, y = data.digits()
    order = np.random.default_rng(0).permutation(len(X))
    X, y = (X[order] / 16).astype(np.float32), y[order]
    return X[:1437], X[1437:], y[:1437]


@cache
def gaussians():
    """5000 points around 25 centres, of standard deviation 0.05 a coordinate."""
    draw = np.random.default_rng(0)
    noise = SPREAD * draw.normal(size=(5000, 2))
    return (CENTRES[draw.integers(25, size=5000)] + noise).astype(np.float32)


@cache
def judge_of_digits():
    return classifier(pictures("digits")[0], pictures("digits")[2])


# --- what comes back ---


def width_of(total, D):
    """The hidden width at which an encoder and a decoder together have so many parameters, or hardly fewer."""
    each = (2 * w * w + 2 * w * (CODE + D) + 4 * w + CODE + D for w in range(1, 4 * WIDTH))
    return sum(size <= total for size in each)


def rebuilt(name, which, seed, epochs):
    """One fit and its errors."""
    X, T, _ = pictures(name)
    D = X.shape[1]
    whole = WIDTH * (WIDTH + CODE + D + 2) + D  # the decoder of the gradient-origin network
    width = width_of(whole, D) if which == "autoencoder" else WIDTH
    options = {
        "hidden": (width, width),
        "max_epochs": epochs,
        "patience": epochs,
        "random_state": seed,
        "device": "cpu",
    }
    if which.startswith("autoencoder"):
        model = Autoencoder(CODE, **options).fit(X)
    else:
        model = GradientOrigin(CODE, step=which if which == "learn" else float(which), **options).fit(X)
    own = (part for net in (model.joint_.encoder, model.joint_.decoder) if net for part in net.parameters())
    row = {"data": name, "model": which, "seed": seed, "parameters": sum(part.numel() for part in own)}
    for key, rows in (("train", X[:5000]), ("test", T)):
        back = model.inverse_transform(model.transform(rows))
        row[key] = round_to(((rows - back) ** 2).sum(1).mean(), 4)
    if hasattr(model, "step_"):
        row["step"] = round_to(model.step_)
    return row


# --- what is drawn ---


def settings(name):
    knob, values = KNOBS[name]
    return [{"lr": lr, knob: value} for lr in RATES for value in values]


def drawn(name, which, seed, setting, epochs):
    """One fit, its samples and what they are worth."""
    options = {"max_epochs": epochs, "random_state": seed, "device": "cpu"} | setting
    options |= {} if "GAN" in which else {"patience": epochs}
    options |= {"loss": "hinge"} if which == "GAN, hinge" else {}
    if name == "25 gaussians":
        bend = nn.SiLU if which == "gradient origin" else nn.ReLU  # its slope must be smooth
        options |= {"decoder": seeded(seed, bend, 2, WIDTH, WIDTH, 2)}
        options |= {"batch_size": 256} if "batch_size" not in setting else {}
        if which == "VAE":
            options["encoder"] = seeded(seed, nn.ReLU, 2, WIDTH, WIDTH, 4)
        if "GAN" in which:
            options["critic"] = seeded(seed, nn.LeakyReLU, 2, WIDTH, WIDTH, 1)
        model, X = MODELS[which](2, **options), gaussians()
    else:
        model, X = MODELS[which](CODE, hidden=(WIDTH, WIDTH), **options), pictures("digits")[0]
    bare = {} if "GAN" in which else {"noise": False}  # what is decoded, without noise upon it
    made = np.asarray(model.fit(X).sample(DRAWN, random_state=seed, **bare))
    return (
        measured(name, made)
        | {"data": name, "model": which, "seed": seed, "setting": setting}
        | shown(name, made, seed)
    )


def seeded(seed, bend, *sizes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return layers(*sizes, activation=bend)


def measured(name, made):
    """What samples are worth, and one number to choose settings by: higher is better."""
    if name == "25 gaussians":
        far = np.linalg.norm(made[:, None] - CENTRES, axis=2)
        inside, mode = far.min(1) <= 3 * SPREAD, far.argmin(1)
        share, hit = float(inside.mean()), np.bincount(mode[inside], minlength=25)
        covered, modes = int((hit >= SHARE * len(made) / 25).sum()), int((hit > 0).sum())
        return {"modes": modes, "covered": covered, "inside": round_to(share), "worth": round_to(covered / 25 + share)}
    X, T, y = pictures("digits")
    row = judge(made.clip(0, 1), X, y, T, judge_of_digits())
    return row | {"worth": round_to(-row["to_train"] - row["from_test"])}


def shown(name, made, seed):
    if seed:
        return {}
    if name == "25 gaussians":
        return {"points": [[round(float(v), 2) for v in point] for point in made[:400]]}
    return {"pictures": packed(made[:8].clip(0, 1))}


def simple(name, which, seed, setting):
    """One fit of a sampler without a network, and what its samples are worth."""
    X = gaussians() if name == "25 gaussians" else pictures("digits")[0]
    model = SIMPLE[which][0](seed, **setting).fit(X.astype(np.float64))
    made = model.sample(DRAWN, random_state=seed) if which == "jittered rows" else model.sample(DRAWN)[0]
    made = np.random.default_rng(seed).permutation(made)  # scikit-learn's come component by component
    row = {"data": name, "model": which, "seed": seed, "setting": setting}
    return measured(name, made) | row | shown(name, made, seed)


def references(seeds=SEEDS):
    """What needs no network: simple samplers, tuned as the others are, real rows, and points spread evenly."""
    rows = []
    for name, which in itertools.product(("25 gaussians", "digits drawn"), SIMPLE):
        best = max(SIMPLE[which][1], key=lambda setting: simple(name, which, TUNING, setting)["worth"])
        rows += [simple(name, which, seed, best) for seed in range(seeds)]
    points, (X, T, _) = gaussians(), pictures("digits")
    draw = np.random.default_rng(0).integers(len(X), size=DRAWN)
    for name, real in (("25 gaussians", points[:DRAWN]), ("digits drawn", X[draw])):
        rows.append(measured(name, real) | {"data": name, "model": "training rows", "seed": 0} | shown(name, real, 0))
    new = {key: value for key, value in measured("digits drawn", T).items() if key in ("n", "covered", "to_train")}
    even = np.random.default_rng(0).uniform(-5, 5, size=(DRAWN, 2))
    chance = measured("25 gaussians", even) | {"data": "25 gaussians", "model": "chance", "seed": 0}
    return [*rows, new | {"data": "digits drawn", "model": "new rows", "seed": 0}, chance]


# --- all of it ---


def task(job):
    """(key, row) of one fit; a job is (key, function's name, arguments)."""
    torch.set_num_threads(1)
    key, kind, arguments = job
    return key, {"rebuilt": rebuilt, "drawn": drawn}[kind](*arguments)


def together(jobs, done, label):
    """Run what is not done, side by side, and keep each row as it comes."""
    left = [job for job in jobs if job[0] not in done]
    with multiprocessing.get_context("spawn").Pool(min(len(os.sched_getaffinity(0)), max(len(left), 1))) as pool:
        for key, row in pool.imap_unordered(task, left):
            done[key] = row
            KEPT.write_text(json.dumps({label: done}))


def run(size):
    """All tables: `LONG` or `SHORT`."""
    label = f"{source_hash()} {json.dumps(size)}"
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    done = kept.get(label, {})
    kinds = [(name, which) for name in ("25 gaussians", "digits drawn") for which in MODELS]
    which = {
        name: ("autoencoder", "autoencoder, same decoder", *map(str, steps), "learn") for name, steps in STEPS.items()
    }
    back = [
        (f"{name} {model} {seed}", "rebuilt", (name, model, seed, size[name]))
        for name in which for model in which[name] for seed in range(size["seeds"])
    ]  # fmt: skip
    tuning = [
        (f"{name} {model} tuning {i}", "drawn", (name, model, TUNING, setting, size[name]))
        for name, model in kinds for i, setting in enumerate(settings(model))
    ]  # fmt: skip
    together(tuning, done, label)
    best = {
        kind: max((done[f"{kind[0]} {kind[1]} tuning {i}"] for i in range(4)), key=lambda row: row["worth"])["setting"]
        for kind in kinds
    }
    final = [
        (f"{name} {model} {seed}", "drawn", (name, model, seed, best[name, model], size[name]))
        for name, model in kinds for seed in range(size["seeds"])
    ]  # fmt: skip
    together(final + back, done, label)
    return {
        "size": [size | {"settings": 4, "long": size == LONG}],
        "rebuilt": [done[key] for key, *_ in back],
        "drawn": [done[key] for key, *_ in final] + references(size["seeds"]),
        "tuning": [{k: v for k, v in done[key].items() if k != "points"} for key, *_ in tuning],
    }


def full():
    """The long runs, stored: an hour of one processor, five minutes of sixteen."""
    print("stored", store(NAME, run(LONG), 1).name)


def measure(repeats):
    """The long runs if they are stored, beside the simple samplers run again; else short ones, for the tables' form."""
    path = PACKAGE / "results" / f"{NAME}.json"
    stored = json.loads(path.read_text()) if path.exists() else {"size": [{"long": False}]}
    if repeats > 2 and stored["size"][0]["long"]:
        networks = [row for row in stored["drawn"] if row["model"] in MODELS]
        return {name: stored[name] for name in ("size", "rebuilt", "tuning")} | {"drawn": networks + references()}
    return run(SHORT)
