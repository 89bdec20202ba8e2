"""Denoisers, chains, walkback and tangents over seeds on known sets, and drawn digits beside real ones.

``python -m benchmarks lineage`` runs every task, ``python -m benchmarks.lineage digits mnist`` two of them, each put into the
stored file at its end.  Pictures are bytes in base64, row after row.
"""

import itertools
import math
import sys
import time

import numpy as np
import torch
from gaelib import MPPCA, VAE, ContractiveAutoencoder, DenoisingAutoencoder, data
from gaelib.core import ascend, objective
from gaelib.joints.denoiser import Levels
from gaelib.joints.network import layers
from gaelib.models.denoising import Corrupted
from gaelib.training import Shuffled, adam, one_cycle
from torch import nn
from torch.nn import functional as F

from .garments import packed
from .harness import PACKAGE, round_to, source_hash, store
from .samples import classifier, judge

WIDTH, SEEDS, SHOWN = 0.15, 3, 40
FINE = {
    "validation": 0,
    "lr": 3e-3,
}  # smaller steps, and the last epoch: the best of noisy judgements is an earlier one
ANGLES = np.arange(8) * math.pi / 4
CENTRES = 2 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)
FULL = {  # of `levels`: training steps, samples judged, steps of a sample
    "digits": {"steps": 8000, "n": 2000, "draws": 100},
    "mnist": {"steps": 1500, "n": 1000, "draws": 50},
}


# --- a ring of eight clusters ---


def ring(n, seed):
    rng = np.random.default_rng(seed)
    return CENTRES[rng.integers(0, 8, n)] + WIDTH * rng.normal(size=(n, 2))


def ring_score(x, sigma):
    """The slope of the log density of the ring with noise."""
    v, to = WIDTH**2 + sigma**2, CENTRES - x[:, None]
    w = torch.tensor(-(to**2).sum(2) / (2 * v)).softmax(1).numpy()
    return (w[:, :, None] * to).sum(1) / v


def within(x):
    """Share of rows within three widths of a cluster, their deviation there, and the rarest cluster's share."""
    away = ((x[:, None] - CENTRES) ** 2).sum(2)
    near = away.min(1) < 9 * WIDTH**2
    shares = np.bincount(away.argmin(1)[near], minlength=8) / len(x)
    deviation = (away.min(1)[near].mean() / 2) ** 0.5
    return {"inside": round_to(near.mean()), "deviation": round_to(deviation), "rarest": round_to(shares.min())}


class Added(nn.Module):
    """A row and a network's correction: what people write who do not think of units."""

    def __init__(self):
        super().__init__()
        self.network = layers(2, 128, 128, 2)

    def forward(self, x):
        return x + self.network(x)


def denoiser(sigma, seed, epochs=40, plain=False, **options):
    options |= {"max_epochs": epochs, "patience": epochs, "random_state": seed}
    if plain:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            options |= {"n_components": 2, "encoder": Added(), "decoder": nn.Identity()}
    return DenoisingAutoencoder(amount=sigma, **options).fit(ring(20000, 0))


def scores(quick):
    """How far a trained denoiser is from the score of the noisy ring, relative root mean square; and from that of p."""
    table = []
    for sigma, seed in itertools.product((0.15, 0.6), range(1 if quick else SEEDS)):
        start = time.process_time()
        model = denoiser(sigma, seed, 2 if quick else 100, **FINE)
        row = {"sigma": sigma, "seed": seed, "seconds": round_to(time.process_time() - start)}
        x = ring(20000, 1) + sigma * np.random.default_rng(2).normal(size=(20000, 2))
        found, size = model.score_field(x), (ring_score(x, sigma) ** 2).sum()
        for name, s in (("error", sigma), ("against_p", 0.0)):
            row[name] = round_to((((found - ring_score(x, s)) ** 2).sum() / size) ** 0.5)
        table.append(row | {"tau": round_to(model.variance_**0.5)})
    return table


