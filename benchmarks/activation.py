"""Pictures that a network asks for, on MNIST and Fashion-MNIST: with and without a prior, climbed and sampled, and judged by
two strangers that learned from the other half of the data."""

import numpy as np
import torch
from gaelib import PPCA, activate, data
from gaelib.pictures import Fourier, Pixels
from gaelib.pictures.targets import log_probability, logit
from sklearn.svm import SVC
from torch import nn
from torch.nn.functional import cross_entropy

from .harness import round_to

SETS = {"MNIST": data.mnist, "Fashion-MNIST": data.fashion_mnist}
SHAPE, HALF, ROWS = (1, 28, 28), 30000, 10000  # ROWS: of the support vector machine's share
CLASS = torch.arange(10).repeat_interleave(10)  # ten pictures of each class
SHARP = 100  # weight of the target against the prior, for the sharpened runs


def network(X, y, width, seed):
    """A small convolutional network after three passes; (n, 1, 28, 28) -> (n, 10)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, width, 5, 2, 2), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(98 * width, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
    x, y = torch.tensor(X).view(-1, *SHAPE), torch.tensor(y)
    optimiser, generator = torch.optim.Adam(model.parameters(), 1e-3), torch.Generator().manual_seed(seed)
    for _ in range(3):
        for rows in torch.randperm(len(x), generator=generator).split(100):
            optimiser.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
    return model.eval()


def nearest(rows, X):
    """The distance of each row to the nearest row of X."""
    norms, X = (X**2).sum(1), X.T.copy()
    return np.array([np.sqrt(max((norms - 2 * row @ X).min() + row @ row, 0)) for row in rows])


class Judges:
    """A second network and a support vector machine, which never saw the first network's half."""

    def __init__(self, X, y, held):
        self.X, self.network = X, network(X[HALF:], y[HALF:], 24, seed=1)
        self.machine = SVC(C=10).fit(X[HALF : HALF + ROWS], y[HALF : HALF + ROWS])
        self.usual = nearest(held, X).mean()

    def agree(self, images):
        with torch.no_grad():
            by_network = self.network(images).argmax(1).numpy() == CLASS.numpy()
        return by_network, self.machine.predict(images.flatten(1).numpy()) == CLASS.numpy()

    def judge(self, images, by):
        with torch.no_grad():
            p = by(images).log_softmax(1)[torch.arange(100), CLASS].exp()
        one, other = self.agree(images)
        apart = np.mean([torch.pdist(part).mean() for part in images.flatten(1).split(10)])
        found = {
            "p": p.mean(),
            "least p": p.min(),
            "network": one.mean(),
            "machine": other.mean(),
            "both": (one & other).mean(),
        }
        found |= {"distance": nearest(images.flatten(1).numpy(), self.X).mean() / self.usual, "apart": apart}
        return {name: round_to(float(value)) for name, value in found.items()}


def pictures():
    """One row for each way to ask; the distance to the nearest real picture is relative to that of held-out ones."""
    table, shown = [], []
    for name, load in SETS.items():
        (X, y), (held, truth) = ((X / np.float32(255), y) for X, y in (load(True), load(False)))
        asked, judges = network(X[:HALF], y[:HALF], 16, seed=0), Judges(X, y, held[:300])
        prior = PPCA(30).fit(X[:HALF])
        noise, mean = prior.noise_variance_, torch.tensor(prior.mean_).view(SHAPE)
        drawn = torch.tensor(prior.sample(100, random_state=1)).view(-1, *SHAPE)

        def clean(images):  # the posterior mean: the picture without the prior's pixel noise
            return prior.joint_.decode(prior.joint_.argmax(images.flatten(1))).view_as(images)

        def row(what, images):
            table.append({"data": name, "pictures": what} | judges.judge(images, asked))
            if what in SHOWN:
                shown.append({"data": name, "pictures": what, "pixels": packed(images[::10])})

        def up(weight, start, spread=0.1, bounds=None, **options):
            of, pixels = weight * log_probability(CLASS), Pixels(SHAPE, start=start, spread=spread, bounds=bounds)
            return activate(asked, of, parametrisation=pixels, n=100, random_state=0, **options).images

        row("real, held out", torch.tensor(np.concatenate([held[truth == k][:10] for k in range(10)])).view(-1, *SHAPE))
        row("climbed without a prior", up(1, 0.5, bounds=(0, 1), steps=200, lr=1.0))
        for weight in (1, SHARP):
            row(f"climbed, target times {weight}", up(weight, mean, prior=prior, steps=300, lr=noise / 2))
        for weight, heat in ((1, 1.0), (SHARP, 1.0), (SHARP, 0.3)):
            images = up(weight, drawn, 0.0, prior=prior, steps=400, lr=noise / 4, noise=heat)
            row(f"sampled at T = {heat}, target times {weight}", images)
        row("the same without pixel noise", clean(images))
    return table, shown


SHOWN = ("real, held out", "climbed without a prior", f"climbed, target times {SHARP}", "the same without pixel noise")


def packed(images):
    """Ten pictures as whole grey levels 0 to 255, two hexadecimal digits a pixel."""
    return (images.clamp(0, 1) * 255).round().byte().numpy().tobytes().hex()


def spectra():
    """Pixels against waves on MNIST: the raw output per step, and the power of what is reached, by frequency."""
    (X, y), table = data.mnist(), []
    X = X / np.float32(255)
    asked = network(X[:HALF], y[:HALF], 16, seed=0)
    table.append({"pictures": "real", "power": power(torch.tensor(X[:1000]).view(-1, *SHAPE))})
    for name, kind in (("pixels", Pixels), ("waves", Fourier)):

        def up(steps, lr):
            grey = kind(SHAPE, start=0.5, spread=0.0)
            return activate(asked, logit(range(10)), parametrisation=grey, n=10, steps=steps, lr=lr)

        lr = 0.2 / length(up(1, 1.0).images - 0.5)  # both take a first step of the same length
        found = up(100, lr)
        change = found.images - 0.5
        curve = [round_to(float(value)) for value in found.history.mean(1)]
        table.append({"pictures": name, "reached": curve, "length": round_to(length(change)), "power": power(change)})
    for row in table:
        frequencies = np.arange(1, 14)
        row["slope"] = round_to(float(np.polyfit(np.log(frequencies), np.log(row["power"]), 1)[0]))
    return table


def length(change):
    """The mean norm of what was added."""
    return float(change.flatten(1).norm(dim=1).mean())


def power(images):
    """Mean power at 1 to 13 waves across the picture, whatever their direction."""
    spectrum = torch.fft.fft2(images[:, 0] - images[:, 0].mean((1, 2), keepdim=True)).abs().square().mean(0)
    waves = torch.fft.fftfreq(28) * 28
    ring = torch.hypot(waves[:, None], waves[None]).round()
    return [round_to(float(spectrum[ring == r].mean())) for r in range(1, 14)]


def measure(repeats):
    """All tables; nothing is timed, so ``repeats`` is not used."""
    table, shown = pictures()
    return {"pictures": table, "spectra": spectra(), "shown": shown}
