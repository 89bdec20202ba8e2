"""Garments of Fashion-MNIST for the chapters on the idea: copies, codes in doubt, climbed codes, and the worst copy.

Pictures are stored as bytes in base64, 28 x 28 grey levels from 0 to 255.  Every comparison holds out the test garments.
"""

import base64
from functools import partial

import numpy as np
import torch
from gaelib import LGAE, LLGAE, KMeans, data
from gaelib.core import Climb, Exact, Joint, Soft, alternate, ascend, mean, objective, soft_floor
from gaelib.flats import Flats
from gaelib.noise import gaussian

from .harness import round_to

SHOWN = (
    9,
    0,
    1,
    8,
    3,
    7,
    5,
    4,
)  # boot, T-shirt, trousers, bag, dress, sneaker, sandal, coat: the first of each held out


def garments(n):
    """n garments to learn from, the held-out ones, and the kinds of those; grey levels from 0 to 1, float64."""
    held_out, kinds = data.fashion_mnist(train=False)
    pixels = (np.asarray(part, dtype=np.float64) / 255 for part in (data.fashion_mnist()[0][:n], held_out))
    return *pixels, np.asarray(kinds)


def packed(rows):
    """Pictures (rows, columns, 784) in [0, 1] as a stored table."""
    rows = np.asarray(rows)
    levels = (np.clip(rows, 0, 1) * 255).round().astype(np.uint8)
    return {"shape": list(rows.shape), "pictures": base64.b64encode(levels.tobytes()).decode()}


def lost(truth, copies):
    """Squared error of each picture, summed over pixels."""
    return ((truth - copies) ** 2).sum(1)


def copies():
    """What comes back from four kinds of code."""
    X, T, kinds = garments(20_000)
    shown = [int(np.where(kinds == kind)[0][0]) for kind in SHOWN]
    models = {
        "1 of 256": KMeans(256, random_state=0, max_iter=30),
        "20 numbers": LGAE(20),
        "1 of 11, 20 numbers": LLGAE(11, 20, random_state=0, max_iter=30),
    }
    pictures, error = [T[shown]], {"the mean": lost(T, X.mean(0)).mean()}
    for name, model in models.items():
        decoded = model.inverse_transform(model.fit(X).transform(T))
        error[name] = lost(T, decoded).mean()
        pictures.append(decoded[shown])
    return {"names": ["garment", *models], "error": {k: round_to(v, 4) for k, v in error.items()}, **packed(pictures)}


def doubt():
    """Garments whose best code is in doubt: ten centres, and the noise that fits them best at temperature one."""
    X, T, _ = garments(20_000)
    points, held_out = torch.tensor(X), torch.tensor(T)
    centres = torch.tensor(KMeans(10, random_state=0).fit(X).cluster_centers_)
    variance = float((points - centres[Flats(centres).argmax(points)]).square().mean())
    joint = Flats(centres, variance=variance)
    r = joint.posterior(held_out, 1.0)[0][0]
    top = r.topk(2)
    gaps = -top.values[:, 0].log()
    order = (top.values[:, 0] - 0.5).abs().argsort()[:4]
    rows = [held_out[order], centres[top.indices[order, 0]], centres[top.indices[order, 1]]]
    # nats per garment at one variance: the best codes, the evidence, EM from there, k-means again from EM's centres
    pins = {"hard": objective(joint, points, Exact()).mean(), "soft": objective(joint, points, Soft(1.0)).mean()}
    alternate(joint, [points], Soft(1.0), 100)
    pins |= {"em": objective(joint, points, Soft(1.0)).mean(), "em_hard": objective(joint, points, Exact()).mean()}
    alternate(joint, [points], Exact(), 100)
    shelf = packed(torch.stack([centres, joint.means]))
    pins |= {
        "again": objective(joint, points, Exact()).mean(),
        "again_soft": objective(joint, points, Soft(1.0)).mean(),
    }
    return {
        "variance": variance, "gap_mean": float(gaps.mean()), "gap_worst": float(gaps.max()),
        "sure": float((gaps < 0.01).double().mean()), "chances": top.values[order].tolist(),
        "pins": {name: float(value) for name, value in pins.items()}, "shelf": shelf, **packed(torch.stack(rows)),
    }  # fmt: skip


class Network(Joint):
    """A normal prior over 16 numbers and a network of one hidden layer, with Gaussian noise around what it draws."""

    def __init__(self, seed, wide=64):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = torch.nn.Linear(16, wide), torch.nn.Tanh(), torch.nn.Linear(wide, 784)
        self.decode = torch.nn.Sequential(*layers)

    def log_joint(self, x, z):
        return gaussian(z, torch.zeros_like(z), 1.0) + gaussian(x, self.decode(z), 0.5)