def chains(quick):
    """Where 200 rounds of each chain end, from data; the clusters' own deviation is 0.15."""
    table = []
    for seed in range(1 if quick else SEEDS):
        model = denoiser(WIDTH, seed, 2 if quick else 40)
        for chain in ("mean", "sampled", "langevin"):
            x = model.sample(4000, seed, chain=chain, steps=2 if quick else 200, start=ring(4000, 3))
            table.append({"chain": chain, "seed": seed, **within(x)})
    return table


def walk(plain, walkback, seed, quick=False):
    """One denoiser: rows from all over a square, denoised three times; and where the mean's chain ends."""
    model = denoiser(WIDTH, seed, 2 if quick else 40, plain, walkback=walkback)
    x = start = np.random.default_rng(1).uniform(-6, 6, (4000, 2))
    for _ in range(3):
        x = model.inverse_transform(model.transform(x))
    chain = within(model.sample(4000, 0, chain="mean", steps=2 if quick else 60, start=start))
    row = {"network": "plain" if plain else "default", "walkback": walkback, "seed": seed, **within(x)}
    return row | {f"chain_{name}": value for name, value in chain.items()}


def walks(quick):
    """With and without walkback, of which the plain network needs more."""
    kinds = (False, 0), (False, 4), (True, 0), (True, 4), (True, 8)
    return [walk(*kind, seed, quick) for kind in kinds for seed in range(1 if quick else 5)]


# --- a bent plane in ten dimensions ---


def surface(n, noise, seed, spread=2.0):
    """Rows near (u, v, sin u cos v), turned into ten dimensions, and the tangent planes there: (n, 10), (n, 2, 10)."""
    frame = np.linalg.qr(np.random.default_rng(9).normal(size=(10, 3)))[0].T
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-spread, spread, (2, n))
    x = np.stack([u, v, np.sin(u) * np.cos(v)], 1) @ frame + noise * rng.normal(size=(n, 10))
    along = np.zeros((n, 2, 3))
    along[:, 0, 0] = along[:, 1, 1] = 1
    along[:, 0, 2], along[:, 1, 2] = np.cos(u) * np.cos(v), -np.sin(u) * np.sin(v)
    return x, np.linalg.qr((along @ frame).swapaxes(1, 2))[0].swapaxes(1, 2)


def angle(found, true):
    """The larger angle between planes, the median over rows, degrees."""
    cosines = np.linalg.svd(found @ true.swapaxes(1, 2), compute_uv=False)[:, -1]
    return round_to(np.median(np.degrees(np.arccos(cosines.clip(max=1)))))


def local_planes(T, X, k):
    near = np.argsort(((T[:, None] - X) ** 2).sum(2), 1)[:, :k]
    return np.linalg.svd(X[near] - X[near].mean(1, keepdims=True), full_matrices=False)[2][:, :2]


def tangents(quick):
    """Median angle to the true plane at 500 points: contractive encoders, tied or not, and local PCA."""
    T, planes = surface(500, 0.0, 1, 1.5)
    table = []
    for n in (300, 4000):
        X = surface(n, 0.05, 0)[0]
        for k in (10, 20, 30, 50, 100, 200, 300)[: 2 if quick else 7]:
            table.append({"n": n, "model": "local PCA", "neighbours": k, "angle": angle(local_planes(T, X, k), planes)})
        for tied, weight in ((True, 0.0), (True, 0.1), (True, 0.3), (True, 1.0), (False, 0.3)):
            for seed in range(1 if quick else SEEDS):
                options = {"max_epochs": 1 if quick else 40, "lr": 1e-2, "random_state": seed, "patience": 40}
                model = ContractiveAutoencoder(64, weight=weight, tied=tied, **options).fit(X)
                found = {"angle": angle(model.tangents(T, 2), planes)}
                table.append({"n": n, "model": "contractive", "tied": tied, "weight": weight, "seed": seed, **found})
    return table


