"""Compressed sensing: an encoder that is random and linear, and any joint as the prior that inverts it (ledger L3).

    y = A x + noise        log q_w(z) + log q_r(y|z),  q_r(y|z) = N(y; A f(z), S),  S = sigma^2 A A^T + noise^2 I

`joints.measured` has that joint; here are who answers its max, and the face.
"""

__all__ = ["sense"]

from numbers import Real
from typing import NamedTuple

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..aside import aside
from ..core import Exact, Joint, Soft, climb
from ..estimator import Model
from ..hyper import Seed, draw_seed, need_integer
from ..joints.flats import Flats
from ..joints.measured import Measured, need_kind
from ..joints.network import Network
from ..rows import Array, Table, at, real, view
from ..solvers.nearest import ENTRIES

RATES = (0.1, 0.03, 0.01)  # of Adam, for a third of the steps each
KEPT = 3  # one of so many climbs goes on from rate to rate


class Sensed(NamedTuple):
    """What `sense` answers.

    Attributes
    ----------
    mean : (n, D)
        The reconstruction.
    std : (n, D) or None
        At T = 1, the posterior's standard deviation of every entry.
    score : (n,)
        log q_w(z) + log q_r(y|z) at the best code, at T = 1 the log evidence of y; nats.
    """

    mean: Array
    std: Array | None
    score: Array


