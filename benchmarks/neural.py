"""Neural autoencoders: MNIST in nine numbers, the seconds of a step and of an epoch, and, among the long runs, the
evidence of MNIST and the accuracy of neighbours among codes.

    python -m benchmarks neural          the fits of the first picture, and races
    python -m benchmarks neural --full   the long runs, side by side on all cores; what is stored is kept
    python -m benchmarks.neural evidence 0 300 2                  one of them: seed, CPU seconds, threads
    python -m benchmarks.neural neighbours MNIST VAE 3 0 170      one of them: data, model, length, seed, CPU seconds

Pictures are bytes in base64, row after row; errors are squared grey levels (0 to 1) per held-out digit.  Every fit
is kept in a file until all are done, so that a run that was stopped goes on where it was.
"""

import contextlib
import io
import itertools
import json
import logging
import math
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

import numpy as np
import torch
from gaelib import LGAE, VAE, Autoencoder, data
from gaelib.core import Amortise, ascend, objective
from gaelib.joints.network import Network, layers
from gaelib.training import adam
from sklearn.neighbors import NearestNeighbors
from torch import nn

from .garments import packed
from .harness import limited, machine, race, round_to, source_hash, store

NAME, CODE, SEEDS, SHOWN = "neural", 9, 3, 8
KEPT = Path(tempfile.gettempdir()) / "gaelib-neural.json"
OPTIONS = {"hidden": (256, 128), "max_epochs": 8}
MODELS = {
    "PCA": lambda seed: LGAE(CODE),
    "autoencoder": lambda seed: Autoencoder(CODE, random_state=seed, **OPTIONS),
    "VAE": lambda seed: VAE(CODE, random_state=seed, **OPTIONS),
}
LONG = ("evidence", "neighbours", "card")  # the tables of `full`


def images(train, load=data.mnist):
    return np.asarray(load(train)[0], dtype=np.float32).reshape(-1, 784) / 255


# --- the fits of the first picture ---


def fit(name, seed, X, T, shown):
    """One fit: its error on held-out digits, its CPU seconds, and for the first seed its pictures."""
    start = time.process_time()
    model = MODELS[name](seed).fit(X)
    row = {"name": name, "seed": seed, "cpu_seconds": round_to(time.process_time() - start)}
    back = np.asarray(model.inverse_transform(model.transform(T)))
    row["error"] = round_to(((T - back) ** 2).sum(1).mean(), 4)
    if name == "VAE":
        row["score"], row["variance"] = round_to(model.score(T[:2000]), 5), round_to(model.variance_, 4)
    if seed == 0:
        row["pictures"] = packed(back[shown])
        if name == "VAE":
            row["samples"] = packed(np.asarray(model.sample(SHOWN, random_state=0, noise=False)))
    return row


# --- races ---


def forward(vae, x, encoder, decoder):
    """The loss as one writes it in plain torch: half the squared error and, of a VAE, the KL."""
    out = encoder(x)
    if not vae:
        return (0.5 * (decoder(out) - x).square().sum(1)).mean()
    mean, log_scale = out.chunk(2, 1)
    z = mean + log_scale.exp() * torch.randn_like(mean)
    kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 2 * log_scale - 1).sum(1)
    return (0.5 * (decoder(z) - x).square().sum(1) + kl).mean()


def networks(vae):
    sizes = 784, *OPTIONS["hidden"]
    return layers(*sizes, CODE * (2 if vae else 1)), layers(CODE, *reversed(sizes))