# --- digits that nobody wrote ---


class Residual(nn.Module):
    """Two convolutions beside the identity; the level enters as a shift and a scale of every channel."""

    def __init__(self, into, out, level):
        super().__init__()
        self.first, self.second = nn.Conv2d(into, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, into), nn.GroupNorm(8, out)])
        self.level, self.past = nn.Linear(level, 2 * out), nn.Conv2d(into, out, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x, level):
        scale, shift = self.level(level)[:, :, None, None].chunk(2, 1)
        h = self.norms[1](self.first(F.silu(self.norms[0](x)))) * (1 + scale) + shift
        return self.past(x) + self.second(F.silu(h))


class Pyramid(nn.Module):
    """A convolutional network down to a quarter and up again: (n, side^2 + 1) -> (n, side^2), the last column the level."""

    def __init__(self, side, c):
        super().__init__()
        self.side, self.level = side, layers(1, 128, 128)
        self.into, self.out = nn.Conv2d(1, c, 3, padding=1), nn.Conv2d(c, 1, 3, padding=1)
        self.down = nn.ModuleList([Residual(c, c, 128), Residual(c, 2 * c, 128), Residual(2 * c, 2 * c, 128)])
        self.up = nn.ModuleList([Residual(4 * c, 2 * c, 128), Residual(3 * c, c, 128)])

    def forward(self, x):
        level = F.silu(self.level(4 * x[:, -1:]))
        fine = self.down[0](self.into(x[:, :-1].reshape(-1, 1, self.side, self.side)), level)
        middle = self.down[1](F.avg_pool2d(fine, 2), level)
        coarse = self.down[2](F.avg_pool2d(middle, 2), level)
        middle = self.up[0](torch.cat([F.interpolate(coarse, middle.shape[2:]), middle], 1), level)
        fine = self.up[1](torch.cat([F.interpolate(middle, fine.shape[2:]), fine], 1), level)
        return self.out(fine).flatten(1)


def levels(X, network, steps, seed, low=0.02, high=4.0, lr=3e-3, batch=256):
    """A denoiser of every level, trained on a GPU where there is one: (n, D) in ink from 0 to 1."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    X = torch.as_tensor(X, dtype=torch.float32)
    centre = X.double().mean(0)
    scale = float((X - centre).square().mean().sqrt())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        joint = Levels(network(), low, high, centre.float(), scale).to(device)
    X, draw = X.to(device), torch.Generator(device).manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    batches = Shuffled(lambda i: X[i.to(device)], torch.arange(len(X)), min(batch, len(X)), order)
    answer = Corrupted(joint.answer, lambda x: joint.corrupt(x, draw))
    parameters = [part for part in joint.parameters() if part.requires_grad]
    ascend(lambda x: objective(joint, x, answer).mean(), parameters, steps, one_cycle(lr, steps), adam, batches=batches)
    return joint


def drawn(joint, n, steps, seed):
    """Samples as an array, clipped to ink."""
    draw = torch.Generator(joint.centre.device).manual_seed(seed)
    return joint.sample(n, steps, draw).clamp(0, 1).cpu().numpy()


def gaussian(X, n, seed):
    """The simplest rival: rows of a normal distribution with the data's mean and covariance, clipped to ink."""
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(X.mean(0), np.cov(X.T), n, method="eigh").clip(0, 1)