def climbed(seeds=(0, 1, 2), rates=(0.03, 0.1, 0.3)):
    """One network, codes of few steps from zero, gradients detached or unrolled; each at its best step size."""
    X, T, kinds = (torch.tensor(part) for part in garments(3_000))
    X, T = X.float(), T[:500].float()
    middle = X.mean(0)
    shown = [int((kinds == kind).nonzero()[0, 0]) for kind in SHOWN]
    rows, pictures = [], [T[shown]]

    def zeros(joint, x):
        return x.new_zeros(len(x), 16)

    for steps in (1, 5):
        for unroll in (False, True):
            runs = {}
            for rate in rates:
                for seed in seeds:
                    model, dice = Network(seed), torch.Generator().manual_seed(seed)
                    few = Climb(zeros, steps, rate, unroll=unroll)
                    try:
                        ascend(
                            lambda m=model, f=few, d=dice: objective(
                                m, X[torch.randint(len(X), (200,), generator=d)] - middle, f
                            ).mean(),
                            model.parameters(), 300, 0.005,
                        )  # fmt: skip
                        z = few(model, T - middle)[0]
                        patient = Climb(zeros, 200, 0.03)(model, T - middle)[0]
                    except FloatingPointError:
                        continue  # too large a step for this network
                    with torch.no_grad():
                        drawn = model.decode(z) + middle
                        error = [float(lost(T, pic).mean()) for pic in (drawn, model.decode(patient) + middle)]
                    runs.setdefault(rate, []).append((*error, drawn[shown]))
            whole = {rate: found for rate, found in runs.items() if len(found) == len(seeds)}
            rate = min(whole, key=lambda r: sum(run[0] for run in whole[r]))
            best = whole[rate]
            rows.append({
                "steps": steps, "gradient": "unrolled" if unroll else "detached", "rate": rate,
                "error": [round_to(run[0]) for run in best], "error_200": [round_to(run[1]) for run in best],
            })  # fmt: skip
            if steps == 1:
                pictures.append(best[0][2])
    pca = LGAE(16).fit(X.double().numpy())
    held = T.double().numpy()
    error = lost(held, pca.inverse_transform(pca.transform(held))).mean()
    mean_error = float(lost(T, middle).mean())
    return rows, {"pca": round_to(error), "mean": round_to(mean_error), **packed(torch.stack(pictures))}


class Linear(Joint):
    """x ~ mean + W u with both free and a flat prior: the decoder of the chapter on losses."""

    def __init__(self, middle, W):
        super().__init__()
        self.middle, self.W = torch.nn.Parameter(middle.clone()), torch.nn.Parameter(W.clone().contiguous())

    def decode(self, u):
        return self.middle + u @ self.W.T

    def log_joint(self, x, u):
        return gaussian(x, self.decode(u))

    def argmax(self, x):
        return torch.linalg.lstsq(self.W, (x - self.middle).T).solution.T


def worst():
    """A linear decoder of 20 numbers, trained for the mean and then for ever sharper soft floors."""
    X, T, _ = garments(2_000)
    X, T = torch.tensor(X), torch.tensor(T)
    pca = LGAE(20).fit(X.numpy())
    model = Linear(torch.tensor(pca.mean_), torch.tensor(pca.components_).T)
    lbfgs = partial(torch.optim.LBFGS, max_iter=20, history_size=20, line_search_fn="strong_wolfe")
    rows, found = [], {}
    for beta in (0, *np.geomspace(0.003, 0.3, 7)):
        reduce = soft_floor(float(beta)) if beta else mean
        ascend(lambda r=reduce: r(objective(model, X, Exact())), model.parameters(), 8, 1.0, lbfgs)
        with torch.no_grad():
            decoded = model.decode(model.argmax(X))
            d, held = lost(X, decoded), lost(T, model.decode(model.argmax(T)))
        found[beta] = d, decoded
        row = {"beta": beta, "mean": d.mean(), "worst": d.max(), "held_mean": held.mean(), "held_worst": held.max()}
        row["held_rare"] = held.quantile(0.999)  # one garment in a thousand is worse
        rows.append({name: round_to(float(value), 4) for name, value in row.items()})
    order = found[0][0].argsort(descending=True)[:8]
    pictures = torch.stack([X[order], found[0][1][order], found[beta][1][order]])
    return rows, packed(pictures)


def measure(repeats):
    """Everything once: nothing here is a time."""
    runs, climb_pictures = climbed()
    dial, worst_pictures = worst()
    return {
        "copies": [copies()], "doubt": [doubt()], "climbed": runs, "climbed_pictures": [climb_pictures],
        "dial": dial, "worst_pictures": [worst_pictures],
    }  # fmt: skip