def sense(
    model: Model | Joint, y: Table, A: Table, noise: float = 0.0, *, T: int = 0, variance: float | None = None,
    start: Table | None = None, restarts: int = 10, steps: int = 300, random_state: Seed = None,
) -> Sensed:  # fmt: skip
    """Reconstruct rows of which a few linear measurements are known, with a model of the family as the prior.

    Parameters
    ----------
    model : fitted model, or a joint
        `KMeans`, `Memory`, `LGAE`, `LLGAE`, `GGAE`, `PPCA`, `MPPCA`, `GaussianMixture`, or one whose decoder is a
        network: `VAE`, `Autoencoder`, `GLO`.
    y : array or tensor (n, M)
        One row of measurements for each row sought: ``y = x @ A.T`` and noise.
    A : array or tensor (M, D)
    noise : float
        Standard deviation of the noise of each measurement, in the measurements' units.
    T : 0 or 1
        The best code alone, or the whole posterior and with it the uncertainty: of mixtures, `PPCA` and points.
    variance : float, optional
        sigma^2, what the decoder leaves of an entry, in the data's units squared.  If left out, that of the model; of
        flats and points, which have none, the mean squared error that their fit ended with.
    start : array or tensor (restarts, E), optional
        Of a network: codes to climb from, such as those of training rows; a `VAE` draws ``restarts`` from its prior.
    restarts, steps : int
        Of a network: how many climbs of how many steps by Adam, of which the best is kept.
    random_state : as in `KMeans`

    Returns
    -------
    Sensed
        ``mean`` (n, D), ``std`` (n, D) or None, ``score`` (n,); of the kind of y.

    Raises
    ------
    ValueError, TypeError
        Before any work, with both numbers, the cause and the remedy.

    Notes
    -----
    Bora, Jalal, Price and Dimakis (2017) climb in a generator's code; Chen et al. (2010) and Yu and Sapiro (2011) see
    mixtures of flats through A.  Ledger L3.

    Examples
    --------
    >>> import numpy as np
    >>> from gaelib import PPCA
    >>> X = np.random.default_rng(0).normal(size=(500, 1)) * [[3.0, 3.0, 3.0]] + 1
    >>> X += 0.1 * np.random.default_rng(1).normal(size=X.shape)
    >>> found = sense(PPCA(1).fit(X), [[4.0]], [[1.0, 0.0, 0.0]], T=1)  # the first entry of three is known to be 4
    >>> found.mean.round(1), found.std.round(1)
    (array([[4., 4., 4.]]), array([[0. , 0.1, 0.1]]))
    """
    if isinstance(model, Model):
        check_is_fitted(model)
    joint = model.joint_ if isinstance(model, Model) else model
    need_kind(joint, model)
    if not isinstance(T, Real) or T not in (0, 1):
        raise ValueError(f"T={T!r} is neither 0 nor 1: pass T=0 for the best code, or T=1 for the whole posterior")
    need_integer("restarts", restarts)
    need_integer("steps", steps)
    y, A = real(y, "y"), real(A, "A")
    if len(A.shape) != 2 or len(y.shape) != 2 or y.shape[1] != A.shape[0] or 0 in A.shape:
        what = f"y is {tuple(y.shape)} and A {tuple(A.shape)}, and both have one entry for each measurement"
        raise ValueError(f"{what}: pass y as (n, M) and A as (M, D)")
    with aside(grad=False), at(view(y).device, joint):
        measured = Measured(joint, view(A).to(view(y).device), noise, leaves(model) if variance is None else variance)
        infer, wide = answerer(measured, model, T, start, restarts, steps, random_state)
        found = [answer(measured, infer, rows) for rows in view(y).split(max(1, ENTRIES // wide))]
    like = next(joint.buffers()).dtype
    mean, std, score = (None if parts[0] is None else torch.cat(parts) for parts in zip(*found))
    mean, std = mean.to(like), std if std is None else std.to(like)
    if not torch.is_tensor(y):
        mean, std, score = (part if part is None else part.numpy() for part in (mean, std, score))
    return Sensed(mean, std, score)


def leaves(model):
    """sigma^2 of fitted flats and points: the mean squared error that is left, of an entry and direction across."""
    joint = getattr(model, "joint_", None)
    if not isinstance(joint, Flats):
        return None
    _, D, p = joint.bases.shape
    return max(0.0, (joint.constant - model.history_[-1]) * 2 * joint.variance) / max(D - p, 1)


def answerer(measured, model, T, start, restarts, steps, random_state):
    """Who answers the max, and how many numbers that takes for a row; or a refusal."""
    joint, name = measured.joint, type(model).__name__
    if T and (not hasattr(measured.seen, "posterior") or (isinstance(joint, Flats) and joint.bases.shape[2])):
        raise ValueError(f"T={T} needs a posterior in closed form, and 0 are known of {name}: pass T=0, or use MPPCA")
    if not isinstance(joint, Network):
        return Soft(1.0) if T else Exact(), max(measured.means.numel(), measured.lift.numel()) // measured.A.shape[1]
    width, like = getattr(model, "_length", None), next(joint.buffers())
    if start is not None:
        z = view(real(start, "start")).to(like)
        if z.ndim != 2 or not len(z) or z.shape[1] != (width or z.shape[-1]):
            shape = f"(restarts, {width or 'E'})"
            raise ValueError(f"start is {tuple(z.shape)}, and codes to climb from are {shape}: pass such codes")
    elif width is None or joint.prior == "flat":
        what = f"{name} has no prior of codes to draw {restarts} from"
        raise ValueError(f"{what}: pass start=, such as transform of {restarts} training rows")
    else:
        draw = torch.Generator().manual_seed(draw_seed(random_state))
        z = torch.randn(restarts, width, generator=draw, dtype=torch.float32).to(like)
    return Best(z, steps), len(z) * measured.A.shape[1]


class Best:
    """The best of several climbs for each row, by Adam at falling rates, all rows from the same codes.

    After each rate the better third of a row's climbs goes on: what is behind by then hardly ever wins.
    """

    def __init__(self, start: Tensor, steps: int):
        self.start, self.steps = start, steps

    def __call__(self, joint: Measured, y: Tensor) -> tuple[Tensor, Tensor]:
        rows, size = joint.whiten(y), float(self.start.square().mean().sqrt()) or 1.0
        z = self.start.expand(len(y), *self.start.shape)  # (n, climbs, E)
        for rate in RATES:
            many = rows.repeat_interleave(z.shape[1], 0)

            def score(z, many=many):
                return joint.seen.log_joint(many, z)

            up = climb(score, z.flatten(0, 1), -(-self.steps // len(RATES)), rate * size, optimiser=torch.optim.Adam)
            best = score(up).view(z.shape[:2]).topk(-(-z.shape[1] // KEPT)).indices
            z = up.view(z.shape).take_along_dim(best[:, :, None], 1)
        return z[:, 0], y.new_zeros(len(y))


def answer(measured, infer, y):
    """Mean, standard deviation and score of some rows."""
    z, bonus = infer(measured, y)
    mean, spread = measured.expect(y, z)
    return mean, spread if spread is None else spread.sqrt(), measured.log_joint(y, z) + bonus
