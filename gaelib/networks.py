"""What every model shares whose decoder is a network: rows that may be pictures, sizes, training, scores, samples."""

import copy
import math
from dataclasses import KW_ONLY

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from .aside import aside
from .core import Amortise, bound, climb, objective
from .estimator import Estimator
from .hyper import (
    Seed,
    checked,
    choice,
    count,
    draw_seed,
    hyper,
    is_word,
    need_integer,
    need_number,
    need_switch,
    number,
)
from .joints.network import FAST, NOISES, Network, centre_and_width, decode_mean, dropping, layers, like, seeded
from .parallel import all_sum, gather, rank_and_size
from .rows import Array, Table, honest
from .solvers.sums import total
from .training import Epochs, Shuffled, centre_and_scale, multiplies_bfloat16

ROWS = 4096  # scored at a time
WIDE = 256  # columns from which layers gain by bfloat16
STEPS = 64  # an epoch of few rows has about so many
FIRST = 0.1  # the variance that is learned starts so far below that of the data, and one that is annealed below its end


def need_sizes(name, value):
    """Refuse what are no layer sizes."""
    if not isinstance(value, (tuple, list)):
        raise ValueError(f"{name}={value!r} must be a tuple of sizes: pass (256, 128), or () for a linear network")
    for size in value:
        need_integer(name, size)


def need_size(name, value):
    """Refuse what is neither "auto" nor a number of rows."""
    if not is_word(value, "auto"):
        need_integer(name, value)


def need_variance(name, value):
    """Refuse what is neither "learn" nor a finite number above 0."""
    if not is_word(value, "learn"):
        need_number(name, value, 0.0, False, True, f"{name}='learn' or such a number")


def need_share(name, value):
    """Refuse what is no share in [0, 1)."""
    need_number(name, value, 0.0, True, True, f"{name}=0.1")
    if value >= 1:
        raise ValueError(f"{name}={value} is not below 1: pass a share such as {name}=0.1")


def need_network(name, value):
    """Refuse what is neither None nor a network."""
    if value is not None and not isinstance(value, nn.Module):
        raise ValueError(f"{name}={value!r} is no network: pass an instance of torch.nn.Module, or None for layers")


def say(what, network, x):
    """What a network says of rows; a refusal by torch names the network."""
    try:
        with torch.no_grad():
            out = network(x)
    except RuntimeError as error:
        given = f"the {what} cannot take an input {tuple(x.shape)}"
        raise ValueError(f"{given} ({error}): change its first layer") from error
    if not isinstance(out, torch.Tensor):
        raise ValueError(f"the {what} answers a {type(out).__name__}, no tensor: wrap it in a Module that returns one")
    return out


