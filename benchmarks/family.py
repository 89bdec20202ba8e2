"""The whole family at one table: what each model's code is worth, at what error, in which time and memory.

    python -m benchmarks family                 what the kept file lacks of the three tables, then all of them stored
    python -m benchmarks.family run 12 540 590  12 cells at once; after 540 seconds none begins, after 590 all stop
    python -m benchmarks.family run 2 60 90 digits  of one set of rows
    python -m benchmarks.family store [FILES]   the tables, from what kept files have by now

Three tables: *cells*; *paper*, the published protocol on all 60,000 rows; *again*, a random tenth of the cells a second
time.  A cell is one fit: data, model, length d of the code, seed.  The seed draws the rows, the split and the start.
Every cell has a process of its own and one thread; it is kept until its model's source, or this file's first part,
changes, and it belongs to one processor: rows of another than most say so.
"""

import contextlib
import copy
import functools
import hashlib
import inspect
import itertools
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch
from gaelib import (
    GGAE,
    GLO,
    LGAE,
    LLGAE,
    MPPCA,
    NMF,
    PPCA,
    TSNE,
    VAE,
    AttentionAutoencoder,
    Autoencoder,
    ContractiveAutoencoder,
    DenoisingAutoencoder,
    GaussianMixture,
    GradientOrigin,
    KMeans,
    LocallyLinearEmbedding,
    Memory,
    SparseCoding,
    data,
)
from gaelib.training import multiplies_bfloat16
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import Isomap
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .harness import limited, machine, round_to, store
from .neural import COUNTS, Ink, accuracies, images, neighbours, tower
from .samples import precision_and_coverage

NAME, SEEDS = "family", 3
LENGTHS = (1, 3, 5, 9, 19, 29, 39)
SETS = {"MNIST": data.mnist, "Fashion-MNIST": data.fashion_mnist}  # 10,000 rows to learn from and 5,000 to test
SECONDS = {"MNIST": 4.0, "Fashion-MNIST": 4.0, "digits": 0.6, "breast cancer": 0.3}  # CPU, of a fit that has a clock
GROUPS, KERNELS, SLOTS = 10, 40, 64
FEW = 1000  # test rows for what is costly: nats, samples, blurred codes
BLUR = 1.05  # bits are counted where a blurred code makes the error so many times as large


def tick():
    """The step of the CPU clock, s."""
    start = time.process_time()
    while (now := time.process_time()) == start:
        pass
    return now - start


# some systems count CPU time in steps of a hundredth of a second, longer than many a fit: there it is wall time
clock = time.process_time if tick() < 1e-3 else time.perf_counter


# --- the models ---


