"""Denoising and contractive autoencoders, and the chains that sample from a denoiser (ledger K2-K9, R8).

    denoising     z = e(x~), x~ a corrupted x         log q_r(x|z): scored on the clean x
    contractive   z = e(x)                            log q_r(x|z) - weight * ||de/dx||^2

Both are answers over `core.Amortise`.  What the best denoiser answers is the posterior mean of the clean row, and
under Gaussian noise it knows the slope of the log density (Tweedie's formula).
"""

__all__ = ["ContractiveAutoencoder", "DenoisingAutoencoder"]

import copy
from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ..aside import aside
from ..core import Amortise, Infer, Joint
from ..hyper import (
    Seed,
    checked,
    choice,
    count,
    draw_seed,
    hyper,
    is_word,
    need_choice,
    need_integer,
    need_number,
    number,
    switch,
)
from ..joints.denoiser import Corruption, Denoiser
from ..joints.network import layers, tied
from ..networks import _Encoded, need_sizes
from ..parallel import gather
from ..rows import Array, Table, real, view

KINDS = {"gaussian": 0.5, "masking": 0.25, "poisson": 1.0, "salt_and_pepper": 0.25}  # and what "auto" stands for
CHAINS = ("sampled", "mean", "langevin")


class Corrupted:
    """``infer`` sees ``corrupt(x)``; what it answers is scored on the clean x (ledger K2, K8).

    Examples
    --------
    >>> from gaelib.core import Given
    >>> infer = Corrupted(lambda joint, x: (x, torch.zeros(len(x))), lambda x: x + 1)
    >>> infer(Joint(), torch.zeros(1, 2))[0]
    tensor([[1., 1.]])
    """

    def __init__(self, infer: Infer, corrupt: Callable[[Tensor], Any]):
        self.infer, self.corrupt = infer, corrupt

    def __call__(self, joint: Joint, x: Tensor) -> tuple[Any, Tensor]:
        return self.infer(joint, self.corrupt(x))


class Contracted:
    """``infer`` pays ``weight`` times the squared slopes of its encoder, per ``unit`` of x: nats (ledger K3, K9).

    Examples
    --------
    >>> infer = Contracted(Amortise(nn.Linear(3, 2)), 1.0)
    >>> slopes = infer.infer.encoder.weight
    >>> torch.allclose(infer(Joint(), torch.zeros(4, 3))[1], -slopes.square().sum())
    True
    """

    def __init__(self, infer: Amortise, weight: float | Tensor, unit: float | Tensor = 1.0):
        self.infer, self.weight, self.unit = infer, weight, unit

    def __call__(self, joint: Joint, x: Tensor) -> tuple[Tensor, Tensor]:
        z, bonus = self.infer(joint, x)
        slopes = self.unit * jacobian(self.infer.encoder, x)  # in the data's own units their squares may overflow
        return z, bonus - self.weight * slopes.square().flatten(1).sum(1)


