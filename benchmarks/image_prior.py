"""Deep image prior at the reference's size: what takes too long for a page.

``python -m benchmarks image_prior`` runs every row; ``python -m benchmarks.image_prior denoising`` runs one and puts it into
the stored file beside the others.  Ctrl-C ends a long run and stores it as far as it came.
``python -m benchmarks image_prior --full`` tries to win at 256 x 256 with the reference's network: hours on a processor,
minutes on a card.  Each run is stored when it ends, and a second call goes on with those that are missing.
"""

import json
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from gaelib import data
from gaelib.pictures.image_prior import (
    NETWORKS,
    Downsample,
    Hourglass,
    Linear,
    Mask,
    WindowedVariance,
    deep_image_prior,
    psnr,
)
from scipy.fft import dctn, idctn
from scipy.interpolate import griddata
from skimage import data as pictures
from skimage import restoration, transform
from torch import nn

from .harness import PACKAGE, race, round_to, source_hash, store

NAME = "image_prior"
SIGMA = 25 / 255
EVERY = 20  # steps between two points of a stored curve


def halved(picture):
    """Each 2 x 2 block averaged: 512 x 512 becomes 256 x 256."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    picture = picture[:height, :width]
    return picture.reshape(height // 2, 2, width // 2, 2, -1).mean((1, 3)).squeeze()


def noisy(picture, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(picture + rng.normal(0, SIGMA, picture.shape), 0, 1).astype(np.float32)


class Plain(nn.Module):
    """The hourglass written down as one would, for the race: torch's own padding, biases, statistics and layout."""

    def __init__(self, inputs, outputs, channels=128, skips=4, scales=5):
        super().__init__()

        def layer(into, out, size, stride=1):
            return nn.Sequential(
                nn.Conv2d(into, out, size, stride, padding=size // 2, padding_mode="reflect"),
                nn.BatchNorm2d(out),
                nn.LeakyReLU(0.2),
            )

        self.across = layer(inputs, skips, 1)
        self.down = nn.Sequential(layer(inputs, channels, 3, 2), layer(channels, channels, 3))
        self.below = Plain(channels, None, channels, skips, scales - 1) if scales > 1 else nn.Identity()
        self.widen = nn.Upsample(scale_factor=2, mode="bilinear")
        self.normalise = nn.BatchNorm2d(skips + channels)
        self.up = nn.Sequential(layer(skips + channels, channels, 3), layer(channels, channels, 1))
        self.head = nn.Identity() if outputs is None else nn.Sequential(nn.Conv2d(channels, outputs, 1), nn.Sigmoid())

    def forward(self, x):
        both = torch.cat([self.across(x), self.widen(self.below(self.down(x)))], 1)
        return self.head(self.up(self.normalise(both)))


def long_run(picture, measured, start, **options):
    """One run with the reference's settings, which says how far it is: its curve, peak, end and seconds."""
    begun = time.process_time()

    def say(result):
        if result.step % EVERY == 0:
            now = {name: values[-1] for name, values in result.history.items()}
            print(result.step, *(f"{name} {value:.3f}" for name, value in now.items()), flush=True)

    defaults = {"network": "reference", "average": 0.99, "input_noise": 1 / 30, "lr": 0.01, "random_state": 0}
    found = deep_image_prior(measured, reference=picture, callback=say, **defaults | options)
    curve = {name: [round_to(v, 5) for v in values[::EVERY]] for name, values in found.history.items()}
    steps = len(found.history["psnr"])
    return {
        "size": list(picture.shape),
        "steps": steps,
        "precision": options.get("precision", "float32"),
        "lr": options.get("lr", 0.01),
        "start": round_to(float(start), 4),
        "psnr": round_to(found.history["psnr"][-1], 4),
        "averaged": round_to(found.history["psnr_averaged"][-1], 4),
        "peak": round_to(max(found.history["psnr_averaged"]), 4),
        "ssim": round_to(found.history["ssim"][-1], 3),
        "cpu seconds a step": round_to((time.process_time() - begun) / steps),
        "every": EVERY,
        "curve": curve,
    }


def denoising(quick):
    """F16 at 256 x 256 with noise of 25/255, five scales of 128 channels."""
    picture = halved(data.image("F16"))
    measured = noisy(picture)
    steps = 2 if quick else 1500
    found = long_run(picture, measured, psnr(measured, picture), steps=steps, precision="bfloat16")
    return [{"picture": "F16", "network": "reference"} | found]


def restoring(quick):
    """Barbara at 256 x 256 by the small network: half of the pixels dropped, and four times fewer pixels a side."""
    picture = halved(data.image("barbara"))
    options = {"network": "small", "steps": 2 if quick else 800}
    known = np.random.default_rng(0).random(picture.shape) < 0.5
    holes = np.where(known, picture, np.nan)
    with torch.no_grad():
        few = Downsample(4)(torch.tensor(picture)[None, None])[0, 0].numpy().clip(0, 1)
    cubic = transform.resize(few, picture.shape, order=3, mode="edge", clip=True)
    half = np.where(known, picture, picture[known].mean())
    return [
        {"task": "half of the pixels", "beside": "their mean"}
        | long_run(picture, holes, psnr(half, picture), operator=Mask(known), **options),
        {"task": "four times fewer a side", "beside": "bicubic"}
        | long_run(picture, few, psnr(cubic, picture), operator=Downsample(4), **options),
    ]


def small(side, picture=None):
    """The cameraman of scikit-image, or another picture, in grey and reduced to so many pixels a side."""
    picture = pictures.camera() / 255 if picture is None else picture
    return transform.resize(picture.mean(2) if picture.ndim == 3 else picture, (side, side), anti_aliasing=True)


def stopping(quick):
    """The small network on a noisy cameraman of 96 x 96, five seeds: all of 350 steps, and the rule that sees no reference."""
    table, picture = [], small(96)
    for seed in range(1 if quick else 5):
        measured = noisy(picture, seed)
        options = {"reference": picture, "random_state": seed, "steps": 5 if quick else 350}
        fixed = deep_image_prior(measured, **options)
        rule = deep_image_prior(measured, input_noise=0, stop=WindowedVariance(), **options)
        curve = rule.history["psnr_averaged"]
        table.append(
            {
                "seed": seed,
                "noisy": round_to(psnr(measured, picture), 4),
                "350 steps": round_to(fixed.history["psnr_averaged"][-1], 4),
                "kept": rule.step,
                "steps": len(curve),
                "rule": round_to(curve[rule.step], 4),
                "peak": round_to(max(curve), 4),
            }
        )
    return table


def shuffling(quick):
    """Gains in dB on a cameraman of 64 x 64 and on its shuffled pixels, and the best a x + b of each pixel alone."""
    table, picture = [], small(64)
    for seed in range(1 if quick else 5):
        measured = noisy(picture, seed)
        order = np.random.default_rng(100 + seed).permutation(picture.size)
        row = {"seed": seed}
        for name, index in (("picture", np.arange(picture.size)), ("shuffled", order)):
            clean, dirty = (part.ravel()[index].reshape(64, 64) for part in (picture, measured))
            options = {"reference": clean, "random_state": seed, "steps": 5 if quick else 700, "input_noise": 0}
            curve = deep_image_prior(dirty, **options).history["psnr"]
            row[name] = round_to(max(curve) - psnr(dirty, clean))
            row[f"{name}, step of the peak"] = int(np.argmax(curve))
            row[f"{name}, end"] = round_to(curve[-1] - psnr(dirty, clean))
        slope, shift = np.polyfit(measured.ravel(), picture.ravel(), 1)
        row["one pixel alone"] = round_to(psnr(slope * measured + shift, picture) - psnr(measured, picture))
        table.append(row)
    return table


def filled(picture, known, method):
    """The holes of a picture (H, W) filled by SciPy's interpolation, outside the hull of what is known by the nearest."""
    at, everywhere = np.argwhere(known), np.argwhere(np.ones_like(known))
    values = [griddata(at, picture[known], everywhere, method=m).reshape(picture.shape) for m in (method, "nearest")]
    return np.where(np.isnan(values[0]), values[1], values[0]).clip(0, 1)


def filled_smoothly(picture, known):
    """The holes filled so that the surface bends least: the biharmonic equation."""
    return restoration.inpaint_biharmonic(np.where(known, picture, 0), ~known).clip(0, 1)


def accelerated(sums, rows, shape, shrink, steps):
    """FISTA: x that makes the sums, where ``shrink`` is the proximal map of a penalty at the step 1 / L."""
    bound = np.linalg.norm(rows, 2) ** 2
    x = ahead = np.zeros(shape)
    t = 1.0
    for _ in range(steps):
        last, x = x, shrink(ahead + (rows.T @ (sums - rows @ ahead.ravel())).reshape(shape) / bound)
        before, t = t, (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead = x + (before - 1) / t * (x - last)
    return x.clip(0, 1)


def soften(x, weight):
    """The proximal map of the sum of absolute cosine coefficients."""
    waves = dctn(x, norm="ortho")
    return idctn(np.sign(waves) * np.maximum(abs(waves) - weight, 0), norm="ortho")


def tasks():
    """Name -> (side, what is measured: (picture, seed) -> data, rivals: name -> (knobs, (data, knob) -> picture), the
    prior's options).  A knob of a rival is as free as the prior's number of steps."""
    nlm = partial(restoration.denoise_nl_means, patch_size=5, patch_distance=6, sigma=SIGMA, fast_mode=False)

    def lose(picture, seed):
        return picture, np.random.default_rng(seed).random(picture.shape) < 0.5

    def add(picture, seed):
        rows = np.random.default_rng(seed).normal(size=(1000, picture.size)) / picture.shape[0]
        return rows @ picture.ravel(), rows, picture.shape

    free = {"steps": 600, "input_noise": 0, "average": 0.95}
    sums = accelerated
    return {
        "noise": (
            96,
            noisy,
            {
                "non-local means": ((0.6, 0.8, 1.0, 1.2), lambda y, h: nlm(y, h=h * SIGMA)),
                "total variation": ((0.04, 0.06, 0.08, 0.1, 0.12), lambda y, w: restoration.denoise_tv_chambolle(y, w)),
            },
            lambda y: ((y,), {"steps": 1000}),
        ),
        "holes": (
            64,
            lose,
            {method: ((0,), lambda y, _, m=method: filled(*y, m)) for method in ("nearest", "linear", "cubic")}
            | {"biharmonic": ((0,), lambda y, _: filled_smoothly(*y))},
            lambda y: ((np.where(y[1], y[0], np.nan), Mask(y[1])), free),
        ),
        "sums": (
            64,
            add,
            {
                "cosine lasso": (
                    (1e-4, 3e-4, 1e-3, 3e-3),
                    lambda y, w: sums(*y, lambda x: soften(x, w), 300),
                ),
                "total variation": (
                    (3e-4, 1e-3, 3e-3, 1e-2),
                    lambda y, w: sums(*y, lambda x: restoration.denoise_tv_chambolle(x, w, max_num_iter=20), 150),
                ),
            },
            lambda y: ((y[0], Linear(y[1], y[2])), free),
        ),
    }


def rivals(quick):
    """The small network beside the best simple rivals: medians of five seeds on the cameraman, in dB.

    Every knob, the prior's number of steps too, is set where it is best on another picture, the astronaut.
    """
    table = []
    for name, (side, spoil, others, options) in tasks().items():
        truth, other = small(side), small(side, pictures.astronaut() / 255)

        def prior(picture, seed, spoil=spoil, options=options):
            given, more = options(spoil(picture, seed))
            more = more | ({"steps": 5} if quick else {})
            found = deep_image_prior(*given, reference=picture, random_state=seed, **more)
            return np.array(found.history["psnr_averaged"])

        stop = int(prior(other, 100).argmax())
        chosen = {"deep image prior": stop + 1}
        for who, (knobs, rival) in others.items():
            reached = [psnr(rival(spoil(other, 100), knob), other) for knob in knobs]
            chosen[who] = knobs[int(np.argmax(reached))]
        scores = {who: [] for who in chosen} | {"best step, seen": []}
        for seed in range(1 if quick else 5):
            curve = prior(truth, seed)
            scores["deep image prior"].append(curve[stop])
            scores["best step, seen"].append(curve.max())
            for who, (_, rival) in others.items():
                scores[who].append(psnr(rival(spoil(truth, seed), chosen[who]), truth))
        for who, reached in scores.items():
            row = {"task": name, "side": side, "who": who, "knob": chosen.get(who)}
            reached = [round_to(float(dB), 4) for dB in reached]
            table.append(row | {"median": float(np.median(reached)), "all": reached})
    return table


def denoised(picture, measured, other, spoilt, quick):
    """Non-local means and total variation in colour, dB; each knob is set where it is best on the other picture."""
    nlm = partial(restoration.denoise_nl_means, patch_size=5, patch_distance=6, sigma=SIGMA, channel_axis=2)
    ways = {
        "non-local means": ((0.3, 0.4, 0.5, 0.6, 0.8), lambda y, h: nlm(y, h=h * SIGMA)),
        "total variation": (
            (0.02, 0.04, 0.06, 0.1),
            lambda y, w: restoration.denoise_tv_chambolle(y, w, channel_axis=2),
        ),
    }
    row = {}
    for who, (knobs, rival) in ways.items():
        knob = max(knobs[:1] if quick else knobs, key=lambda knob: psnr(rival(spoilt, knob), other))
        row |= {who: round_to(float(psnr(rival(measured, knob), picture)), 4), f"knob of {who}": knob}
    return row


def beside(quick):
    """The simple rivals of the runs at 256 x 256, on the same measurements, in dB; a knob is set on the astronaut."""
    picture = halved(data.image("barbara"))
    known = np.random.default_rng(0).random(picture.shape) < 0.5
    holes = {"task": "half of Barbara's pixels"}
    holes |= {m: round_to(float(psnr(filled(picture, known, m), picture)), 4) for m in ("nearest", "linear", "cubic")}
    if not quick:
        holes["biharmonic"] = round_to(float(psnr(filled_smoothly(picture, known), picture)), 4)
    F16, other = halved(data.image("F16")), halved(pictures.astronaut() / 255)
    return [holes, {"task": "noise on F16"} | denoised(F16, noisy(F16), other, noisy(other), quick)]


FULL = [  # (picture, what was done to it, seed, steps, options): the most telling first
    ("barbara", "half of the pixels", 0, 6000, {"average": 0.99, "input_noise": 1 / 30}),
    ("F16", "noise", 0, 3000, {"average": 0.99, "input_noise": 1 / 30}),
    ("barbara", "half of the pixels", 1, 6000, {"average": 0.99, "input_noise": 1 / 30}),
    ("barbara", "half of the pixels", 2, 6000, {"average": 0.99, "input_noise": 1 / 30}),
    ("F16", "noise", 1, 3000, {"average": 0.99, "input_noise": 1 / 30}),
    ("F16", "noise", 2, 3000, {"average": 0.99, "input_noise": 1 / 30}),
]


def one_full_run(name, task, seed, steps, options):
    """One climb of the reference's network at 256 x 256: dB of the averaged output every fiftieth step."""
    picture, curve, begun = halved(data.image(name)).astype(np.float32), [], time.perf_counter()
    if task == "noise":
        given = (noisy(picture, seed),)
    else:
        known = np.random.default_rng(seed).random(picture.shape[:2]) < 0.5
        given = np.where(known if picture.ndim == 2 else known[..., None], picture, np.nan), Mask(known)

    def say(now):
        if (now.step + 1) % 50 == 0:
            curve.append(round_to(float(psnr(now.averaged, picture)), 4))
            print(name, task, seed, now.step + 1, curve[-1], flush=True)

    found = deep_image_prior(*given, network="reference", steps=steps, callback=say, random_state=seed, **options)
    return {
        "picture": name,
        "task": task,
        "seed": seed,
        "size": list(picture.shape),
        "steps": found.step + 1,
        "end": round_to(float(psnr(found.averaged, picture)), 4),
        "peak": max(curve, default=0.0),
        "seconds": round_to(time.perf_counter() - begun),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "processor",
        "curve every 50": curve,
    }


def full():
    """Run what `FULL` lists and the stored file lacks, and store each run when it ends."""
    for name, task, seed, steps, options in FULL:
        stored = read()
        done = {(row["picture"], row["task"], row["seed"]) for row in stored.get("full", [])}
        if (name, task, seed) not in done:
            row = one_full_run(name, task, seed, steps, options) | {"source": source_hash()}
            keep(stored, "full", [*stored.get("full", []), row])


def read():
    """The stored tables, by name."""
    path = PACKAGE / "results" / f"{NAME}.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    return {name: stored[name] for name in (*TABLES, "full") if name in stored}


def keep(stored, name, table):
    """Store one table beside the others, in the order of `TABLES`."""
    stored = stored | {name: table}
    print("stored", store(NAME, {key: stored[key] for key in (*TABLES, "full") if key in stored}, 1).name)


def one_step(kind, size, shape):
    """A function that takes one step of a climb, as `deep_image_prior` does or as one would write it down."""
    torch.manual_seed(0)
    options = NETWORKS[size]
    inputs = options.get("inputs", 32)
    z, y = torch.rand(1, inputs, *shape) / 10, torch.rand(1, 3, *shape)
    if kind == "gaelib":
        network = Hourglass(3, **options).to(memory_format=torch.channels_last)
        z = z.to(memory_format=torch.channels_last)
        adam = torch.optim.Adam(network.parameters(), lr=0.01, fused=True)
    else:
        network = Plain(inputs, 3, options.get("channels", 128), 4, options.get("scales", 5))
        adam = torch.optim.Adam(network.parameters(), lr=0.01)

    def step():
        adam.zero_grad()
        loss = (network(z + torch.randn(z.shape) / 30) - y).square().sum()
        loss.backward()
        adam.step()
        return loss.item()

    return step


def status(what):
    """A line of this process's memory account, in MB; Linux keeps one."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) / 1024


def memory(kind, size, shape, pipe):
    step = one_step(kind, size, shape)
    before = status("VmRSS")
    step(), step()
    pipe.send(status("VmHWM") - before)


def peak_memory(*case):
    """MB that two steps add to a fresh process; None where there is no account."""
    if not Path("/proc/self/status").exists():
        return None
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=memory, args=(*case, there))
    process.start()
    peak = here.recv()
    process.join()
    return round_to(peak)


def seconds(quick):
    """One step of ours against one of the plain network, in turns on one thread; memory of each in a fresh process."""
    threads, table = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for size, side, repeats in (("small", 96, 30), ("reference", 256, 5)):
        contestants = {kind: one_step(kind, size, (side, side)) for kind in ("gaelib", "plain torch")}
        timed = race(contestants, 1 if quick else repeats)
        found = {kind: timed[kind] | {"MB": peak_memory(kind, size, (side, side))} for kind in contestants}
        table.append({"network": size, "size": [side, side, 3], "threads": 1, **found})
    torch.set_num_threads(threads)
    return table


TABLES = {
    "denoising": denoising,
    "restoring": restoring,
    "stopping": stopping,
    "shuffling": shuffling,
    "rivals": rivals,
    "beside": beside,
    "seconds": seconds,
}


def measure(repeats):
    """All tables; the runs of `full` stay."""
    kept = {name: table for name, table in read().items() if name == "full"}
    return {name: table(repeats <= 2) for name, table in TABLES.items()} | kept


if __name__ == "__main__":
    for name in sys.argv[1:] or TABLES:
        keep(read(), name, [row | {"source": source_hash()} for row in TABLES[name](False)])
