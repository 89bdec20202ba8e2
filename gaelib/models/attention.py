"""Attention: which key produced the query?  The weights are a posterior, the read its mean (ledger L17, L18).

    log q_w(k) = |w_k|^2 / (2 sigma^2) + c        log q_r(z|k) = -||z - w_k||^2 / (2 sigma^2) + c',    sigma^2 = sqrt(d)

So one head is `Soft(1)` on a `Mixture`, made by `key_mixture`; nothing else is new.  `Heads` reads several at once.
"""

__all__ = ["AttentionAutoencoder"]

import math
from dataclasses import KW_ONLY

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..core import Amortise, Joint, ascend, objective
from ..estimator import Estimator
from ..hyper import Seed, count, hyper, number, several
from ..joints.mixture import Mixture
from ..noise import gaussian
from ..parallel import rank_and_size
from ..rows import Array, Table
from ..solvers.eigen import by_singular_vectors
from .lgae import check_components


def key_mixture(keys, variance=None, prior=None):
    """The mixture whose posterior is scaled dot-product attention.

    Parameters
    ----------
    keys : tensor (K, d)
    variance : float, optional
        sigma^2 of the noise around a key; sqrt(d), the usual scale of attention, if left out.
    prior : tensor (K,), optional
        Log weights, up to a constant; if left out ||w_k||^2 / (2 sigma^2), which makes the weights depend on z . w_k
        alone.  Zeros give the uniform prior.

    Returns
    -------
    Mixture
        ``posterior(z, 1)`` gives the attention weights, ``log_joints(z) + bias`` those under a mask or a bias.

    Examples
    --------
    >>> keys, query = torch.eye(4, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64)
    >>> key_mixture(keys).posterior(query, 1.0)[0][0]
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]], dtype=torch.float64)
    """
    variance = math.sqrt(keys.shape[1]) if variance is None else variance
    prior = keys.double().square().sum(1) / (2 * variance) if prior is None else prior
    return Mixture(keys.double(), variance=variance, weights=prior.double().softmax(0))


class Heads(Joint):
    """log N(x; sum_h sum_k r_hk(z_h) v_hk, I/2), where r_h is the posterior of key k in head h; the prior on z is flat.

    Each head owns a block z_h of the code, keys there and values in the data's space.  Given z the numbers of the keys
    are independent, so the mean of the sum of their values is the sum of the means: one read a head.

    Parameters
    ----------
    axes : tensor (p, D)
        The encoder: z = axes (x - origin) / unit.
    keys : tensor (H, K, p / H)
    values : tensor (H, K, D)
        In units of ``unit``.
    variance : float
        Where each head's noise around a key starts; it is learned.
    origin : tensor (D,)
    unit : tensor ()
        The data's scale, so that a step of the climb is as long in every unit.
    """

    def __init__(self, axes, keys, values, variance, origin, unit):
        super().__init__()
        self.axes, self.keys, self.values = (nn.Parameter(part.clone()) for part in (axes, keys, values))
        self.log_variance = nn.Parameter(torch.full_like(keys[:, 0, 0], math.log(variance)))
        self.register_buffer("origin", origin.clone())
        self.register_buffer("unit", unit.clone())

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        (H, K, width), D = self.keys.shape, self.values.shape[2]
        return (
            f"z, a query of {several(width, 'coordinate')} for each of {several(H, 'head')}",
            "flat: every code is as likely",
            f"what {several(H, 'head')} read from {several(K, 'slot')} each, and noise: {several(D, 'feature')}",
        )

    def encode(self, x):
        """The query: (n, D) -> (n, p)."""
        return (x - self.origin) @ self.axes.T / self.unit

    def gates(self, z):
        """The posterior of every key in every head: (n, p) -> (H, n, K), each row of sum 1."""
        H, _, width = self.keys.shape
        blocks = z.unflatten(1, (H, width)).transpose(0, 1)
        near = blocks @ self.keys.mT - self.keys.square().sum(2)[:, None] / 2
        return (near / self.log_variance.exp()[:, None, None]).softmax(2)

    def decode(self, z):
        """The sum of what the heads read: (n, p) -> (n, D)."""
        return self.origin + self.unit * (self.gates(z) @ self.values).sum(0)

    def log_joint(self, x, z):
        return gaussian(x, self.decode(z))