def shuffled(X, size):
    for rows in torch.randperm(len(X))[: len(X) // size * size].split(size):
        yield X[rows]


def plain_epoch(vae, X, size, optimiser=torch.optim.Adam, lr=1e-3):
    """One epoch of the plain loop, to be called again and again; and its networks."""
    encoder, decoder = both = networks(vae)
    mover = optimiser([*encoder.parameters(), *decoder.parameters()], lr=lr)

    def epoch():
        for x in shuffled(X, size):
            mover.zero_grad()
            loss = forward(vae, x, *both)
            loss.backward()
            mover.step()

    return epoch, both


def our_epoch(vae, X, size):
    """The same epoch by the core: the same networks, optimiser and rows as they are, and sigma^2 = 1."""
    encoder, decoder = networks(vae)
    joint = Network(decoder, encoder, variance=1.0, prior="normal" if vae else "flat")
    answer = Amortise((lambda x: joint.encode(x).chunk(2, 1)) if vae else joint.encode, float(vae))
    params = [part for part in joint.parameters() if part.requires_grad]
    mover = adam(params, 1e-3)  # goes on from epoch to epoch, as in the plain loop

    def epoch():
        def f(x):
            return objective(joint, x, answer).mean()

        ascend(f, params, len(X) // size, 1e-3, lambda params, lr: mover, batches=shuffled(X, size))

    return epoch


def pythae_epoch(vae, X, size):
    """The same epoch by pythae's pipeline, its printing left out."""
    from pythae.models import AE, AEConfig, VAEConfig
    from pythae.models import VAE as PythaeVAE
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig

    first, second = networks(vae)

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = first

        def forward(self, x):
            out = self.net(x)
            if not vae:
                return ModelOutput(embedding=out)
            mean, log_scale = out.chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=2 * log_scale)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = second

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z))

    config, kind = (VAEConfig, PythaeVAE) if vae else (AEConfig, AE)
    model, rows = kind(config(input_dim=(784,), latent_dim=CODE), Encoder(), Decoder()), X.numpy()

    def epoch():
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            options = {"num_epochs": 1, "learning_rate": 1e-3, "per_device_train_batch_size": size, "no_cuda": True}
            TrainingPipeline(model, BaseTrainerConfig(output_dir=folder, **options))(train_data=rows)

    return epoch


def steps(repeats):
    """An epoch of 10,000 digits in batches of 100 on one thread: ours, plain torch with the same optimiser, pythae."""
    X, table = torch.tensor(images(True)[:10000]), []
    logging.disable(logging.CRITICAL)
    with limited(1):
        for vae in (False, True):
            contestants = {
                "gaelib": our_epoch(vae, X, 100),
                "plain torch": plain_epoch(vae, X, 100, adam)[0],
                "plain torch, its default Adam": plain_epoch(vae, X, 100)[0],
            }
            with contextlib.suppress(ImportError):
                contestants["pythae"] = pythae_epoch(vae, X, 100)
            table.append({"model": "VAE" if vae else "autoencoder", **race(contestants, repeats)})
    logging.disable(logging.NOTSET)
    return table


def epochs(X, T):
    """The defaults against the plain loop, eight epochs each on one thread: CPU seconds an epoch, and held-out error."""
    table, rows = [], torch.tensor(X)
    with limited(1):
        for seed in range(SEEDS):
            for name, precision in (("gaelib", "auto"), ("gaelib, float32", "float32")):
                start = time.process_time()
                model = Autoencoder(CODE, precision=precision, random_state=seed, **OPTIONS).fit(X)
                seconds = time.process_time() - start
                back = np.asarray(model.inverse_transform(model.transform(T)))
                table.append(epoch_row(name, seed, seconds, T - back))
            torch.manual_seed(seed)
            epoch, (encoder, decoder) = plain_epoch(False, rows, 100)
            start = time.process_time()
            for _ in range(OPTIONS["max_epochs"]):
                epoch()
            seconds = time.process_time() - start
            with torch.no_grad():
                table.append(epoch_row("plain torch", seed, seconds, T - decoder(encoder(torch.tensor(T))).numpy()))
    return table


def epoch_row(name, seed, seconds, left):
    seconds = round_to(seconds / OPTIONS["max_epochs"])
    return {"name": name, "seed": seed, "seconds an epoch": seconds, "error": round_to((left**2).sum(1).mean(), 4)}


# --- long runs ---


def epochs_within(seconds, make, X):
    """As many epochs as so many CPU seconds hold, by the time of one, which counts the set-up as well."""
    make(max_epochs=1).fit(X[:4096])  # what is paid once
    start = time.process_time()
    make(max_epochs=1).fit(X)
    return max(1, int(seconds / (time.process_time() - start)))


def bits(X, n):
    """Every pixel black or white, by its grey as the probability: the same n digits in every run."""
    return torch.bernoulli(torch.tensor(X), generator=torch.Generator().manual_seed(0))[:n]


