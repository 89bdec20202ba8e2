"""The nearest of K flats on Fashion-MNIST: the whole search against exact screening (ledger H7)."""

import torch
from gaelib import data
from gaelib.core import Exact, alternate
from gaelib.joints.flats import Flats, nearest
from gaelib.solvers.pruning import Screen

from .harness import race, round_to

ROWS, PART, AXES = 20_000, 4096, 100
CASES = ((11, 20), (50, 20), (200, 20))


def row(x, K, p, repeats):
    """Three passes of learning, then seconds for the codes of all rows; the shadows are there already."""
    generator = torch.Generator().manual_seed(0)
    means = x[torch.randperm(len(x), generator=generator)[:K]]
    joint = Flats(means, torch.linalg.qr(torch.randn(K, x.shape[1], p, generator=generator)).Q)
    alternate(joint, x.split(PART), Exact(), 3)
    axes = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0))).eigenvectors[:, -AXES:].contiguous()
    parts = list(zip(x.split(PART), (x @ axes).split(PART)))
    screen = Screen(joint.means, joint.bases, axes)

    def whole():
        return torch.cat([nearest(part, joint.means, joint.bases)[0] for part in x.split(PART)])

    def screened():
        return torch.cat([screen.nearest(*part)[0] for part in parts])

    found, answer = screened(), whole()
    asked = screen.asked / (len(x) * K)
    away = [(x - joint.decode((k, joint.inside(x, k)))).square().sum(1) for k in (found, answer)]
    rounding = 1e-5 * x.square().sum(1)  # float32 takes one of two flats that are as good as equal
    assert ((away[0] - away[1]).abs() < rounding).all(), "screening is not exact"
    setting = {"data": "Fashion-MNIST", "n": len(x), "K": K, "p": p, "q": AXES, "asked": round_to(asked)}
    timed = race({"screened": screened, "whole": whole}, repeats)
    return setting | {"differ": int((found != answer).sum())} | timed


def measure(repeats):
    x = torch.tensor(data.fashion_mnist()[0][:ROWS])
    return {"rows": [row(x, K, p, repeats) for K, p in CASES]}
