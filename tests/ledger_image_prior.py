"""Ledger checks of the deep image prior (I1-I3); see `test_ledger` for their form."""

from math import log, pi

import numpy as np
import torch
from gaelib.core import climb
from gaelib.pictures.image_prior import Hourglass, deep_image_prior, psnr
from scipy.stats import multivariate_normal
from skimage import data, transform
from torch import nn

PICTURE = transform.resize(data.camera() / 255, (48, 48), anti_aliasing=True)
NOISY = np.clip(PICTURE + np.random.default_rng(0).normal(0, 25 / 255, PICTURE.shape), 0, 1)


def i1():
    """The max, and the climb cut short, of networks f = B theta: the statement gives both, the judges are least
    squares and `core.climb`."""
    generator = torch.Generator().manual_seed(0)
    cosine = torch.cos(pi / 24 * (torch.arange(24)[:, None] + 0.5) * torch.arange(24)).double()
    networks = [
        cosine / (1 + torch.arange(24)) / 4,  # smooth patterns are louder
        torch.randn(24, 24, generator=generator, dtype=torch.float64) / 10,
    ]
    clean = torch.sin(torch.arange(24) / 4).double()
    noise = 0.3 * torch.randn(24, generator=generator, dtype=torch.float64)
    x, start = clean + noise, 0.1 * torch.randn(24, generator=generator, dtype=torch.float64)
    cases = []
    for B in networks:
        best = torch.linalg.lstsq(B, x[:, None]).solution[:, 0]
        outputs = {}
        for t in (1, 10, 200):
            theta = climb(lambda theta: -(theta @ B.T - x).square().sum(1), start[None], t, 0.1)
            outputs[t] = B @ theta[0]
        cases.append((B, -(B @ best - x).square().sum(), outputs))

    def residual(statement):
        maximum, after = statement
        worst = max(abs(maximum() - top) for _, top, _ in cases)
        return max([worst] + [(after(B, t) - out).abs().max() for B, _, outs in cases for t, out in outs.items()])

    def kept(B, rate, t):
        return x - torch.linalg.matrix_power(torch.eye(24) - rate * 0.1 * B @ B.T, t) @ (x - B @ start)

    wrong = {
        "the maximum leaves the noise out": (lambda: -noise.square().sum(), lambda B, t: kept(B, 2, t)),
        "half the rate": (lambda: 0.0, lambda B, t: kept(B, 1, t)),
        "cut short it is the same": (lambda: 0.0, lambda B, t: x),
    }
    return residual, (lambda: 0.0, lambda B, t: kept(B, 2, t)), wrong, 1e-9


def i2():
    """The log density of a picture given the weights: the statement is its formula, the judge scipy's density."""
    seen = deep_image_prior(NOISY, steps=1, random_state=0)
    image = seen.image.astype(float)
    y = NOISY.astype(np.float32).astype(float)
    judge = multivariate_normal(image.ravel(), 0.5).logpdf(y.ravel())
    assert abs(seen.history["objective"][0] - judge) < 0.02  # float32, of 2000 nats
    error, D = ((image - y) ** 2).sum(), y.size
    wrong = {
        "no constant": lambda: -error,
        "the mean over pixels": lambda: -error / D - 0.5 * log(pi),
        "the constant of variance 1": lambda: -error - D / 2 * log(2 * pi),
    }
    return lambda rule: rule() - judge, lambda: -error - D / 2 * log(pi), wrong, 1e-8


class Dense(nn.Module):
    """As many weights and no neighbours: every pixel is a sum, of its own, of the same random numbers."""

    def __init__(self, count, shape):
        super().__init__()
        self.inputs, self.shape = 16, shape
        self.layer = nn.Linear(count // (shape[0] * shape[1]) - 1, shape[0] * shape[1])

    def forward(self, z):
        return torch.sigmoid(self.layer(z.flatten()[: self.layer.in_features]).view(1, 1, *self.shape))


def i3():
    """Peak gains in dB: the statement is a list of (more, less, by), the judge three climbs past their peaks and the
    best a x + b of each pixel alone."""
    order = np.random.default_rng(1).permutation(PICTURE.size)
    weights = sum(weight.numel() for weight in Hourglass(1, inputs=16, channels=24, scales=3).parameters())
    torch.manual_seed(0)
    dense = Dense(weights, PICTURE.shape)
    assert 0.9 < sum(weight.numel() for weight in dense.parameters()) / weights <= 1
    runs = {
        "local": (np.arange(PICTURE.size), "small"),
        "shuffled": (order, "small"),
        "dense": (np.arange(PICTURE.size), dense),
    }
    gain = {}
    for name, (index, network) in runs.items():
        clean, noisy = (part.ravel()[index].reshape(PICTURE.shape) for part in (PICTURE, NOISY))
        found = deep_image_prior(noisy, network=network, steps=400, input_noise=0, random_state=0, reference=clean)
        gain[name] = max(found.history["psnr"]) - psnr(noisy, clean)
        assert found.history["psnr"][-1] < max(found.history["psnr"]) - 0.01  # its peak is passed
    slope, shift = np.polyfit(NOISY.ravel(), PICTURE.ravel(), 1)
    gain["pixel alone"] = psnr(slope * NOISY + shift, PICTURE) - psnr(NOISY, PICTURE)

    def residual(statement):
        return max(max(gain[less] + by - gain[more], 0) for more, less, by in statement)

    true = [("local", "pixel alone", 3), ("pixel alone", "shuffled", 0), ("local", "dense", 3)]
    wrong = {
        "the prior survives shuffling": [("shuffled", "pixel alone", 3)],
        "as many weights do as well": [("dense", "local", 0)],
        "neighbours are worth nothing": [("pixel alone", "local", 0)],
    }
    return residual, true, wrong, 0.01


CHECKS = {"I1": i1, "I2": i2, "I3": i3}