def jacobian(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The slopes of every row's answer in that row: (n, D) -> (n, E, D)."""
    return torch.func.vmap(torch.func.jacrev(lambda row: f(row[None])[0]))(x)


def need_amount(name, value):
    """Refuse what is neither "auto" nor a finite number above 0."""
    if not is_word(value, "auto"):
        need_number(name, value, 0.0, False, True, f"{name}='auto' or such a number")


@hyper
class DenoisingAutoencoder(_Encoded):
    """Denoising autoencoder: it reads a corrupted row and is scored on the clean one.

    Parameters
    ----------
    n_components : int, optional
        E, the length of the code.  By default the code is the clean row itself: the decoder adds nothing, and the
        encoder corrects the best linear denoiser.
    corruption : "gaussian", "masking", "poisson" or "salt_and_pepper"
        Noise; entries set to their mean; counts; entries set to the least or the largest of the data.
    amount : float or "auto"
        The noise's standard deviation in the data's units; the share of entries; or the counts that a unit stands for.
        "auto" is half a standard deviation, a quarter, and 1.
    walkback : int
        Rounds of corrupting and denoising that a training row may be led away further, each with even odds.
    hidden, encoder, decoder, noise, variance, max_epochs, batch_size, lr, validation, patience, precision
        As in `Autoencoder`.
    random_state, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    joint_, history_, n_iter_
        As in `Autoencoder`; the objective is that of corrupted rows.
    variance_ : float
        The mean squared error of an entry: the variance of a clean entry given the corrupted row.
    amount_ : float
        What "auto" stood for.

    Notes
    -----
    Scores and codes are those of rows as they are, without corruption.  Vincent (2011); Bengio et al. (2013); Alain and
    Bengio (2014).  Ledger K2-K8.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(2000, 1))
    >>> model = DenoisingAutoencoder(amount=1.0, hidden=(16,), max_epochs=20, random_state=0).fit(X)
    >>> slope = model.score_field(np.array([[1.0]]))  # of log N(x; 0, 1 + 1): -1/2
    >>> bool(abs(slope + 0.5) < 0.1)
    True
    """

    _chapter = "family/denoising"
    _answers = "a network, at once, from a corrupted row"

    n_components: int | None = checked(None, lambda name, value: None if value is None else need_integer(name, value))
    _: KW_ONLY
    hidden: tuple[int, ...] = checked((128, 128), need_sizes)
    lr: float = number(1e-2, "lr=0.01")
    corruption: str = choice(*KINDS)
    amount: float | str = checked("auto", need_amount)
    walkback: int = count(0, 0)

    def _check(self, n, width):
        super()._check(n, width)
        share = self.corruption in ("masking", "salt_and_pepper")
        if share and not is_word(self.amount, "auto") and self.amount >= 1:
            raise ValueError(f"amount={self.amount} is no share of the entries: pass one below 1, such as amount=0.25")

    def _check_support(self, data, noise):
        super()._check_support(data, noise)
        if self.corruption == "poisson" and (low := min(float(x.min()) for x in data)) < 0:
            raise ValueError(f"corruption='poisson' needs counts of at least 0, got {low:g}: pass counts")

    def _networks(self, width, scale):
        auto = KINDS[self.corruption] * (scale if self.corruption == "gaussian" else 1)
        self.amount_ = float(auto if is_word(self.amount, "auto") else self.amount)
        if self.n_components is not None or self.encoder is not None:
            return super()._networks(width, scale)
        network = layers(width + 1, *self.hidden, width)
        sigma = self.amount_ / scale if self.corruption == "gaussian" else 1.0
        return Denoiser(network, sigma), nn.Identity() if self.decoder is None else self._outward(width)

    def _start(self, data, generator):
        joint = super()._start(data, generator)
        low = min(gather(min(float(x.min()) for x in data)))
        high = max(gather(max(float(x.max()) for x in data)))
        if self.corruption == "poisson" and low < 0:
            raise ValueError(f"corruption='poisson' needs counts of at least 0, got {low:g}: pass counts")
        joint.corrupt = Corruption(self.corruption, self.amount_, joint.centre, low, high)
        return joint

    def _answer(self, joint, generator=None, shared=False, rows=None):
        plain = super()._answer(joint, generator, shared)
        return plain if shared else Corrupted(plain, lambda x: self._led_away(joint, x, generator))

    def _led_away(self, joint, x, generator):
        """A corrupted row; with walkback, one that the model's own mistakes have led on."""
        y = joint.corrupt(x, generator)
        for _ in range(self.walkback):
            with torch.no_grad():
                on = joint.corrupt(self._denoised(joint, y).to(y), generator)
            even = torch.rand((len(x), 1), generator=generator, device=x.device, dtype=torch.float32) < 0.5
            y = torch.where(even, on, y)
        return y

    def _denoised(self, joint, x):
        return joint.decode(self._code(joint, x))

    def score_field(self, X: Table) -> Array:
        """The slope of the log density of noisy rows, ``(r(x) - x) / sigma^2``: (n, D) -> (n, D), nats per unit.

        Exact for the best denoiser r (Tweedie's formula); of the data's own density it is the slope as sigma falls.

        Raises
        ------
        ValueError
            For another corruption than Gaussian noise.
        """
        data, kind = self._open(X), self.joint_.corrupt.kind
        if kind != "gaussian":
            raise ValueError(f"score_field is exact for corruption='gaussian', got {kind!r}: fit with that")
        return data.map(lambda x: (self._denoised(self.joint_, x) - x) / self.amount_**2)

    @aside(grad=False)
    def sample(
        self,
        n_samples: int = 1,
        random_state: Seed = None,
        *,
        chain: str = "sampled",
        steps: int = 100,
        start: Table | None = None,
    ) -> np.ndarray:
        """The last rows of chains that corrupt and denoise in turn: (n_samples, D), or pictures as fit saw them.

        Parameters
        ----------
        n_samples : int
            Chains, each of which gives one row.
        random_state : int, RandomState, Generator or None
        chain : "sampled", "mean" or "langevin"
            What follows the corruption: a draw of the conditional ``N(r(x), variance_)``; its mean, of which the rows
            crowd towards p^2 (ledger K5); or half the way to the mean *before* the noise, a Langevin step (R8).
        steps : int
            Rounds.
        start : array (n_samples, D), optional
            First rows; by default, normal with the data's mean and overall variance.
        """
        check_is_fitted(self)
        for name, value in (("n_samples", n_samples), ("steps", steps)):
            need_integer(name, value)
        need_choice("chain", chain, CHAINS)
        if chain == "langevin" and (kind := self.joint_.corrupt.kind) != "gaussian":
            raise ValueError(f"chain='langevin' needs corruption='gaussian', got {kind!r}: use 'sampled'")
        joint = copy.deepcopy(self.joint_).cpu()  # by the same draws wherever it was fitted
        draw = torch.Generator().manual_seed(draw_seed(random_state))
        x = self._first(joint, n_samples, start, draw)
        with torch.no_grad():
            for _ in range(steps):
                x = self._round(joint, x, chain, draw)
        return (x if self.shape_ is None else x.reshape(len(x), *self.shape_)).numpy()

    def _first(self, joint, n_samples, start, draw):
        if start is None:
            noise = torch.randn((n_samples, self.n_features_in_), generator=draw, dtype=joint.centre.dtype)
            return joint.centre + joint.scale * noise
        start = view(real(start, "start")).to(joint.centre)
        start = start.flatten(1) if start.ndim > 2 else start
        if start.shape != (n_samples, self.n_features_in_):
            wanted = (n_samples, self.n_features_in_)
            raise ValueError(f"start has shape {tuple(start.shape)}, the chains need {wanted}: pass one row a chain")
        return start

    def _round(self, joint, x, chain, draw):
        if chain == "langevin":
            return joint.corrupt(x + (self._denoised(joint, x) - x) / 2, draw)
        mean = self._denoised(joint, joint.corrupt(x, draw))
        return mean if chain == "mean" else joint.around(mean, draw)


@hyper
class ContractiveAutoencoder(_Encoded):
    """Contractive autoencoder: an autoencoder that pays for the slopes of its encoder.

    Parameters
    ----------
    n_components : int
        E, the length of the code.
    weight : float
        What a squared slope of the encoder costs beside a squared error, both in units of one standard deviation of
        the data: ``(squared error + weight * squared slopes) / (2 sigma^2)`` nats.
    tied : bool
        Whether the decoder goes back by the encoder's own weights.  Otherwise the penalty is void: a code a hundred
        times smaller, decoded by weights a hundred times larger, pays next to nothing (ledger K3).
    hidden, encoder, decoder, noise, variance, max_epochs, batch_size, lr, validation, patience, precision
        As in `Autoencoder`; own networks need ``tied=False``.
    random_state, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    joint_, variance_, history_, n_iter_
        As in `Autoencoder`; the objective has the penalty in it, and a sigma^2 that is learned grows by it.

    Notes
    -----
    The code is tanh of a linear map, or of a network.  Scores are without the penalty.  Rifai et al. (2011).  Ledger
    K3, K9.

    Examples
    --------
    >>> import numpy as np
    >>> angle = np.random.default_rng(0).uniform(0, 6.28, 1000)
    >>> X = np.stack([np.cos(angle), np.sin(angle)], 1)
    >>> model = ContractiveAutoencoder(16, max_epochs=20, random_state=0).fit(X)
    >>> outward = (model.tangents(X, 1)[:, 0] * X).sum(1)  # no tangent of a circle points outward
    >>> bool(np.median(np.abs(outward)) < 0.5)
    True
    """

    _chapter = "family/denoising"
    _answers = "a network, at once, that pays for its slopes"

    n_components: int = count(64)
    _: KW_ONLY
    hidden: tuple[int, ...] = checked((), need_sizes)
    weight: float = number(0.3, "weight=0.3, or 0 for a plain autoencoder", closed=True)
    tied: bool = switch(True)

    def _check(self, n, width):
        super()._check(n, width)
        if self.tied and (self.encoder is not None or self.decoder is not None):
            raise ValueError("tied=True makes both networks from one set of weights: pass tied=False with your own")

    def _networks(self, width, scale):
        if not self.tied:
            return super()._networks(width, scale)
        return tied(width, *self.hidden, self.n_components)

    def _answer(self, joint, generator=None, shared=False, rows=None):
        plain = super()._answer(joint, generator, shared)
        if shared:
            return plain
        return Contracted(plain, self.weight / (2 * joint.log_variance.exp()), joint.scale)

    def tangents(self, X: Table, n_directions: int) -> Array:
        """The directions in which the code moves most, longest first: (n, D) -> (n, n_directions, D), orthonormal rows.

        They are the leading *right* singular vectors of the encoder's Jacobian, which live among the data.
        """
        check_is_fitted(self)
        need_integer("n_directions", n_directions)
        if n_directions > (most := min(self._length, self.n_features_in_)):
            raise ValueError(f"n_directions={n_directions} exceeds {most}, the rank of the Jacobian: pass fewer")

        def leading(x):
            slopes = jacobian(lambda x: self._code(self.joint_, x), x)
            return torch.linalg.svd(slopes, full_matrices=False).Vh[:, :n_directions]

        return self._open(X).map(leading)
