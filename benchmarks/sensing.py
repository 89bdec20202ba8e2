"""Compressed sensing: the error of every prior of the family for 25 to 200 random measurements of a picture.

The protocol of Bora et al. (2017): 28 x 28 pictures with grey levels 0 to 1, entries of A normal with variance 1/M, noise
of standard deviation 0.1/sqrt(M); 100 held-out pictures, three matrices.  Errors are squared and per pixel.  Every
setting of every prior is chosen, for each M and matrix, on 100 training pictures that no prior has learned from.

``measure`` takes the priors that fit in seconds on few rows; ``full`` takes all of them on all rows, each in a process
of its own, stores what is done at once, and goes on where a run was stopped.
"""

import hashlib
import json
import math
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from gaelib import GGAE, LGAE, LLGAE, MPPCA, PPCA, VAE, Autoencoder, Memory, data
from gaelib.joints.flats import Flats
from gaelib.joints.network import Network, layers
from gaelib.models.sensing import sense
from gaelib.pictures.image_prior import Linear, deep_image_prior
from scipy.fft import dctn
from sklearn.decomposition import NMF
from torch import nn

from .garments import packed
from .harness import round_to, source_hash, store

SETS = {"MNIST": data.mnist, "Fashion-MNIST": data.fashion_mnist}
MEASUREMENTS, MATRICES, TEST, HELD = (25, 50, 100, 200), 3, 100, 100
SIDE, D, CODE = 28, 784, 20
SHOWN, AT = 5, 50  # pictures that are stored, and from how many measurements
DREAMT = {"test": 20, "tuned": 5, "steps": (50, 100, 200, 400)}  # the image prior takes seconds a picture: so many
PRICES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
NOMINAL = (0.5, 0.8, 0.9, 0.95)
EPOCHS = 60
OWN = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:6]
KEPT = Path(tempfile.gettempdir()) / "gaelib-sensing"


# --- The data and the judge -------------------------------------------------------------------------------------


def images(name, rows=None):
    """Rows to learn from, 100 of them held back for tuning, and 100 test pictures; grey levels 0 to 1, float32."""
    X, T = (np.asarray(SETS[name](train)[0], dtype=np.float32) / 255 for train in (True, False))
    rng = np.random.default_rng(0)
    X, T = X[rng.permutation(len(X))], T[rng.permutation(len(T))[:TEST]]
    return X[HELD:][:rows], X[:HELD], T


def sensor(M, matrix):
    """The matrix (M, D), and the noise of its measurements."""
    return np.random.default_rng([M, matrix]).normal(size=(M, D)) / math.sqrt(M), 0.1 / math.sqrt(M)


def measured(x, A, noise, seed):
    return x @ A.T + noise * np.random.default_rng(seed).normal(size=(len(x), len(A)))


def error(x, found):
    return float(np.square(np.asarray(found, dtype=np.float64) - x).mean())


def judge(prior, settings, held, test, M, matrix):
    """The test error of one prior, for the setting that is best on the pictures held back."""
    (A, noise), start = sensor(M, matrix), time.perf_counter()
    Y, Yv = measured(test, A, noise, [M, matrix, 1]), measured(held, A, noise, [M, matrix, 2])
    allowed = [setting for setting in settings if not isinstance(setting, int) or setting < M]
    chosen = min(allowed, key=lambda setting: error(held, prior(Yv, A, noise, setting)[0]) if allowed[1:] else 0)
    begun = time.perf_counter()
    mean, std = prior(Y, A, noise, chosen)
    row = {"M": M, "matrix": matrix, "error": round_to(error(test, mean), 4), "setting": str(chosen or "")}
    row |= {"seconds": round_to(time.perf_counter() - begun, 2), "with_tuning": round_to(begun - start, 2)}
    if std is not None:
        off, normal = np.abs(mean - test) / np.maximum(std, 1e-9), torch.distributions.Normal(0, 1)
        inside = [float(normal.icdf(torch.tensor(0.5 + level / 2))) for level in NOMINAL]
        row["covered"] = [round_to((off <= width).mean(), 3) for width in inside]
        expected, real = (std**2).mean(1), ((mean - test) ** 2).mean(1)  # of each picture
        same = np.ptp(expected) < 1e-9 * expected.mean()  # one Gaussian is as sure of every picture
        row |= {"expected": float(expected.mean()), "agree": 0.0 if same else float(np.corrcoef(expected, real)[0, 1])}
    if M == AT and matrix == 0:
        row["pictures"] = packed(mean[:SHOWN])
    return row