def beside(train, labels, test, network, vae, steps, n, draws, seeds, mixture=None, **options):
    """One row a generator and seed: the judge's measures, seconds, and the first seed's pictures."""
    classify = classifier(train, labels)
    table = []

    def add(name, seed, rows, seconds=None):
        row = {"name": name, "seed": seed, **judge(rows, train, labels, test, classify)}
        row |= {"seconds": round_to(seconds)} if seconds else {}
        table.append(row | ({"pictures": packed(rows[:SHOWN])} if seed == 0 else {}))

    rng = np.random.default_rng(0)
    add("training rows", 0, train[rng.integers(len(train), size=n)])
    add("new rows", 0, test)
    for key in ("to_test", "from_test"):  # from themselves
        del table[-1][key]
    for seed in range(seeds):
        add("Gaussian", seed, gaussian(train, n, seed))
        if mixture:
            start = time.perf_counter()
            model = mixture(seed).fit(train)
            add("mixture", seed, model.sample(n, random_state=seed).clip(0, 1), time.perf_counter() - start)
        start = time.perf_counter()
        model = vae(seed).fit(train)
        add("VAE", seed, model.sample(n, random_state=seed, noise=False).clip(0, 1), time.perf_counter() - start)
        start = time.perf_counter()
        joint = levels(train, network, steps, seed, **options)
        add("denoiser", seed, drawn(joint, n, draws, seed), time.perf_counter() - start)
    return table


def digits(quick):
    """8 x 8 pixels: 1437 digits to learn from, the split of `generators`."""
    X, y = data.digits()
    order = np.random.default_rng(0).permutation(len(X))
    X, y = (X[order] / 16).astype(np.float32), y[order]
    return beside(
        X[:1437], y[:1437], X[1437:], lambda: layers(65, *(16 if quick else 256,) * 3, 64),
        lambda seed: VAE(16, hidden=(128, 64), max_epochs=2 if quick else 200, random_state=seed, device="cpu"),
        seeds=1 if quick else SEEDS, **FULL["digits"] | ({"steps": 20, "draws": 5, "n": 100} if quick else {}),
    )  # fmt: skip


def flats(seed, quick):
    """Fifty normal distributions with twenty directions each: what fits in seconds."""
    return MPPCA(2 if quick else 50, 20, max_iter=2 if quick else 15, n_init=1, random_state=seed, device="cpu")


def mnist(quick):
    """14 x 14 pixels, the means of four: 60,000 digits to learn from, so small and so few steps that a CPU suffices."""
    (X, y), (T, _) = data.mnist(True), data.mnist(False)
    X, T = (
        np.asarray(x, dtype=np.float32).reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196) / 255 for x in (X, T)
    )
    X, y = (X[:600], y[:600]) if quick else (X, y)
    sizes = {"steps": 2, "draws": 3, "n": 50, "batch": 16} if quick else {"lr": 2e-3, "batch": 64}
    return beside(
        X, np.asarray(y), T, lambda: Pyramid(14, 8 if quick else 16),
        lambda seed: VAE(16, hidden=(256, 128), max_epochs=1 if quick else 6, random_state=seed, device="cpu"),
        seeds=1 if quick else 2, mixture=lambda seed: flats(seed, quick), **FULL["mnist"] | sizes,
    )  # fmt: skip


TASKS = {task.__name__: task for task in (scores, chains, walks, tangents, digits, mnist)}


def kept():
    """The stored tables."""
    path = PACKAGE / "results" / "lineage.json"
    own = ("machine", "source", "repeats")
    return {key: table for key, table in data.results("lineage").items() if key not in own} if path.exists() else {}


def measure(repeats):
    """Every task but MNIST, of which the stored table stays; nothing here is raced."""
    quick = repeats <= 2
    tables = {name: task(quick) for name, task in TASKS.items() if name != "mnist" or quick}
    return {name: table for name, table in kept().items() if name == "mnist"} | tables


def full(*names):
    """The named tasks, MNIST if none is, each stored at its end and passed over where this code has stored it."""
    for name in names or ("mnist",):
        done = kept()
        if done.get(name) and done[name][0].get("source") == source_hash():
            continue
        rows = [row | {"source": source_hash(), "gpu": torch.cuda.is_available()} for row in TASKS[name](False)]
        store("lineage", kept() | {name: rows}, 1)


if __name__ == "__main__":
    full(*sys.argv[1:])
