"""Compressed sensing: the error of every prior of the family for 25 to 200 random measurements of a picture.

The protocol of Bora et al. (2017): 28 x 28 pictures with grey levels 0 to 1, entries of A normal with variance 1/M, noise
of standard deviation 0.1/sqrt(M); 100 held-out pictures, three matrices.  Errors are squared and per pixel.  Every
setting of every prior is chosen, for each M and matrix, on 100 training pictures that no prior has learned from.

``measure`` takes the priors that fit in seconds on few rows; ``full`` takes all of them on all rows, or those it is
told, one after the other on one thread.  It stores what is done at once beside the rows of the others, keeps a network
once it is trained, and goes on where a run was stopped.
"""

import hashlib
import itertools
import json
import math
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import torch
from gaelib import GGAE, LGAE, LLGAE, MPPCA, NMF, PPCA, VAE, Autoencoder, Memory, data
from gaelib.joints.flats import Flats
from gaelib.joints.network import Network, decode_mean, layers, run
from gaelib.models.sensing import sense
from gaelib.pictures.image_prior import Linear, deep_image_prior
from gaelib.rows import at
from gaelib.solvers.climb import climb
from gaelib.training import multiplies_bfloat16
from scipy.fft import dctn
from torch import nn

from .garments import packed
from .harness import PACKAGE, machine, round_to, source_hash, store

SETS = {"MNIST": data.mnist, "Fashion-MNIST": data.fashion_mnist}
MEASUREMENTS, MATRICES, TEST, HELD = (25, 50, 100, 200), 3, 100, 100
SIDE, D, CODE = 28, 784, 20
SHOWN, AT = 5, 50  # pictures that are stored, and from how many measurements
FEW = 8  # test pictures of the image prior, which takes seconds for each; the error of all priors on them is kept too
DREAMT = {"tuned": 4, "steps": (50, 100, 200, 300)}
PRICES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
NOMINAL, VARIES = (0.5, 0.8, 0.9, 0.95), 1e-3  # pixels of less variance are blank in nearly all pictures
EPOCHS = {"MNIST": {"AE": 10, "VAE": 14}, "Fashion-MNIST": {"AE": 6, "VAE": 6}}  # of pictures and their copies
VARIANCE = {"AE": "learn", "VAE": 0.12}  # sigma^2: as small as a VAE learns it, 25 measurements find worse codes
BATCH, RATE, COPIES = 500, 4e-3, 5  # copies of each picture, moved by a pixel or none
HIDDEN, DEVICE = (500, 500), "cuda" if torch.cuda.is_available() else "cpu"
CLIMBS = {"held": 20, "restarts": 20, "steps": 150}  # of a network's codes; its sigma^2 is chosen on so many pictures
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
    """The test error of one prior, for the setting that is best on pictures held back."""
    (A, noise), start = sensor(M, matrix), time.perf_counter()
    Y, Yv = measured(test, A, noise, [M, matrix, 1]), measured(held, A, noise, [M, matrix, 2])
    allowed = [setting for setting in settings if not isinstance(setting, int) or setting < M]
    chosen = min(allowed, key=lambda setting: error(held, prior(Yv, A, noise, setting)[0]) if allowed[1:] else 0)
    begun = time.perf_counter()
    mean, std = prior(Y, A, noise, chosen)
    row = {"M": M, "matrix": matrix, "error": round_to(error(test, mean), 4), "setting": str(chosen or "")}
    row["few"] = round_to(error(test[:FEW], mean[:FEW]), 4)
    row |= {"seconds": round_to(time.perf_counter() - begun, 2), "with_tuning": round_to(begun - start, 2)}
    if std is not None:
        off, normal = np.abs(mean - test) / np.maximum(std, 1e-9), torch.distributions.Normal(0, 1)
        inside = [float(normal.icdf(torch.tensor(0.5 + level / 2))) for level in NOMINAL]
        varies = held.var(0) > VARIES
        row["covered"] = [round_to((off <= width).mean(), 3) for width in inside]
        row["varying"] = [round_to((off[:, varies] <= width).mean(), 3) for width in inside]
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
    model = NMF(100, max_iter=100, tol=0, random_state=0).fit(X)
    W = (model.components_ * model.transform(X[:2000]).mean(0)[:, None]).astype(np.float64)
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
        return (self.net(z).float().sigmoid() - self.mean) / self.scale


class Twice(nn.Module):
    """An encoder that looks twice: it mends its first code by what the decoder then misses (Marino et al., 2018)."""

    def __init__(self, decoder):
        super().__init__()
        self.first, self.decoder = layers(D, *HIDDEN, CODE), decoder
        self.second = layers(D + CODE, HIDDEN[0], CODE)

    def forward(self, x):
        z = self.first(x)
        return z + self.second(torch.cat([x - self.decoder(z), z], 1))