# --- The priors: rows -> (their settings, a function of y, A, noise and a setting) --------------------------------


def answer(model, **options):
    """`sense` as a prior: T and other options fixed."""

    def prior(y, A, noise, setting=None):
        found = sense(model, y, A, noise, **options)
        return found.mean, found.std

    return prior


def mean_picture(X):
    return [None], lambda y, A, noise, setting: (np.broadcast_to(X.mean(0), (len(y), D)), None)


def cosines():
    """Orthonormal: one wave a row."""
    return dctn(np.eye(D).reshape(D, SIDE, SIDE), axes=(1, 2), norm="ortho").reshape(D, D).T


def wavelets(taps):
    """Orthonormal wavelets of two levels on a periodic picture, one a row: Haar's, or those of Daubechies' four taps."""

    def level(n):
        low, high = np.zeros((n // 2, n)), np.zeros((n // 2, n))
        for i in range(n // 2):
            for j, tap in enumerate(taps):
                low[i, (2 * i + j) % n] += tap
                high[i, (2 * i + j) % n] += (-1) ** j * taps[len(taps) - 1 - j]
        return np.vstack([low, high])

    whole, half, once = level(SIDE), level(SIDE // 2), np.eye(D)
    for n, step in ((SIDE, whole), (SIDE // 2, half)):
        turn = np.eye(D).reshape(D, SIDE, SIDE)
        turn[:, :n, :n] = np.einsum("ij,kjl,ml->kim", step, turn[:, :n, :n], step)
        once = once @ turn.reshape(D, D)
    return once.T


HAAR = (1 / math.sqrt(2),) * 2
DAUBECHIES = tuple((a + b * math.sqrt(3)) / (4 * math.sqrt(2)) for a, b in ((1, 1), (3, 1), (3, -1), (1, -1)))


def shrink(A, Y, price, positive=False, steps=250):
    """The codes of least |y - A c|^2 / 2 + price |c|, for all rows at once, by FISTA."""
    A, Y = (torch.as_tensor(part, dtype=torch.float32) for part in (A, Y))
    top, t = torch.linalg.eigvalsh(A @ A.T)[-1], 1.0
    c = v = Y.new_zeros(len(Y), A.shape[1])
    for _ in range(steps):
        w = v - (v @ A.T - Y) @ A / top
        w = (w - price / top).clamp(min=0) if positive else w.sign() * (w.abs() - price / top).clamp(min=0)
        after = (1 + math.sqrt(1 + 4 * t * t)) / 2
        v, c, t = w + (t - 1) / after * (w - c), w, after
    return c.numpy()


def lasso(**bases):
    def fit(X):
        def prior(y, A, noise, setting):
            name, price = setting
            return shrink(A @ bases[name].T, y, price) @ bases[name], None

        return [(name, price) for name in bases for price in PRICES], prior

    return fit


def plane(X):
    model, total = LGAE(150).fit(X), X.var(0, dtype=np.float64).sum()
    mean, axes = torch.from_numpy(model.mean_), torch.from_numpy(model.components_.T.copy())

    def prior(y, A, noise, p):
        variance = (total - model.explained_variance_[:p].sum()) / (D - p)
        return answer(Flats(mean[None], axes[None, :, :p], float(variance)))(y, A, noise)

    return [2, 5, 8, 12, 20, 30, 50, 75, 100, 150], prior


def gaussian(X):
    models = {f"{p} directions": PPCA(p).fit(X) for p in (100, 200, 300, 500, 700)}
    return list(models), lambda y, A, noise, setting: answer(models[setting], T=1)(y, A, noise)


def flats(X):
    """`LLGAE` with some or all of its directions; sigma^2 is what they leave of 2000 rows."""
    fits = {(K, p): LLGAE(K, p, random_state=0, max_iter=10, tol=1e-3).fit(X).joint_ for K, p in ((50, 10), (30, 20))}
    few, joints = torch.from_numpy(X[:2000]), {}
    for (K, p), joint in fits.items():
        for q in (0, 2, 4, 7, 10, 15, 20):
            if q <= p:
                cut = Flats(joint.means, joint.bases[:, :, :q])
                cut.variance = float(cut.residual(few, cut.argmax(few)).square().mean()) * D / (D - q)
                joints[f"{K} flats, {q} directions"] = cut
    return list(joints), lambda y, A, noise, setting: answer(joints[setting])(y, A, noise)


def mixture(K, p, steps):
    def fit(X):
        return [None], answer(MPPCA(K, p, random_state=0, max_iter=steps).fit(X), T=1)

    return fit


def kernels(X):
    joint = GGAE(60, 8, variance=2.0, random_state=0, max_iter=12, tol=1e-3).fit(X[:2000]).joint_
    return [0.02, 0.05, 0.1, 0.3, 1.0], lambda y, A, noise, v: answer(joint, variance=v)(y, A, noise)


def parts(X):
    """Non-negative parts, each in the units of its own mean amount, so that one price for all is an exponential prior."""
    model = NMF(100, init="nndsvda", max_iter=100, random_state=0)
    amounts = model.fit_transform(X[:10000])
    W = (model.components_ * amounts.mean(0)[:, None]).astype(np.float64)
    return [*PRICES, 3.0], lambda y, A, noise, price: (shrink(A @ W.T, y, price, True, 500) @ W, None)


def nearest(X):
    model = Memory().fit(X)
    return [0.0, 0.02], lambda y, A, noise, v: answer(model, variance=v)(y, A, noise)


class Grey(nn.Module):
    """A decoder of grey levels between 0 and 1, seen from their mean in units of their scale."""

    def __init__(self, net, mean, scale):
        super().__init__()
        self.net, self.scale = net, scale
        self.register_buffer("mean", mean)

    def forward(self, z):
        return (self.net(z).sigmoid() - self.mean) / self.scale


class White(nn.Module):
    """Codes with mean 0 and covariance 1, turned into those of an autoencoder."""

    def __init__(self, codes):
        super().__init__()
        self.register_buffer("mean", codes.mean(0))
        self.register_buffer("turn", torch.linalg.cholesky(torch.cov(codes.T)))

    def forward(self, z):
        return z @ self.turn.T + self.mean


def network(kind):
    """A decoder of 20-500-500-784 with its encoder; sigma^2 is tuned about what it leaves of the pictures held back."""

    def fit(X):
        start = time.perf_counter()
        options = {"hidden": (500, 500), "max_epochs": EPOCHS, "patience": EPOCHS, "lr": 1e-3, "batch_size": 500}
        mean, scale = torch.from_numpy(X.mean(0, dtype=np.float64)), float(X.std(dtype=np.float64))
        if kind == "AE":
            decoder = Grey(layers(CODE, 500, 500, D), mean.float(), scale)
            model = Autoencoder(CODE, decoder=decoder, random_state=0, **options)
        else:
            model = VAE(CODE, noise="bernoulli" if kind == "VAE" else "gaussian", random_state=0, **options)
        model.fit(X)
        joint = model.joint_
        if kind == "AE":
            white = White(torch.as_tensor(model.transform(X)))
            joint = Network(
                nn.Sequential(white, joint.decoder), prior="normal", centre=joint.centre, scale=float(joint.scale)
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        z = np.random.default_rng(0).normal(size=(10, CODE)).astype(np.float32)
        own = error(X[:5000], model.inverse_transform(model.transform(X[:5000])))
        fit.seconds, fit.model = time.perf_counter() - start, model

        def prior(y, A, noise, share):
            y, A = (torch.tensor(part, dtype=torch.float32, device=device) for part in (y, A))
            return sense(joint, y, A, noise, variance=share * own, start=z).mean.cpu().numpy(), None

        return [0.25, 0.5, 1.0, 2.0, 4.0], prior

    return fit


def dream(X, held, test, M):
    """The image prior for one M: its error on few pictures, after the number of steps that is best on fewer held back."""

    def climb(x, A, noise, seed):
        y, found = measured(x[None], A, noise, seed)[0], []
        keep = lambda now: found.append(now.averaged.ravel()) if now.step + 1 in DREAMT["steps"] else None  # noqa: E731
        deep_image_prior(
            y, Linear(A, (SIDE, SIDE)), steps=max(DREAMT["steps"]), random_state=0, device="cpu", callback=keep
        )
        return [error(x, picture) for picture in found], found

    rows = []
    for matrix in range(MATRICES):
        (A, noise), start = sensor(M, matrix), time.perf_counter()
        tuned = [climb(x, A, noise, [M, matrix, 3, i])[0] for i, x in enumerate(held[: DREAMT["tuned"]])]
        best = int(np.argmin(np.mean(tuned, 0)))
        begun = time.perf_counter()
        found = [climb(x, A, noise, [M, matrix, 4, i]) for i, x in enumerate(test[: DREAMT["test"]])]
        row = {"M": M, "matrix": matrix, "error": round_to(np.mean([errors[best] for errors, _ in found]), 4)}
        row |= {"setting": f"{DREAMT['steps'][best]} steps", "seconds": round_to(time.perf_counter() - begun, 2)}
        row["with_tuning"] = round_to(begun - start, 2)
        if M == AT and matrix == 0:
            row["pictures"] = packed(np.stack([pictures[best] for _, pictures in found[:SHOWN]]))
        rows.append(row)
    return rows


PRIORS = {  # name -> rows -> (settings, prior)
    "mean picture": mean_picture,
    "Lasso, cosines": lasso(cosines=cosines()),
    "Lasso, wavelets": lasso(haar=wavelets(HAAR), daubechies=wavelets(DAUBECHIES)),
    "PCA": plane,
    "Gaussian": gaussian,
    "LLGAE": flats,
    "MPPCA": mixture(20, 60, 6),
    "MPPCA, 10 x 150": mixture(10, 150, 12),
    "GGAE": kernels,
    "NMF": parts,
    "nearest neighbour": nearest,
    "AE": network("AE"),
    "VAE": network("VAE"),
    "VAE, Gaussian noise": network("VAE, Gaussian noise"),
}
SLOW, DREAM = ("AE", "VAE", "VAE, Gaussian noise"), "deep image prior"  # not for ``measure``


# --- The runs -----------------------------------------------------------------------------------------------------


def task(of, name, rows=None, M=None):
    """One prior on one data set, as rows of the table; kept in a file of its own once it is done."""
    path = KEPT / f"{of} {name} {rows} {M} {EPOCHS} {source_hash()}{OWN}.json".replace("/", " ")
    if path.exists():
        return json.loads(path.read_text())
    torch.set_num_threads(1)
    X, held, test = images(of, rows)
    start = time.perf_counter()
    if M is not None:
        rows = [{"set": of, "prior": name} | row for row in dream(X, held, test, M)]
        return keep(path, {"rows": rows, "fits": []})
    fit = PRIORS[name]
    settings, prior = fit(X)
    made = {"set": of, "prior": name, "rows": len(X), "fit_seconds": round_to(time.perf_counter() - start, 3)}
    if hasattr(fit, "model"):
        T = np.asarray(SETS[of](False)[0], dtype=np.float32) / 255
        made["own"] = round_to(error(T, fit.model.inverse_transform(fit.model.transform(T))), 3)
        made |= {"epochs": fit.model.n_iter_, "fit_seconds": round_to(fit.seconds, 3)}
    rows = [judge(prior, settings, held, test, M, matrix) for M in MEASUREMENTS for matrix in range(MATRICES)]
    return keep(path, {"rows": [{"set": of, "prior": name} | row for row in rows], "fits": [made]})


def keep(path, found):
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(found))
    path.with_suffix(".part").rename(path)  # whole or not at all
    return found


def summary(found):
    """The tables: mean and standard deviation over the matrices, what each fit took, coverage, pictures."""
    rows, fits = ([row for part in found for row in part[name]] for name in ("rows", "fits"))
    table, sure, pictures = [], [], []
    for of in SETS:
        for prior in dict.fromkeys(row["prior"] for row in rows if row["set"] == of):
            for M in MEASUREMENTS:
                mine = [row for row in rows if (row["set"], row["prior"], row["M"]) == (of, prior, M)]
                if not mine:
                    continue
                errors = [row["error"] for row in mine]
                line = {"set": of, "prior": prior, "M": M, "error": round_to(np.mean(errors), 4)}
                line |= {"sd": round_to(np.std(errors, ddof=1), 2), "settings": [row["setting"] for row in mine]}
                line["seconds"] = round_to(np.median([row["seconds"] for row in mine]), 2)
                table.append(line)
                if "covered" in mine[0]:
                    line = {"set": of, "prior": prior, "M": M, "nominal": NOMINAL}
                    line["covered"] = [round_to(value, 3) for value in np.mean([row["covered"] for row in mine], 0)]
                    line |= {key: round_to(np.mean([row[key] for row in mine]), 3) for key in ("expected", "agree")}
                    sure.append(line)
                pictures += [
                    {"set": of, "prior": prior, "pictures": row["pictures"]} for row in mine if "pictures" in row
                ]
        shown = packed(images(of, 1)[2][:SHOWN])
        pictures.append({"set": of, "prior": "picture", "pictures": shown})
    protocol = {"test": TEST, "matrices": MATRICES, "measurements": MEASUREMENTS, "held": HELD, "shown_at": AT}
    protocol |= {"dreamt": DREAMT["test"], "epochs": EPOCHS}
    return {"protocol": [protocol], "errors": table, "fits": fits, "sure": sure, "pictures": pictures}


def measure(repeats):
    """What fits in seconds, on 20,000 rows; nothing here is raced.  The image prior and networks are for ``full``."""
    found = [task(of, name, 20000) for of in SETS for name in PRIORS if name not in SLOW]
    return summary(found)


def full(rows=None, sets=tuple(SETS), without=(), processes=None):
    """Every prior on all rows, each in a process of its own, the networks on a card where there is one."""
    start = time.perf_counter()
    order = sorted(PRIORS, key=lambda name: name not in (*SLOW, "GGAE", "NMF", "MPPCA", "LLGAE"))  # the long ones first
    todo = [(of, name, rows) for name in order if name not in without for of in sets]
    if DREAM not in without:
        todo += [(of, DREAM, rows, M) for M in MEASUREMENTS for of in sets]
    found = {}
    with ProcessPoolExecutor(processes or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(task, *job): job for job in todo}
        for job in as_completed(jobs):  # what is done is stored at once
            print(f"{time.perf_counter() - start:.0f} s: {jobs[job]} {job.exception() or ''}", flush=True)
            if job.exception():
                continue  # the others go on; this one is raised at the end
            found[jobs[job]] = job.result()
            total = {"seconds": round_to(time.perf_counter() - start, 3), "left": len(jobs) - len(found)}
            store("sensing", summary([found[each] for each in sorted(found, key=rank)]) | {"total": [total]}, 1)
    for job in jobs:
        job.result()


def rank(job):
    """The order of the table."""
    return list(SETS).index(job[0]), [*PRIORS, DREAM].index(job[1]), job[3:]