def evidence(seed, seconds, threads, device="cpu", count=None, n=60000):
    """784-200-200-50 on bits drawn anew at every step; the bound of 500 draws on all test digits, drawn once."""
    X, T = images(True)[:n], bits(images(False), n // 6)

    def make(max_epochs):
        torch.manual_seed(seed)
        encoder = layers(784, 200, 200, 2 * 50)
        encoder[-1].weight.data[50:] *= 0.1  # at first all answers are as wide
        options = {"hidden": (200, 200), "noise": "bernoulli", "binarise": True, "batch_size": 256, "lr": 2e-3}
        options |= {"encoder": encoder}
        options |= {"validation": 1 / 60, "patience": 10**6, "device": device, "random_state": seed}
        return VAE(50, max_epochs=max_epochs, **options)

    with limited(threads):
        count = count or epochs_within(0.97 * seconds, make, X)
        start, wall = time.process_time(), time.perf_counter()
        model = make(count).fit(X)
        spent = {"cpu_seconds": time.process_time() - start, "wall_seconds": time.perf_counter() - wall}
        model.set_params(device="auto")  # the test may use a card
        bounds = {str(k): model.set_params(score_draws=k).score(T) for k in (1, 50, 500)}
    every = max(1, math.ceil(count / 60))
    return {
        "seed": seed, "budget": seconds, "threads": threads, "device": device, "epochs": count,
        **{name: round_to(value) for name, value in spent.items()}, "digits": len(T),
        **{f"bound of {k}": round_to(value, 5) for k, value in bounds.items()},
        "every": every, "curve": [round_to(value, 5) for value in model.history_[every - 1 :: every]],
    }  # fmt: skip


def tower(*sizes):
    """Linear layers with batch normalisation and ReLU between two: those of Fournier and Aloise (2019)."""
    parts = []
    for into, out in itertools.pairwise(sizes):
        parts += [nn.Linear(into, out), nn.BatchNorm1d(out), nn.ReLU()]
    return nn.Sequential(*parts[:-2])


class Ink(nn.Module):
    """Their last layer, a sigmoid, in the units of a decoder here: from the mean picture, in standard deviations."""

    def __init__(self, X):
        super().__init__()
        self.register_buffer("centre", torch.tensor(X.mean(0)))
        self.scale = float((X - X.mean(0)).std())

    def forward(self, out):
        return (out.sigmoid() - self.centre) / self.scale


SETS = {"MNIST": data.mnist, "Fashion-MNIST": data.fashion_mnist}
COUNTS = (1, 3, 5, 7, 9, 13, 17, 25, 35, 50, 75, 100, 150)  # of neighbours
LATER = (*COUNTS, 200, 244)  # up to the square root of 60,000, less one: as far as Fournier and Aloise searched


def neighbours(name, kind, d, seed, seconds, n=60000):
    """Their networks and batches of 100; the share of test pictures that the nearest codes name right.

    The number of neighbours is chosen on a tenth of the training codes, left out; ``least`` and ``most`` are the shares
    of the worst and the best number, which nobody can know without the names of the test pictures.
    """
    X, T = images(True, SETS[name])[:n], images(False, SETS[name])[: n // 6]
    y, t = (np.asarray(SETS[name](train)[1]) for train in (True, False))

    def make(max_epochs):
        torch.manual_seed(seed)
        halves = 2 if kind == "VAE" else 1
        decoder = nn.Sequential(*tower(d, 98, 196, 392, 784), Ink(X))
        nets = {"encoder": tower(784, 392, 196, 98, d * halves), "decoder": decoder}
        options = {"max_epochs": max_epochs, "batch_size": 100, "validation": 0, "device": "cpu", "random_state": seed}
        if kind == "VAE":
            return VAE(d, variance=1 / (2 * d), **nets, **options)
        return Autoencoder(d, **nets, **options)

    with limited(1):
        count = 1 if kind == "PCA" else epochs_within(0.97 * seconds, make, X)
        start = time.process_time()
        model = (LGAE(d) if kind == "PCA" else make(count)).fit(X)
        spent = time.process_time() - start
        Z, new = (np.asarray(model.transform(x)) for x in (X, T))
        left = T - np.asarray(model.inverse_transform(new))
        m = n // 10
        best = int(np.argmax(accuracies(Z[m:], y[m:n], Z[:m], y[:m], LATER)))
        rates = accuracies(Z, y[:n], new, t[: len(T)], LATER)
    return {
        "data": name, "model": kind, "d": d, "seed": seed, "epochs": count, "cpu_seconds": round_to(spent),
        "end": "none" if kind == "PCA" else "sigmoid", "k": LATER[best], "accuracy": round_to(rates[best], 4),
        "least": round_to(min(rates), 4), "most": round_to(max(rates), 4), "error": round_to((left**2).mean(), 3),
    }  # fmt: skip


def accuracies(Z, y, new, t, counts=COUNTS):
    """For each of the counts, the share that a vote of so many nearest codes names right."""
    near = NearestNeighbors(n_neighbors=max(counts)).fit(Z).kneighbors(new, return_distance=False)
    votes = [(y[near[:, :k], None] == np.arange(10)).sum(1).argmax(1) for k in counts]
    return [float((vote == t).mean()) for vote in votes]


def card(device, count):
    """The same epochs on a card and on a CPU: the seconds of an epoch, and the same bound."""
    return evidence(0, 0, 2, device, count) if torch.cuda.is_available() else None


def jobs(small):
    """(threads, seconds that it may take, table, function, arguments), the most wanted first."""
    if small:
        yield 1, 9, "evidence", evidence, (0, 2, 1, "cpu", None, 3000)
        yield 1, 9, "neighbours", neighbours, ("MNIST", "VAE", 3, 0, 2, 3000)
        return
    yield 4, 190, "evidence", evidence, (0, 600, 4)
    yield 2, 190, "evidence", evidence, (0, 300, 2)
    yield 2, 190, "evidence", evidence, (1, 300, 2)
    yield 2, 150, "card", card, ("cuda", 100)
    yield 2, 150, "card", card, ("cpu", 100)
    for seed in range(2):
        for d, seconds in ((3, 170), (9, 85), (19, 85)):
            for name in SETS:
                for kind in ("autoencoder", "VAE"):
                    yield 1, seconds + 30, "neighbours", neighbours, (name, kind, d, seed, seconds)
        for d, name in itertools.product((3, 9, 19) if seed == 0 else (), SETS):
            yield 1, 30, "neighbours", neighbours, (name, "PCA", d, 0, 0)


def labelled(function, arguments):
    """One run, and what it ran on."""
    row, here = function(*arguments), machine()
    return row and row | {"processor": here["processor"], "gpu": here["gpu"], "source": source_hash()}


def full(small=False, wall=280):
    """The long runs side by side, one thread to a core, as many as fit into so many seconds; stored one by one."""
    begun, free, waiting, running = time.monotonic(), len(os.sched_getaffinity(0)), list(jobs(small)), {}
    with ProcessPoolExecutor(free, multiprocessing.get_context("spawn")) as pool:
        while waiting or running:
            left = wall - (time.monotonic() - begun)
            waiting = [job for job in waiting if job[1] <= left]
            for job in [job for job in waiting if job[0] <= free]:
                if job[0] <= free:
                    waiting.remove(job)
                    free -= job[0]
                    running[pool.submit(labelled, *job[3:])] = job
            done = wait(running, 5, FIRST_COMPLETED).done
            for future in done:
                threads, _, table, *_ = running.pop(future)
                free += threads
                if future.result() is not None:
                    keep(table, future.result(), small)


def keep(table, row, small):
    """Store a row of a long run in place of the one of the same run."""
    print(table, {name: value for name, value in row.items() if name != "curve"}, flush=True)
    if small:
        return
    stored = data.results(NAME)
    same = [name for name in ("data", "model", "d", "end", "seed", "budget", "device") if name in row]
    rows = [old for old in stored.get(table, []) if any(old[name] != row[name] for name in same)] + [row]
    rows.sort(key=lambda row: [str(row[name]) for name in same])
    store(NAME, stored | {table: rows}, stored["repeats"])  # the other tables and their machine stay


def measure(repeats):
    """Every model, three seeds, and the races; the long runs stay."""
    X, T, digit = images(True), images(False), data.mnist(False)[1]
    shown = [int(np.flatnonzero(digit == k)[0]) for k in range(SHOWN)]
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    done = kept.get(source_hash(), {})
    for name in MODELS:
        for seed in range(1 if name == "PCA" else SEEDS):
            if f"{name} {seed}" not in done:
                done[f"{name} {seed}"] = fit(name, seed, X, T, shown)
                KEPT.write_text(json.dumps({source_hash(): done}))
    spectrum = np.linalg.eigvalsh(np.cov(X.T.astype(np.float64), bias=True))[::-1]
    KEPT.unlink()
    return {
        "fits": list(done.values()),
        "pictures": [{"name": "digit", "pictures": packed(T[shown])}],
        "spectrum": [{"name": "eigenvalues", "values": [round_to(value, 5) for value in spectrum[:60]]}],
        "total": [{"name": "variance", "value": round_to(spectrum.sum(), 5)}],
        "steps": steps(3 * repeats),
        "epochs": epochs(X, T),
    } | {name: rows for name, rows in data.results(NAME).items() if name in LONG}


if __name__ == "__main__":  # one run: evidence SEED SECONDS THREADS, or neighbours DATA MODEL D SEED SECONDS
    if sys.argv[1:2] == ["evidence"]:
        keep("evidence", labelled(evidence, map(int, sys.argv[2:])), False)
    elif sys.argv[1:2] == ["neighbours"]:
        keep("neighbours", labelled(neighbours, [*sys.argv[2:4], *map(int, sys.argv[4:])]), False)
    else:
        full(small="--quick" in sys.argv)