class Quick(nn.Module):
    """A decoder whose layers are in bfloat16 where a code climbs, in float32 where its picture is judged."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, z):
        return run(self.net, z, torch.is_grad_enabled())


class White(nn.Module):
    """Codes with mean 0 and covariance 1, turned into those of an autoencoder."""

    def __init__(self, codes):
        super().__init__()
        self.register_buffer("mean", codes.mean(0))
        self.register_buffer("turn", torch.linalg.cholesky(torch.cov(codes.T)))

    def forward(self, z):
        return z @ self.turn.T + self.mean


def moved(X):
    """Pictures, and of each COPIES more, moved by a pixel or none down and to the right."""
    rng, found = np.random.default_rng(0), [X]
    for _ in range(COPIES):
        pictures, steps = X.reshape(-1, SIDE, SIDE), rng.integers(-1, 2, (len(X), 2))
        copies = np.empty_like(pictures)
        for step in itertools.product((-1, 0, 1), repeat=2):
            mine = (steps == step).all(1)
            copies[mine] = np.roll(pictures[mine], step, (1, 2))
        found.append(copies.reshape(X.shape))
    return np.concatenate(found)


def network(kind, of, seed=0):
    """A decoder of 20-500-500-784 with its encoder, trained for ``of`` once and kept; and the seconds that it took.

    An AE's encoder looks twice.  Layers learn in bfloat16 where the processor multiplies it (`precision="auto"`).  Two
    times are kept: the CPU seconds of one thread, and the seconds of the clock on a machine that may have been shared.
    """
    path = KEPT / f"{of} {kind} {seed} {EPOCHS[of][kind]} {source_hash()}{OWN}.joblib"
    if path.exists():
        return joblib.load(path)
    X, start = images(of)[0], (time.process_time(), time.perf_counter())
    torch.manual_seed(seed)
    options = {"hidden": HIDDEN, "max_epochs": EPOCHS[of][kind], "batch_size": BATCH, "lr": RATE, "random_state": seed}
    options |= {"validation": 0.01, "patience": EPOCHS[of][kind], "variance": VARIANCE[kind]}
    pictures = moved(X)
    mean = torch.from_numpy(pictures.mean(0, dtype=np.float64))
    scale = float(pictures.var(0, dtype=np.float64).mean()) ** 0.5  # both as the model has them from the same pictures
    net = layers(CODE, *reversed(HIDDEN), D)
    decode_mean(net, "bernoulli", mean)
    decoder = Grey(net, mean.float(), scale)
    model = Autoencoder(CODE, encoder=Twice(decoder), decoder=decoder) if kind == "AE" else VAE(CODE, decoder=decoder)
    model.set_params(**options).fit(pictures)
    path.parent.mkdir(exist_ok=True)
    joblib.dump((model, time.process_time() - start[0], time.perf_counter() - start[1]), path)
    return joblib.load(path)


def quick(joint, *before):
    """A trained joint with a normal prior of what ``before`` turns into its codes, which climbs in bfloat16."""
    decoder = Quick(nn.Sequential(*before, joint.decoder))
    return Network(decoder, noise=joint.noise, prior="normal", centre=joint.centre, scale=float(joint.scale))


def climbed(kind):
    """A trained decoder; sigma^2 is chosen about what it leaves of training pictures, and an AE's codes are whitened."""

    def fit(X):
        model, own = fit.model, rebuilt(fit.model, X[:5000])
        joint = quick(model.joint_, *([White(torch.as_tensor(model.transform(X)))] if kind == "AE" else []))
        z = np.random.default_rng(0).normal(size=(CLIMBS["restarts"], CODE)).astype(np.float32)

        def prior(y, A, noise, share):
            y, A = (torch.as_tensor(part, dtype=torch.float32, device=DEVICE) for part in (y, A))
            found = sense(joint, y, A, noise, variance=share * own, start=z, steps=CLIMBS["steps"])
            return found.mean.cpu().numpy(), None

        return [0.5, 1.0, 2.0], prior

    return fit


def rebuilt(model, X):
    """What a network leaves of pictures that its own encoder sees."""
    return error(X, model.inverse_transform(model.transform(X)))


def floor(model, X):
    """What a network leaves of pictures at the best code, which climbs from the encoder's answer."""
    x, joint = torch.as_tensor(X, device=DEVICE), quick(model.joint_)
    with at(x.device, joint):
        z = torch.as_tensor(model.transform(X), device=DEVICE)
        for rate in (0.1, 0.03, 0.01):
            size = rate * float(z.square().mean().sqrt())
            away = lambda z: -(joint.decode(z) - x).square().sum(1)  # noqa: E731
            z = climb(away, z, CLIMBS["steps"], size, optimiser=torch.optim.Adam)
        with torch.no_grad():
            return error(X, joint.decode(z).cpu())