class _Pictures:
    """Rows that may come as pictures, and networks of the caller's or by sizes."""

    _wide = True

    def _rows(self, X, y):
        data = super()._rows(self._flat(X, reset=True), y)
        self._length = data.width if self.n_components is None else self.n_components  # E, of this fit
        return data

    def _open(self, X, holes=False):
        return super()._open(self._flat(X), holes)

    def _flat(self, X, reset=False):
        """Pictures (n, C, H, W) as rows; their shape is kept."""
        X = honest(X, "X") if torch.is_tensor(X) else X
        shape = tuple(getattr(X, "shape", ()))
        if reset:
            self.shape_ = shape[1:] if len(shape) > 2 else None
        elif len(shape) > 2 and getattr(self, "shape_", None) not in (None, shape[1:]):
            raise ValueError(f"X has pictures {shape[1:]}, but fit saw {self.shape_}: pass pictures of that shape")
        return X.reshape(shape[0], math.prod(shape[1:])) if len(shape) > 2 else X

    def _inward(self, given, *sizes, copies=None):
        """A network that sees rows: a copy of the caller's, to which they are pictures again, or layers.

        Two networks that are copied with the same ``copies``, a dict, go on to share what they share.
        """
        network = layers(*sizes) if given is None else copy.deepcopy(given, copies)
        return network if given is None or self.shape_ is None else nn.Sequential(nn.Unflatten(1, self.shape_), network)

    def _outward(self, width, copies=None):
        """The decoder: a copy of the caller's, its pictures as rows, or layers."""
        if self.decoder is None:
            return layers(self._length, *reversed(self.hidden), width)
        network = copy.deepcopy(self.decoder, copies)
        return network if self.shape_ is None else nn.Sequential(network, nn.Flatten())

    def _check_decoder(self, decoder, x):
        """The decoder on two rows, before any step."""
        out = say("decoder", decoder, like(decoder, x.new_zeros(len(x), self._length)))
        if tuple(out.shape) != tuple(x.shape):
            what = f"the decoder answers {tuple(out.shape[1:])}, the data have {x.shape[1]} columns"
            raise ValueError(f"{what}: change its last layer")

    def _taker(self, data):
        """(numbers of rows) -> rows; from memory, unless the data are read piece by piece."""
        if data.streamed:
            return data.take
        table = torch.cat(list(data))
        return lambda i: table.index_select(0, i.to(table.device))

    def _size(self, n):
        """Rows a step, of n."""
        return min(min(max(n // STEPS, 16), 256) if is_word(self.batch_size, "auto") else int(self.batch_size), n)

    def inverse_transform(self, Z: Table) -> Array:
        """What codes decode to, the mean of q_r(x|z): (n, n_components) -> (n, D), or pictures as fit saw them."""
        check_is_fitted(self)
        with torch.no_grad():
            x = self._decode(Z, self._length, lambda z: self.joint_.decode(z))
        return x if self.shape_ is None else x.reshape(len(x), *self.shape_)


class _Samples:
    """What can invent rows: codes are drawn, then decoded."""

    def _draw(self, n, generator):
        """Codes as the model expects them: (n, n_components)."""
        return torch.randn(n, self._length, generator=generator, dtype=torch.float32)

    @aside(grad=False)
    def sample(self, n_samples: int = 1, random_state: Seed = None, noise: bool = True) -> np.ndarray:
        """Draw from the model: (n_samples, D) or pictures as fit saw them; without ``noise``, the decoder's means."""
        check_is_fitted(self)
        need_integer("n_samples", n_samples)
        need_switch("noise", noise)
        draw = torch.Generator().manual_seed(draw_seed(random_state))
        x = torch.as_tensor(self.inverse_transform(self._draw(n_samples, draw)))
        with torch.no_grad():
            return (self.joint_.around(x, draw) if noise else x).numpy()


@hyper
class _Neural(_Pictures, ClassNamePrefixFeaturesOutMixin, Estimator):
    """What all share whose decoder is a network with noise; ``_answer`` says who answers the max."""

    _chapter = "family/neural-autoencoders"
    _moves = "Adam, a batch at a time"

    n_components: int = count(2)
    _: KW_ONLY
    hidden: tuple[int, ...] = checked((256, 128), need_sizes)
    decoder: nn.Module | None = checked(None, need_network)
    noise: str = choice(*NOISES)
    variance: float | str = checked("learn", need_variance)
    max_epochs: int = count(50)
    batch_size: int | str = checked("auto", need_size)
    lr: float = number(3e-3, "lr=0.003")
    validation: float = checked(0.1, need_share)
    patience: int = count(10)
    precision: str = choice("auto", "float32", "bfloat16")
    random_state: Seed = None
    verbose: int = 0

    T, prior, draws, anneal, binarise = 0.0, "flat", 1, 0.0, False
    _project = None  # takes a code back to where it may be

    @property
    def _n_features_out(self):
        return self._length

    # --- Before the fit ---

    def _check(self, n, width):
        if (kept := n - math.ceil(self.validation * n)) < 2:
            few = f"validation={self.validation} of n_samples={n} leaves {kept} to learn from"
            raise ValueError(f"{few}, and 2 are needed: pass more rows")

    def _start(self, data, generator):
        self._check_support(data, self.noise)
        centre, scale = centre_and_scale(data)
        with seeded(int(torch.randint(2**31, (), generator=generator))):
            encoder, decoder = self._networks(data.width, scale)
        if self.decoder is None:
            decode_mean(decoder, self.noise, centre)
        learn = is_word(self.variance, "learn")
        variance = FIRST * scale**2 if learn else self.variance
        joint = Network(decoder, encoder, self.noise, variance, learn, self.prior, centre.to("cpu", data.dtype), scale)
        data.memo["seed"] = int(torch.randint(2**31, (), generator=generator))
        self._check_networks(joint, data.take(torch.arange(min(len(data), 2))).cpu())
        pays = self.precision == "auto" and data.width >= WIDE and multiplies_bfloat16(data.device)
        joint.bfloat16 = pays or self.precision == "bfloat16"
        return joint.to(data.device)

    def _networks(self, width, scale):
        """Encoder and decoder of rows of this width, before their training; ``scale`` is the data's."""
        copies = {}
        return self._encoder(width, copies), self._outward(width, copies)

    def _encoder(self, width, copies):
        """The encoder, where there is one."""

    def _check_support(self, data, noise):
        if noise == "gaussian":
            return
        low, high = min(float(x.min()) for x in data), max(float(x.max()) for x in data)
        if noise == "bernoulli" and not 0 <= low <= high <= 1:
            raise ValueError(f"noise='bernoulli' needs entries in [0, 1], got {low:g} to {high:g}: rescale them")
        if noise == "poisson" and low < 0:
            raise ValueError(f"noise='poisson' needs counts of at least 0, got {low:g}: pass counts")

    def _check_networks(self, joint, x):
        """The networks on two rows, before any step."""
        self._check_decoder(joint.eval().decoder, x)

    # --- The fit ---

    def _learn(self, joint, data, history):
        rank, seed = rank_and_size()[0], data.memo["seed"]
        draw = torch.Generator().manual_seed(seed + 2 * rank)
        order = torch.randperm(len(data), generator=draw)[: min(gather(len(data)))]  # as many steps in every process
        held, rows = order.split([m := math.ceil(self.validation * len(order)), len(order) - m])
        take = self._taker(data)
        noise = torch.Generator(data.device).manual_seed(seed + 2 * rank + 1)
        batches = Shuffled(lambda i: i, rows, self._size(len(rows)), draw)
        steps, end = self.max_epochs * len(batches) * self.anneal, float(joint.log_variance.detach())

        def score(i, noise=noise):
            x, answer = take(i), self._answer(joint, noise, rows=i)
            x = torch.bernoulli(x, generator=noise) if self.binarise else x
            return bound(joint, x, answer, self.draws) if self.draws > 1 else objective(joint, x, answer)

        def anneal(step):
            if self.anneal:
                joint.tenth.data.fill_((end + math.log(FIRST) * max(0.0, 1 - step / steps)) / FAST)

        def judge():
            same = torch.Generator(data.device).manual_seed(0)  # noise that every epoch is judged by
            values = [total(score(i, same)).cpu() for i in held.split(ROWS)]
            sums = all_sum({"value": sum(values), "n": torch.tensor(float(m), dtype=torch.float64)})
            return float(sums["value"] / sums["n"])

        anneal(0)
        wait = math.ceil(self.anneal * self.max_epochs)
        epochs = Epochs(joint, lambda i: score(i).mean(), judge if m else None, self.patience, wait, anneal)
        with dropping(joint, seed + rank):
            epochs.climb(batches, self.max_epochs, self.lr, history, self.verbose)
        return True

    def _keep(self, data, joint, history):
        joint.bfloat16 = False
        super()._keep(data, joint.eval().to(data.dtype), history)  # steps are in float32, answers in the data's dtype

    def _finish(self, data):
        self.variance_ = float(self.joint_.variance.detach()) if self.noise == "gaussian" else None

    # --- Afterwards ---

    def _scores(self, joint, x):
        """The bound of each row, by noise that is the same for all: (n, D) -> (n,), nats."""
        answer = self._answer(joint, torch.Generator(x.device).manual_seed(0), shared=True)
        return bound(joint, x, answer, self.score_draws) if self.T else objective(joint, x, answer)

    def score_samples(self, X: Table) -> Array:
        """(n, D) -> (n,), nats: log q_r(x|e(x)), or at T = 1 an importance-weighted bound on the log evidence."""
        self._check_support(data := self._open(X), self.joint_.noise)
        return data.map(lambda x: torch.cat([self._scores(self.joint_, part) for part in x.split(ROWS)]))

    def transform(self, X: Table) -> Array:
        """The code, at T = 1 the mean of q(z|x): (n, D) -> (n, n_components)."""
        return self._open(X).map(lambda x: self._code(self.joint_, x))

    def impute(self, X: Table, steps: int = 200) -> Array:
        """Fill missing entries (NaN) by what the best code for the present ones decodes to: (n, D) -> (n, D).

        The code climbs by Adam from `transform`'s answer for the row with its holes at the data's mean.
        """
        need_integer("steps", steps, 0)

        def fill(x):
            joint, there = self.joint_, ~x.isnan()
            known = torch.where(there, x, joint.centre)
            z = self._code(joint, known)
            up = {"optimiser": torch.optim.Adam, "project": self._project}
            z = climb(lambda z: joint.log_joint(known, z, there), z, steps, 0.05, **up)
            return torch.where(there, x, joint.decode(z))

        return self._open(X, holes=True).map(fill)


@hyper
class _Encoded(_Neural):
    """What both autoencoders share: a network answers the max."""

    _: KW_ONLY
    encoder: nn.Module | None = checked(None, need_network)

    @property
    def _halves(self):
        """How many numbers the encoder gives for one of the code: a mean, and at T > 0 a log scale."""
        return 2 if self.T else 1

    def _encoder(self, width, copies):
        return self._inward(self.encoder, width, *self.hidden, self._length * self._halves, copies=copies)

    def _check_networks(self, joint, x):
        joint.eval()
        z, wanted = say("encoder", joint.encode, x), self._length * self._halves
        if z.ndim != 2 or z.shape[1] != wanted:
            halves = ", mean and log scale" * (self._halves - 1)
            needs = f"n_components={self._length} needs (n, {wanted}){halves}"
            raise ValueError(f"the encoder answers {tuple(z.shape)}, but {needs}: change its last layer")
        super()._check_networks(joint, x)

    def _answer(self, joint, generator=None, shared=False, rows=None):
        encode = (lambda x: centre_and_width(joint.encode(x))) if self.T else joint.encode
        return Amortise(encode, self.T, generator, shared)

    def _code(self, joint, x):
        return joint.encode(x)[:, : self._length]