@hyper
class AttentionAutoencoder(ClassNamePrefixFeaturesOutMixin, Estimator):
    """An autoencoder that decodes by attention: a linear encoder asks, H heads of K slots answer.

    Parameters
    ----------
    n_components : int
        p, the length of the code; a multiple of ``n_heads``.
    n_slots : int
        K, keys and values of each head.
    n_heads : int
        H; each reads p / H entries of the code, and what the heads read is added.
    variance : float above 0
        Where the heads' noise starts, in units of the first principal component's variance.
    batch_size : int
        Rows of a step.
    lr : float above 0
        Of Adam; a fifth of it in the last 30 % of the steps.
    max_iter : int
        Steps, all of which are taken.
    random_state, device
        As in `KMeans`.

    Attributes
    ----------
    joint_ : Heads
    history_ : list of float
        The objective of each step's rows, and at last of all rows, nats per sample.
    n_iter_ : int

    Notes
    -----
    The encoder is one guess at the best code, so `score_samples` is a lower bound on ``max_z log q_r(x|z)``.  It
    starts at the principal axes, and the slots at random rows.  The prior is flat: there is a score, no sampling.

    Ledger L17; Vaswani et al. (2017).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.repeat([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], 10, 0)
    >>> model = AttentionAutoencoder(2, n_slots=9, n_heads=1, max_iter=200, random_state=0).fit(X)
    >>> bool(np.abs(model.inverse_transform(model.transform(X)) - X).max() < 0.2)
    True
    """

    _chapter = "family/attention"
    _small = 2**18
    _moves = "Adam, a batch at a time"

    n_components: int = count(16)
    _: KW_ONLY
    n_slots: int = count(64)
    n_heads: int = count(4)
    variance: float = number(0.3, "variance=0.3")
    batch_size: int = count(250)
    lr: float = number(5e-3, "lr=0.005")
    max_iter: int = count(1500)
    random_state: Seed = None

    @property
    def _n_features_out(self):
        return len(self.joint_.axes)

    @property
    def infer(self) -> Amortise:
        """The encoder answers."""
        return Amortise(self.joint_.encode)

    def _check(self, n, width):
        if rank_and_size()[1] > 1:
            raise ValueError(f"{type(self).__name__} learns in 1 process, got {rank_and_size()[1]}: fit it in one")
        if self.n_components % self.n_heads:
            raise ValueError(
                f"n_components={self.n_components} is no multiple of n_heads={self.n_heads}: "
                "pass a code that the heads can share evenly"
            )
        check_components(self, n, width)

    def _start(self, data, generator):
        H, p = self.n_heads, self.n_components
        mean, axes, variance, _ = by_singular_vectors(data, p)
        mean, axes = mean.to(data.device, data.dtype), axes.T.to(data.device, data.dtype)
        unit = variance[0].sqrt().to(mean) if variance[0] > 0 else torch.ones((), dtype=mean.dtype, device=mean.device)
        picks = torch.randint(len(data), (self.n_slots,), generator=generator)
        rows = (data.take(picks) - mean) / unit
        keys = (rows @ axes.T).unflatten(1, (H, p // H)).transpose(0, 1)
        push = torch.randn(H, self.n_slots, data.width, generator=generator, dtype=torch.float64).to(rows)
        joint = Heads(axes, keys, rows / H + 0.02 * push, self.variance, mean, unit)
        joint.seed = int(torch.randint(2**31, (1,), generator=generator))  # of the order in which rows are seen
        return joint

    def _learn(self, joint, data, history):
        x, infer = torch.cat(list(data)), Amortise(joint.encode)
        generator = torch.Generator().manual_seed(joint.seed)
        picks = (torch.randint(len(x), (self.batch_size,), generator=generator) for _ in range(self.max_iter))

        def lr(step):
            return self.lr * (1.0 if step < 0.7 * self.max_iter else 0.2)

        ascend(
            lambda x: objective(joint, x, infer).mean(),
            joint.parameters(),
            self.max_iter,
            lr,
            on_step=lambda _, value: history.append(value),
            batches=(x[pick.to(x.device)] for pick in picks),
            average=lambda slopes: [slope / joint.unit**2 for slope in slopes],  # Adam's own unit is 1e-8
        )
        with torch.no_grad():
            history.append(float(objective(joint, x, infer).mean()))
        return True

    def _finish(self, data):
        pass

    def transform(self, X: Table) -> Array:
        """The code, the encoder's query: (n, D) -> (n, p)."""
        return self._open(X).map(lambda x: self.joint_.encode(x).detach())

    def inverse_transform(self, Z: Table) -> Array:
        """Decode: what the heads read, added: codes (n, p) -> (n, D)."""
        check_is_fitted(self)
        return self._decode(Z, self._n_features_out, lambda z: self.joint_.decode(z))

    def score_samples(self, X: Table) -> Array:
        """The objective at the encoder's code: (n, D) -> (n,), nats."""
        return self._open(X).map(lambda x: objective(self.joint_, x, self.infer).detach())