def dream(held, test, M):
    """The image prior for one M: its error on few pictures, after the number of steps that is best on fewer held back."""

    def climb(x, matrix, seed):
        (A, noise), found = sensor(M, matrix), []
        y = measured(x[None], A, noise, [M, matrix, *seed])[0]
        keep = lambda now: found.append(now.averaged.ravel()) if now.step + 1 in DREAMT["steps"] else None  # noqa: E731
        options = {"steps": max(DREAMT["steps"]), "precision": "bfloat16", "random_state": 0, "device": "cpu"}
        deep_image_prior(y, Linear(A, (SIDE, SIDE)), callback=keep, **options)
        return found, [error(x, picture) for picture in found]

    start, rows = time.perf_counter(), []
    tuned = [climb(x, 0, [3, i])[1] for i, x in enumerate(held[: DREAMT["tuned"]])]
    best, tuning = int(np.argmin(np.mean(tuned, 0))), time.perf_counter() - start
    for matrix in range(MATRICES):
        begun = time.perf_counter()
        pictures, errors = zip(*(climb(x, matrix, [4, i]) for i, x in enumerate(test[:FEW])))
        row = {"M": M, "matrix": matrix, "error": round_to(np.mean(errors, 0)[best], 4)}
        row |= {"few": row["error"], "setting": f"{DREAMT['steps'][best]} steps", "with_tuning": round_to(tuning, 2)}
        row["seconds"] = round_to(time.perf_counter() - begun, 2)
        if M == AT and matrix == 0:
            row["pictures"] = packed(np.stack([found[best] for found in pictures[:SHOWN]]))
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
    "GGAE": kernels,
    "NMF": parts,
    "nearest neighbour": nearest,
    "AE": climbed("AE"),
    "VAE": climbed("VAE"),
}
NETWORKS, DREAM = ("AE", "VAE"), "deep image prior"  # not for ``measure``


# --- The runs -----------------------------------------------------------------------------------------------------


def place(of, name, rows=None, M=None, seed=0):
    """Where what is done of a task is kept."""
    return KEPT / f"{of} {name} {rows} {M} {seed} {source_hash()}{OWN}.json".replace("/", " ")


def task(of, name, rows=None, M=None, seed=0):
    """One prior on one data set, as rows of the table; kept in a file of its own once it is done."""
    path = place(of, name, rows, M, seed)
    if path.exists():
        return json.loads(path.read_text())
    X, held, test = images(of, rows)
    if M is not None:
        found = [{"set": of, "prior": name} | row for row in dream(held, test, M)]
        return keep(path, {"rows": found, "fits": []})
    fit, start = PRIORS[name], time.perf_counter()
    if name in NETWORKS:
        (fit.model, seconds, clock), held = network(name, of, seed), held[: CLIMBS["held"]]
    settings, prior = fit(X)
    made = {"set": of, "prior": name, "rows": len(X), "fit_seconds": round_to(time.perf_counter() - start, 3)}
    if name in NETWORKS:
        T = np.asarray(SETS[of](False)[0], dtype=np.float32) / 255
        made |= {"own": round_to(rebuilt(fit.model, T)), "epochs": fit.model.n_iter_, "fit_seconds": round_to(seconds)}
        made |= {"floor": round_to(floor(fit.model, T[:1000])), "clock": round_to(clock), "seed": seed}
        made |= {"bfloat16": multiplies_bfloat16(torch.device(DEVICE))}
    made |= {"processor": machine()["gpu"] or machine()["processor"], "source": source_hash()}
    rows = [judge(prior, settings, held, test, M, matrix) for M in MEASUREMENTS for matrix in range(MATRICES)]
    return keep(path, {"rows": [{"set": of, "prior": name} | row for row in rows], "fits": [made]})


def keep(path, found):
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(found))
    path.with_suffix(".part").rename(path)  # whole or not at all
    return found