def rows(name, seed):
    """Train and test, (X, y, T, t); pixels from 0 to 1, columns of a table in units of their standard deviation."""
    draw = np.random.default_rng(seed)
    if name in SETS:
        i, j = draw.permutation(60000)[:10000], draw.permutation(10000)[:5000]
        (y, t) = (np.asarray(SETS[name](train)[1]) for train in (True, False))
        return pictures(name, True)[i], y[i], pictures(name, False)[j], t[j]
    X, y = data.digits() if name == "digits" else load_breast_cancer(return_X_y=True)
    order = draw.permutation(len(X))
    i, j = np.split(order, [4 * len(X) // 5])
    X = X / (16 if name == "digits" else X[i].std(0))
    return X[i].astype(np.float32), y[i], X[j].astype(np.float32), y[j]


@functools.cache
def pictures(name, train):
    return images(train, SETS[name])


def flats(model):
    """A code of d numbers whose first is the name of one of 10 flats, the others a place on it."""

    def make(d, seed, steps, big):
        if d == 1 and model is MPPCA:
            return GaussianMixture(GROUPS, max_iter=steps, random_state=seed)
        return model(GROUPS, d - 1, max_iter=steps, random_state=seed)

    return make


def network(model, **options):
    """One size of hidden layers and of batches for all."""

    def make(d, seed, steps, big):
        own = {name: value(d) if callable(value) else value for name, value in options.items()}
        hidden = (256, 128) if big else (64, 32)
        return model(d, hidden=hidden, batch_size=128 if big else 32, max_epochs=steps, random_state=seed, **own)

    return make


# model -> (length, seed, steps, whether rows are large pictures) -> estimator
MODELS = {
    "PCA": lambda d, seed, steps, big: LGAE(d),
    "PPCA": lambda d, seed, steps, big: PPCA(d),
    "KMeans": lambda d, seed, steps, big: KMeans(d + 1, random_state=seed),
    "LLGAE": flats(LLGAE),
    "NMF": lambda d, seed, steps, big: NMF(d, random_state=seed),
    "SparseCoding": lambda d, seed, steps, big: SparseCoding(d, alpha=0.2, random_state=seed),
    "MPPCA": flats(MPPCA),
    "GGAE": lambda d, seed, steps, big: GGAE(KERNELS, d, max_iter=steps, random_state=seed),
    "AttentionAutoencoder": lambda d, seed, steps, big: AttentionAutoencoder(
        d, n_heads=1, n_slots=SLOTS, max_iter=steps, random_state=seed
    ),
    "Autoencoder": network(Autoencoder),
    "DenoisingAutoencoder": network(DenoisingAutoencoder),
    "ContractiveAutoencoder": network(ContractiveAutoencoder),
    "VAE": network(VAE),
    "VAE, fixed noise": network(VAE, variance=lambda d: 1 / (2 * d)),
    "GradientOrigin": network(GradientOrigin),
    "GLO": network(GLO, restarts=1),
    "Memory": lambda d, seed, steps, big: Memory(),
    "Isomap": lambda d, seed, steps, big: Isomap(n_neighbors=10, n_components=d),
    "LocallyLinearEmbedding": lambda d, seed, steps, big: LocallyLinearEmbedding(10, d),
    "TSNE": lambda d, seed, steps, big: TSNE(d, random_state=seed),
}
CLOCKED = {"LLGAE": 2, "MPPCA": 2, "GGAE": 2, "AttentionAutoencoder": 20}  # steps of a trial, by which a clock is set
CLOCKED |= {name: 1 for name in MODELS if hasattr(MODELS[name](1, 0, 1, True), "max_epochs")}
NESTED = ("Isomap", "LocallyLinearEmbedding")  # the first of the longest code's numbers are the shorter codes
ALONE = {"Memory": 0, "TSNE": 2}  # models that have one length only
MAPS = ("LocallyLinearEmbedding", "TSNE")  # no code of a new row: test rows are mapped among the others, without names


def steps_within(seconds, name, make, X):
    """Steps that fit into so many CPU seconds, by the difference of two trials on at most 2,000 rows."""
    few, taken = X[:2000], []
    for steps in (CLOCKED[name], 3 * CLOCKED[name]):
        start = clock()
        make(steps).fit(few)
        taken.append(clock() - start)
    one = max(taken[1] - taken[0], 1e-4) / (2 * CLOCKED[name])
    one *= 1 if name == "AttentionAutoencoder" else len(X) / len(few)  # its step is a batch
    return max(CLOCKED[name], int(seconds / one))


def fitted(name, d, seed, seconds, X, big):
    """A model, its CPU seconds, the rise of the peak of resident memory in MB, and its steps."""
    make = functools.partial(MODELS[name], d, seed, big=big)
    make(steps=1).fit(X[:400])  # what is paid once
    steps = steps_within(seconds, name, lambda steps: make(steps=steps), X) if name in CLOCKED else 300
    model, before = make(steps=steps), resident()
    start = clock()
    model.fit(X)
    taken = clock() - start
    done = getattr(model, "n_iter_", 0)
    return model, taken, max(0.0, resident(peak=True) - before), int(np.max(done))


def resident(peak=False):
    """This process's resident memory, or its peak since the last call without ``peak``: MB.

    Where the system does not let a process reset its peak, it is the peak of all the process did.
    """
    if peak:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


# --- the measures ---


def named(Z, y, N, t):
    """Accuracy of the k nearest codes, k by the vote on a tenth left out (at most 1,000); and of a linear probe."""
    m = min(len(Z) // 10, 1000)
    k = int(np.argmax(accuracies(Z[m:], y[m:], Z[:m], y[:m])))
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(Z, y)
    return {"accuracy": accuracies(Z, y, N, t)[k], "k": COUNTS[k], "probe": probe.score(N, t)}


def entropy(names):
    shares = np.bincount(names) / len(names)
    return float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())


def places(codes):
    """Names and numbers of codes in blocks r_k [u_k, 1]: the likeliest block, (n,), and its u, (n, p)."""
    blocks = codes.reshape(len(codes), GROUPS, -1)
    k = blocks[:, :, -1].argmax(1)
    own = blocks[np.arange(len(k)), k]
    return k, own[:, :-1] / own[:, -1:]


def whole(k, u):
    """The inverse of `places`."""
    blocks = np.zeros((len(k), GROUPS, u.shape[1] + 1), u.dtype)
    blocks[np.arange(len(k)), k] = np.c_[u, np.ones(len(k), u.dtype)]
    return blocks.reshape(len(k), -1)


def bits(decode, names, numbers, new_names, new_numbers, T):
    """What a code carries at its error: H(name) + sum_k share_k / 2 log2 det(I + C_k / s^2).

    C_k is the covariance of the numbers of the training rows called k.  Noise N(0, s^2) on every number of the test
    rows' codes makes their error 5 % larger: what is finer than s is not needed.  A bound from above: no code with
    this covariance carries more through this noise.
    """
    if not numbers.shape[1]:
        return entropy(names)
    noise = np.random.default_rng(0).normal(size=new_numbers.shape).astype(new_numbers.dtype)

    def error(s):
        return float(np.square(decode(new_names, new_numbers + s * noise) - T).mean())

    wanted, spread = BLUR * error(0), float(numbers.std(0).max())
    low, high = 1e-5 * spread, 10 * spread
    for _ in range(16):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if error(middle) < wanted else (low, middle)
    total = entropy(names)
    for k in np.unique(names):
        own = numbers[names == k].astype(np.float64)
        spectrum = np.linalg.eigvalsh(np.atleast_2d(np.cov(own.T, bias=True)) if len(own) > 1 else np.zeros((1, 1)))
        total += len(own) / len(names) * 0.5 * np.log2(1 + spectrum.clip(min=0) / low**2).sum()
    return float(total)


def coded(model, X, T):
    """Codes of both, CPU seconds for 1,000 new rows, and how many of the new ones were coded."""
    m = FEW if isinstance(model, GLO) else len(T)  # who climbs for every new row does so for 1,000
    start = clock()
    N = np.asarray(model.transform(T[:m]))
    taken = clock() - start
    Z = model.codes_ if isinstance(model, GLO) else model.transform(X)
    return np.asarray(Z), N, 1000 * taken / m


def carried(model, Z, N, T):
    """`bits` of a model's code, by what its code is made of."""
    if isinstance(model, (KMeans, MPPCA, GaussianMixture)):
        if not getattr(model, "n_components", 0):
            return entropy(Z.argmax(1))
        return bits(lambda k, u: model.inverse_transform(whole(k, u)), *places(Z), *places(N[:FEW]), T[:FEW])
    one = np.zeros(len(Z), int)
    return bits(lambda _, z: model.inverse_transform(z), one, Z, one[:FEW], N[:FEW], T[:FEW])


def drawn(model, seed, T):
    """Samples without the noise that the model would lay upon them, beside as many test rows."""
    real, model = T[:FEW], copy.deepcopy(model)
    if isinstance(model, (PPCA, MPPCA, GaussianMixture)):
        model.joint_.variance.zero_()
    bare = {"noise": False} if isinstance(model, (VAE, GLO, GradientOrigin)) else {}
    made = np.asarray(model.sample(len(real), random_state=seed, **bare))
    if isinstance(model, DenoisingAutoencoder):  # a chain ends with noise, or runs away: denoise once more
        made = model.inverse_transform(model.transform(made.clip(-1e6, 1e6)))
    precision, coverage = precision_and_coverage(made, real)
    return {"precision": precision, "coverage": coverage}


def cell(name, kind, d, seed, seconds):
    """One fit and all its measures: a list of rows, one for each length that it answers for."""
    warnings.filterwarnings("ignore")
    X, y, T, t = rows(name, seed)
    big, key = name in SETS, {"data": name, "model": kind, "seed": seed, "seconds": seconds}
    if big and kind in MAPS:
        T, t = T[:2000], t[:2000]
    if big and kind == "Isomap":
        X, y = X[:5000], y[:5000]
    seen = np.concatenate([X, T]) if kind in MAPS else X
    with limited(1):
        model, fit, memory, steps = fitted(kind, d, seed, seconds, seen, big)
        row = key | {"d": d, "fit": fit, "memory": memory, "steps": steps}
        if kind in MAPS:
            Z, N = model.embedding_[: len(X)], model.embedding_[len(X) :]
        elif kind == "Memory":
            return [row | remembered(model, X, y, T, t)]
        else:
            Z, N, row["encode"] = coded(model, X, T)
        if kind in NESTED:
            lengths = [length for length in LENGTHS if length <= d]
            return [row | {"d": p} | named(Z[:, :p], y, N[:, :p], t) for p in lengths]
        row |= named(Z, y, N, t[: len(N)])
        if hasattr(model, "inverse_transform"):
            row["error"] = np.square(np.asarray(model.inverse_transform(N)) - T[: len(N)]).mean()
            row["bits"] = carried(model, Z, N, T)
        if kind in ("PPCA", "MPPCA") or isinstance(model, VAE):
            row["nats"] = model.score(T[:FEW])
        if hasattr(model, "sample"):
            row |= drawn(model, seed, T)
        if hasattr(model, "joint_"):
            row["numbers"] = sum(part.numel() for part in model.joint_.state_dict().values())
    return [row]


def remembered(model, X, y, T, t):
    """A stored row stands for a new one: its name, and its distance."""
    start = clock()
    found = model.predict(T)
    encode = 1000 * (clock() - start) / len(T)
    return {
        "encode": encode, "accuracy": (y[found] == t).mean(), "k": 1, "error": np.square(X[found] - T).mean(),
        "bits": math.log2(len(X)), "numbers": X.size,
    }  # fmt: skip


# --- the run ---

KEPT = Path(tempfile.gettempdir()) / "gaelib-family.jsonl"
FIRST = Path(__file__).read_text(encoding="utf-8").split("# --- the run")[0]
CHEAP = ("PCA", "PPCA", "KMeans", "LLGAE", "NMF", "SparseCoding", "Memory")
RACED = ("Autoencoder", "VAE", "DenoisingAutoencoder", "AttentionAutoencoder")  # at other clocks, digits, d = 9
CLOCKS = (0.15, 2.4)


def cells():
    """(data, model, d, seed, seconds) of every cell, the most wanted first, some more than once."""
    seeds, rest = range(SEEDS), [kind for kind in MODELS if kind not in CHEAP and kind not in MAPS]
    large = (*CHEAP, *rest)
    for name, d in (
        ("digits", 9),
        ("MNIST", 9),
        ("breast cancer", 9),
        ("Fashion-MNIST", 9),
        ("digits", 3),
    ):
        yield from each(name, large if name in SETS else MODELS, (d,), seeds)
    for seed, seconds, kind in itertools.product(seeds, CLOCKS, RACED):
        yield "digits", kind, 9, seed, seconds
    for name, d in (("digits", 1), ("breast cancer", 1), ("breast cancer", 3), ("digits", 19), ("breast cancer", 19)):
        yield from each(name, MODELS, (d,), seeds)
    for name in SETS:
        yield from each(name, CHEAP, LENGTHS, seeds)
    for d, name in itertools.product((19, 3), SETS):
        yield from each(name, rest, (d,), seeds)
    for name in SECONDS:
        yield from each(name, MODELS, LENGTHS, seeds)


def each(name, kinds, lengths, seeds):
    """Cells of a block; a model of one length has one, and no code is longer than a row."""
    longest = {"digits": 64, "breast cancer": 30}.get(name, 784)
    possible = [d for d in LENGTHS if d < longest]
    for seed, kind in itertools.product(seeds, kinds):
        own = ALONE.get(kind, possible[-1])
        for d in [own] if kind in ALONE or kind in NESTED else [d for d in lengths if d in possible]:
            yield name, kind, d, seed, SECONDS[name]


def published():
    """The same of every cell by the protocol of Fournier and Aloise: longer codes, where all are compared, first."""
    for seed, name, d in itertools.product(range(2), SETS, reversed(LENGTHS)):
        if seed == 0 or d >= 9:
            yield from ((name, kind, d, seed, 90 if d >= 9 else 60) for kind in ("autoencoder", "VAE"))
        if seed == 0:
            yield name, "PCA", d, 0, 0


def jobs():
    """(table, *cell) of all that is wanted: the longest, where all are compared, then the most wanted first.

    Of every ten cells in this order one, drawn at random, comes a second time.
    """
    every, paper, draw = list(dict.fromkeys(cells())), list(published()), np.random.default_rng(1)
    first = [cell for cell in paper if cell[3] == 0 and cell[2] >= 9]
    yield from (("paper", *cell) for cell in first)
    for i in range(0, len(every), 10):
        ten = every[i : i + 10]
        yield from (("cells", *cell) for cell in ten)
        yield "again", *ten[draw.integers(len(ten))]
    yield from (("paper", *cell) for cell in paper if cell not in first)


def asked(table, *job):
    return [neighbours(*job)] if table == "paper" else cell(*job)


@functools.cache
def version(table, kind):
    """Of what a cell's figures depend on here: what measures them, and the model's own source."""
    parts = [inspect.getsource(part) for part in (neighbours, tower, Ink, accuracies)] if table == "paper" else [FIRST]
    made = MODELS[{"autoencoder": "Autoencoder"}.get(kind, kind)](1, 0, 1, True)
    if type(made).__module__.startswith("gaelib"):  # a rival's version stands beside the machine
        parts.append(inspect.getsource(inspect.getmodule(type(made))))
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]


def kept(*paths, processor=None, stale=False):
    """(table, *cell) -> its rows, of this version unless ``stale``; and the machine that most were run on.

    Of a cell that was run on two processors that machine's rows count; rows of another name its ``processor``.  With
    ``processor`` the rows of that one alone.
    """
    text = [path.read_text().rpartition("\n")[0] for path in paths if path.exists()]  # a copy may end within a line
    lines = [json.loads(line) for part in text for line in part.splitlines()]
    counts = Counter(line["machine"]["processor"] for line in lines)
    main = processor or max(counts, key=counts.get, default=None)
    found, where = {}, machine()
    for line in sorted(lines, key=lambda line: line["machine"]["processor"] == main):
        (table, _, kind, *_), name = line["job"], line["machine"]["processor"]
        if (name == main or not processor) and (stale or line["version"] == version(table, kind)):
            mark = {} if name == main else {"processor": name}
            found[tuple(line["job"])], where = [row | mark for row in line["rows"]], line["machine"]
    return found, where


def attempt(job, pipe):
    """In a process of its own: the rows of a job, or None, are sent to the one that waits."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the clock is a processor core's
    try:
        pipe.send([{name: rounded(value) for name, value in row.items()} for row in asked(*job)])
    except Exception:  # one cell must not stop the others
        traceback.print_exc()
        pipe.send(None)


def rounded(value):
    return value if isinstance(value, (str, int)) else round_to(float(value), 4)


def beside(wanted, count, begin=math.inf, end=math.inf):
    """(job, its rows), ``count`` at once, each in a process forked for it.

    After ``begin`` seconds none begins; what runs after ``end`` seconds is stopped.  A process that dies has no rows.
    """
    fork, started, wanted, running = multiprocessing.get_context("fork"), time.monotonic(), iter(wanted), {}
    while True:
        while len(running) < count and time.monotonic() - started < begin and (job := next(wanted, None)):
            here, there = fork.Pipe(duplex=False)
            process = fork.Process(target=attempt, args=(job, there), daemon=True)
            process.start()
            there.close()  # so that the other end closes with the process
            running[here] = job, process
        if not running:
            return
        left = None if end == math.inf else max(0, end - (time.monotonic() - started))
        ready = wait(running, left)
        if not ready:
            begin, end = 0, math.inf
            for _, process in running.values():
                process.kill()
        for here in ready:
            job, process = running.pop(here)
            try:
                rows = here.recv()
            except EOFError:
                rows = None
            process.join()
            yield job, rows


def run(wanted, path=KEPT, count=1, begin=math.inf, end=math.inf):
    """What this processor has not kept yet, so many at once; none begins, and all end, after so many seconds."""
    halves = multiplies_bfloat16(torch.device("cpu"))  # what networks then do
    here = machine() | {"threads": 1, "at once": count, "bfloat16": halves, "clock": clock.__name__}
    done, _ = kept(path, processor=here["processor"])
    waiting = [job for job in wanted if job not in done]
    for name in {job[1] for job in waiting} & set(SETS):
        for train in (True, False):
            pictures(name, train)  # once, for all
    with path.open("a") as file:
        for job, rows in beside(waiting, count, begin, end):
            if rows is None:
                print("nothing of", *job, flush=True)
                continue
            line = {"job": job, "version": version(job[0], job[2]), "machine": here, "rows": rows}
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(*job, {name: rows[0].get(name) for name in ("accuracy", "error", "fit", "steps")}, flush=True)
    return kept(path, processor=here["processor"])[0]


MEASURES = (
    "accuracy", "k", "probe", "error", "bits", "nats", "precision", "coverage", "fit", "encode", "memory", "numbers",
    "steps",
)  # fmt: skip


def table(done):
    """A row for each data, model, length and clock; every measure a list over the seeds.

    A row of another ``processor`` than most names it, or says that its seeds ran on two.
    """
    groups = {}
    for row in itertools.chain(*(rows for (kind, *_), rows in done.items() if kind == "cells")):
        key = tuple(row[name] for name in ("data", "model", "d", "seconds"))
        groups.setdefault(key, []).append(row)
    found = []
    for (name, kind, d, seconds), rows in sorted(groups.items(), key=place):
        rows.sort(key=lambda row: row["seed"])
        lists = {m: [row[m] for row in rows] for m in MEASURES if all(row.get(m) is not None for row in rows)}
        seeds, places = [row["seed"] for row in rows], {row.get("processor") for row in rows}
        mark = {} if places == {None} else {"processor": places.pop() if len(places) == 1 else "two"}
        found.append({"data": name, "model": kind, "d": d, "seconds": seconds, "seeds": seeds} | mark | lists)
    return found


def place(item):
    name, kind, d, seconds = item[0]
    return list(SECONDS).index(name), list(MODELS).index(kind), d, seconds


def again(done):
    """Cells that were run twice on one processor: what was, what is, and the seeds' standard deviation."""
    names = ("data", "model", "d", "seconds")
    first, second = ({}, {})
    for (kind, *_), rows in done.items():
        if kind != "paper":
            into = first if kind == "cells" else second
            into |= {tuple(row[name] for name in (*names, "seed")): row for row in rows}
    spread = {tuple(row[name] for name in names): row for row in table(done)}
    found = []
    for key, row in second.items():
        was = first.get(key, {})
        for measure in ("accuracy", "probe", "error"):
            seen = spread[key[:-1]].get(measure, []) if was else []
            if len(seen) > 1 and row.get("processor") == was.get("processor"):
                sd = round_to(float(np.std(seen, ddof=1)), 3)
                found.append(
                    dict(zip((*names, "seed"), key), measure=measure, was=was[measure], **{"is": row[measure]}, sd=sd)
                )
    return found


def tables(done):
    fields = ("data", "model", "d", "seed", "epochs", "cpu_seconds", "k", "accuracy", "least", "most", "error")
    paper = [rows[0] for (kind, *_), rows in sorted(done.items()) if kind == "paper"]
    return {
        "cells": table(done),
        "paper": [{name: row[name] for name in (*fields, "processor") if name in row} for row in paper],
        "again": again(done),
    }


def measure(repeats):
    """Every cell; with two repeats, one seed of a few on the digits."""
    if repeats < 7:
        few = [("cells", "digits", kind, ALONE.get(kind, 3), 0, 0.05) for kind in MODELS if kind != "TSNE"]
        with tempfile.TemporaryDirectory() as folder:
            return {"cells": table(run(few, Path(folder) / "kept.jsonl"))}
    return tables(run(jobs(), count=len(os.sched_getaffinity(0))))


def save(*paths):
    """Store the tables of what is kept, with the machine that most of it was run on."""
    done, where = kept(*paths, stale=True)
    print(len(done), "cells kept, of them", len(done) - len(kept(*paths)[0]), "by other source than today's")
    return store(NAME, tables(done) | {"machine": where}, SEEDS, dense=True)


if __name__ == "__main__":
    what, *more = sys.argv[1:]
    if what == "run":
        count, begin, end = int(more[0]), *map(float, more[1:3])
        run((job for job in jobs() if job[1] in (more[3:] or SECONDS)), count=count, begin=begin, end=end)
    else:
        print("stored", save(*map(Path, more or [KEPT])).name)