def summary(found):
    """The tables: mean and standard deviation over matrices and trainings, what each fit took, coverage, pictures."""
    rows, fits = ([row for part in found for row in part[name]] for name in ("rows", "fits"))
    table, sure, pictures, fits = [], [], [], averaged(fits)
    for of in SETS:
        for prior in dict.fromkeys(row["prior"] for row in rows if row["set"] == of):
            for M in MEASUREMENTS:
                mine = [row for row in rows if (row["set"], row["prior"], row["M"]) == (of, prior, M)]
                if not mine:
                    continue
                errors = [row["error"] for row in mine]
                line = {"set": of, "prior": prior, "M": M, "error": round_to(np.mean(errors), 4)}
                line["few"] = round_to(np.mean([row["few"] for row in mine]), 4)
                line |= {"sd": round_to(np.std(errors, ddof=1), 2), "settings": [row["setting"] for row in mine]}
                line["seconds"] = round_to(np.median([row["seconds"] for row in mine]), 2)
                table.append(line)
                if "covered" in mine[0]:
                    line = {"set": of, "prior": prior, "M": M, "nominal": NOMINAL}
                    for key in ("covered", "varying"):
                        line[key] = [round_to(value, 3) for value in np.mean([row[key] for row in mine], 0)]
                    line |= {key: round_to(np.mean([row[key] for row in mine]), 3) for key in ("expected", "agree")}
                    sure.append(line)
                shown = [row["pictures"] for row in mine if "pictures" in row]
                pictures += [{"set": of, "prior": prior, "pictures": each} for each in shown[:1]]
        shown = packed(images(of, 1)[2][:SHOWN])
        pictures.append({"set": of, "prior": "picture", "pictures": shown})
    protocol = {"test": TEST, "matrices": MATRICES, "measurements": MEASUREMENTS, "held": HELD, "shown_at": AT}
    protocol |= {"few": FEW, "dreamt held": DREAMT["tuned"], "climbed held": CLIMBS["held"], "copies": COPIES}
    return {"protocol": [protocol], "errors": table, "fits": fits, "sure": sure, "pictures": pictures}


def averaged(fits):
    """One row for the trainings of a network: how many, the means of what each took and leaves, what each leaves, and
    the longest by the clock."""
    rows = {}
    for row in fits:
        rows.setdefault((row["set"], row["prior"]), []).append(row)
    for mine in (each for each in rows.values() if "seed" in each[0]):
        first = mine[0]
        mean = {key: round_to(np.mean([row[key] for row in mine])) for key in ("own", "floor", "fit_seconds")}
        every = {"owns": [row["own"] for row in mine], "clock": max(row["clock"] for row in mine)}
        mine[:] = [first | mean | every | {"trainings": len(mine)}]
        del mine[0]["seed"]
    return [row for mine in rows.values() for row in mine]


def measure(repeats):
    """What fits in seconds, on 20,000 rows; nothing here is raced.  The image prior and networks are for ``full``."""
    found = [task(of, name, 20000) for of in SETS for name in PRIORS if name not in NETWORKS]
    return summary(found)


def full(priors=(*PRIORS, DREAM), sets=tuple(SETS), rows=None, seeds=(0,)):
    """These priors on all rows, a network trained by every seed; what is stored of the others stays."""
    torch.set_num_threads(1)
    path, found = PACKAGE / "results" / "sensing.json", []
    for name in priors:
        for of in sets:
            many = MEASUREMENTS if name == DREAM else (None,)
            for M, seed in itertools.product(many, seeds if name in NETWORKS else (0,)):
                start = time.perf_counter()
                found.append(task(of, name, rows, M, seed))
                print(f"{time.perf_counter() - start:.0f} s: {of}, {name}, {M or seed}", flush=True)
                stored = json.loads(path.read_text()) if path.exists() else None
                store("sensing", merged(stored, summary(found)), 1)


def trainings(seed, sets=tuple(SETS), networks=NETWORKS):
    """The networks of one seed and their rows: side by side with other seeds, and nothing is stored yet."""
    torch.set_num_threads(1)
    for of, name in itertools.product(sets, networks):
        start = time.perf_counter()
        task(of, name, seed=seed)
        print(f"{time.perf_counter() - start:.0f} s: {of}, {name}, seed {seed}", flush=True)


def gathered(seeds):
    """Store what is done of these trainings, wherever all seeds are."""
    for of, name in itertools.product(SETS, NETWORKS):
        if all(place(of, name, seed=seed).exists() for seed in seeds):
            full((name,), (of,), seeds=seeds)


def merged(stored, new):
    """New rows in place of the stored ones of the same set and prior, in the order of the table."""
    if stored is None:
        return new
    for row in stored["fits"]:
        row.setdefault("processor", stored["machine"]["processor"])
    for name in ("errors", "fits", "sure", "pictures"):
        known = {(row["set"], row["prior"]) for row in new[name]}
        new[name] += [row for row in stored[name] if (row["set"], row["prior"]) not in known]
        new[name].sort(key=lambda row: (list(SETS).index(row["set"]), [*PRIORS, DREAM, "picture"].index(row["prior"])))
    return new
