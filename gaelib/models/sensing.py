"""Compressed sensing: an encoder that is random and linear, and any joint as the prior that inverts it (ledger L3).

    y = A x + noise        log q_w(z) + log q_r(y|z),  q_r(y|z) = N(y; A f(z), S),  S = sigma^2 A A^T + noise^2 I

f(z) is what the joint decodes and sigma^2 what it leaves, so a measurement misses by both.  In units of S, through
B = S^{-1/2} A, points are points, flats flats and mixtures mixtures again: their max and their posterior stay closed.
"""

__all__ = ["sense"]

from typing import Any, NamedTuple

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn.functional import pad

from ..core import Exact, Joint, Soft, _ask, climb
from ..estimator import Model, Seed, draw_seed
from ..hyper import need_integer, need_number
from ..joints.flats import Flats
from ..joints.linear import LinearGaussian
from ..joints.mixture import Mixture
from ..joints.network import Network
from ..rows import Array, Table, at, real, view
from ..solvers.nearest import ENTRIES, project, side_by_side
from .ggae import KernelMixture

RATES = (0.1, 0.03, 0.01)  # of Adam, for a third of the steps each


class Measured(Joint):
    """A joint of x, seen through y = A x + noise: the joint of y and the same code.

    Parameters
    ----------
    joint : Flats, Mixture, LinearGaussian, KernelMixture or Network
    A : tensor (M, D)
    noise : float
        Standard deviation of the noise of each measurement, in the measurements' units.
    variance : float, optional
        sigma^2, what the decoder leaves of an entry of x; the joint's own if left out.

    Notes
    -----
    The code is that of ``seen``, the joint of S^{-1/2} y: of a flat, the place along the axes that A leaves it.  A
    flat that A shortens in some direction keeps its least place there.

    Examples
    --------
    >>> line = Flats(torch.zeros(1, 3), torch.eye(3)[None, :, :1])  # the first axis of space
    >>> joint = Measured(line, torch.tensor([[2.0, 0.0, 1.0]]))
    >>> x, _ = joint.expect(y := torch.tensor([[6.0]]), joint.argmax(y))
    >>> x.round()
    tensor([[3., 0., 0.]], dtype=torch.float64)
    """

    def __init__(self, joint: Joint, A: Tensor, noise: float = 0.0, variance: float | None = None):
        super().__init__()
        need_kind(joint)
        joint = alone(joint) if isinstance(joint, LinearGaussian) else joint
        need_number("noise", noise, 0.0, True, True, "its standard deviation, noise=0 for none")
        if variance is None and getattr(joint, "noise", "gaussian") != "gaussian":
            remedy = "pass variance=, the mean squared error that its decoder leaves"
            raise ValueError(f"noise={joint.noise!r} has no sigma^2, and 1 is needed: {remedy}")
        if variance is not None:
            need_number("variance", variance, 0.0, True, True, "the mean squared error of an entry")
        own = joint.variance if variance is None else variance
        own = torch.as_tensor(own, dtype=torch.float64, device=A.device).detach()
        self.joint, self.variance = joint, float(own.min())
        centre = joint.centre if isinstance(joint, Network) else joint.means.mean(0)
        width = A.shape[1] if centre.ndim == 0 else centre.numel()
        if A.ndim != 2 or A.shape[1] != width:
            raise ValueError(f"A is {tuple(A.shape)}, the model has {width} features: pass one column for each")
        A, centre = A.double(), centre.double().flatten().expand(width)
        L = torch.linalg.cholesky(self._noise(A, noise))
        B = torch.linalg.solve_triangular(L, A, upper=False)
        parts = {"A": A, "B": B, "L": L, "centre": centre.clone()}
        if isinstance(joint, Network):
            self.seen: Joint = Network(Through(joint, B, centre), variance=1.0, prior=joint.prior)
        else:
            parts["means"] = joint.means.double() - centre
            push = next(push for kind, push in PUSHES.items() if isinstance(joint, kind))
            self.seen, more = push(joint, B, parts["means"], own)
            parts |= more
        for name, part in parts.items():
            self.register_buffer(name, part)

    def _noise(self, A, noise):
        """S, or a refusal where it has no inverse: a density of y needs one."""
        S = self.variance * A @ A.T + noise**2 * torch.eye(len(A)).to(A)
        values = torch.linalg.eigvalsh(S)
        if (rank := int((values > len(A) * torch.finfo(A.dtype).eps * values[-1]).sum())) < len(A):
            what = f"{len(A)} measurements of rank {rank} with noise={noise} and sigma^2={self.variance:g}"
            raise ValueError(f"{what} have no density: pass noise > 0, or fewer rows of A")
        return S

    def extra_repr(self) -> str:
        return f"measurements={len(self.A)}, features={self.A.shape[1]}"

    def whiten(self, y: Tensor) -> Tensor:
        """S^{-1/2} (y - A c), seen from the joint's middle c: (n, M) -> (n, M) float64."""
        away = y.double() - self.A @ self.centre
        return torch.linalg.solve_triangular(self.L, away.T, upper=False).T

    def log_joint(self, y: Tensor, z: Any) -> Tensor:
        """log q_w(z) + log q_r(y|z): y (n, M) -> (n,), nats."""
        return self.seen.log_joint(self.whiten(y), z) - self.L.diagonal().log().sum()

    def argmax(self, y: Tensor) -> Any:
        """The best code, where the joint finds one in closed form; a network climbs."""
        return _ask(self.seen, "argmax", "Exact()", "Climb(...)")(self.whiten(y))

    def posterior(self, y: Tensor, T: float) -> tuple[Any, Tensor]:
        """The best distribution over codes at temperature T, and T times its entropy."""
        return _ask(self.seen, "posterior", f"Soft(T={T})", "Exact() or Climb(...)")(self.whiten(y), T)

    @torch.no_grad()
    def expect(self, y: Tensor, z: Any) -> tuple[Tensor, Tensor | None]:
        """E[x | y, z] and, under weights z = (r,), the variance of each entry: (n, M) -> (n, D), (n, D); float64.

        It is what the decoder answers, and of the residual of y the share that sigma^2 explains.
        """
        y, squares, joint = self.whiten(y), None, self.joint
        soft = isinstance(z, tuple) and len(z) == 1
        if isinstance(joint, Network):
            away = joint.decode(z).flatten(1).double() - self.centre
        elif isinstance(joint, KernelMixture):
            away = self.seen.shares(self.seen.log_components(y), z) @ self.means
        elif isinstance(joint, Mixture) or soft:
            r = z[0] if soft else torch.nn.functional.one_hot(z, len(self.means)).double()
            u = project(y, self.seen.means, self.seen.bases)[1] * self.gain
            away = r @ self.means + (r[:, :, None] * u).flatten(1) @ side_by_side(self.lift).T
            squares = self._squares(r, u) if soft else None
        else:
            k, u = z if isinstance(z, tuple) else (z, y[:, :0])
            away = Flats(self.means, self.lift).decode((k, u * self.gain[k]))
        mean = self._open(away)
        spread = None if squares is None else (squares - mean.square()).clamp(min=0)
        return self.centre + mean + self.variance * y @ self.B, spread

    def _open(self, x):
        """(I - sigma^2 B^T B) x along the last axis: of what is decoded, the part that y does not correct."""
        return x - self.variance * (x @ self.B.T) @ self.B

    def _squares(self, r, u):
        """The mean square of what stays open, over weights (n, K) and places (n, K, p): (n, D)."""
        means, lift = self._open(self.means), self._open(self.lift.mT)  # (K, D), (K, p, D)
        rest = self.variance * (1 - self.variance * self.B.square().sum(0))
        squares = r @ (means.square() + rest + (lift.square() * self.left[:, :, None]).sum(1))
        for k in range(len(means) if lift.shape[1] else 0):
            along = u[:, k] @ lift[k]
            squares += r[:, k, None] * (2 * means[k] + along) * along
        return squares


class Through(nn.Module):
    """What a network decodes, seen through B from c."""

    def __init__(self, joint: Network, B: Tensor, centre: Tensor):
        super().__init__()
        self.joint = joint
        self.register_buffer("B", B)
        self.register_buffer("centre", centre)

    def forward(self, z: Tensor) -> Tensor:
        x = self.joint.decode(z).flatten(1)
        return (x - self.centre.to(x)) @ self.B.to(x).T


def need_kind(joint: Any) -> None:
    """Refuse what no way is known to see through A."""
    if not isinstance(joint, (*PUSHES, LinearGaussian, Network)):
        kinds = "Flats, Mixture, LinearGaussian, KernelMixture or Network"
        raise TypeError(f"no way to see a {type(joint).__name__} through A, only 5 kinds of joint: pass {kinds}")


def alone(joint: LinearGaussian) -> Mixture:
    """Probabilistic PCA as the mixture of one."""
    axes, scales, _ = torch.linalg.svd(joint.weights.double(), full_matrices=False)
    return Mixture(joint.mean.double()[None], axes[None], scales, joint.variance.double())


def axes(B: Tensor, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Flats W (K, D, p) through B (M, D): orthonormal axes (K, M, p), how long each is seen (K, p), what is seen along
    each (K, D, p).  A direction that B does not see has length 0, and no axis.
    """
    seen = B @ W
    m, p = seen.shape[1:]
    U, s, Vh = torch.linalg.svd(seen, full_matrices=p > m)
    s = torch.where(s > max(m, p) * torch.finfo(s.dtype).eps * s.amax(1, keepdim=True), s, 0.0) if p else s
    U = U[:, :, : s.shape[1]] * (s > 0)[:, None]
    return pad(U, (0, p - s.shape[1])), pad(s, (0, p - s.shape[1])), W @ Vh.mT


# --- The joint of y in units of its noise, and what leads back: means, B and sigma^2 of every component ---
def _flats(joint, B, means, variance):
    U, s, lift = axes(B, joint.bases.double())
    left = torch.zeros_like(s)  # points leave nothing open, and flats have no posterior
    return Flats(means @ B.T, U, 1.0), {"lift": lift, "gain": torch.where(s > 0, 1 / s, 0.0), "left": left}


def _mixture(joint, B, means, variance):
    W, more = joint.bases.double() * joint.scales.double()[:, None], (variance - variance.min()).expand(len(means))
    if more.any():  # what a component has beyond the least noise is a flat too, of all directions
        W = torch.cat([W, more.sqrt()[:, None, None] * torch.eye(W.shape[1]).to(W)], 2)
    U, s, lift = axes(B, W)
    along = 1 + s.square()
    seen = Mixture(means @ B.T, U, s, 1.0, joint.weights.double())
    return seen, {"lift": lift, "gain": s / along, "left": 1 / along}


def _kernels(joint, B, means, variance):
    seen = KernelMixture(means @ B.T, joint.prototypes.double(), joint.absorb, 1.0)
    return seen, {"lift": means[:, :, None][:, :, :0]}


PUSHES = {Flats: _flats, Mixture: _mixture, KernelMixture: _kernels}


# --- The face ---
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
    """Reconstruct rows of which a few linear measurements are known, with any model of the family as the prior.

    Parameters
    ----------
    model : fitted model, or a joint
        `KMeans`, `Memory`, `LGAE`, `LLGAE`, `GGAE`, `PPCA`, `MPPCA`, `GaussianMixture`, `VAE` or `Autoencoder`.
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
    need_kind(joint)
    if T not in (0, 1):
        raise ValueError(f"T={T!r} is neither 0 nor 1: pass T=0 for the best code, or T=1 for the whole posterior")
    need_integer("restarts", restarts)
    need_integer("steps", steps)
    y, A = real(y, "y"), real(A, "A")
    if len(A.shape) != 2 or len(y.shape) != 2 or y.shape[1] != A.shape[0] or 0 in A.shape:
        what = f"y is {tuple(y.shape)} and A {tuple(A.shape)}, and both have one entry for each measurement"
        raise ValueError(f"{what}: pass y as (n, M) and A as (M, D)")
    with torch.no_grad(), at(view(y).device, joint):
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
    width, like = getattr(model, "n_components", None), next(joint.buffers())
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
        z = torch.randn(restarts, width, generator=draw).to(like)
    return Best(z, steps), len(z) * measured.A.shape[1]


class Best:
    """The best of several climbs for each row, by Adam at falling rates, all rows from the same codes."""

    def __init__(self, start: Tensor, steps: int):
        self.start, self.steps = start, steps

    def __call__(self, joint: Measured, y: Tensor) -> tuple[Tensor, Tensor]:
        many = joint.whiten(y).repeat_interleave(len(self.start), 0)

        def score(z):
            return joint.seen.log_joint(many, z)

        z, size = self.start.repeat(len(y), 1), float(self.start.square().mean().sqrt()) or 1.0
        for rate in RATES:
            z = climb(score, z, -(-self.steps // len(RATES)), rate * size, optimiser=torch.optim.Adam)
        best = score(z).view(len(y), -1).argmax(1)
        return z.unflatten(0, (len(y), -1))[torch.arange(len(y)), best], y.new_zeros(len(y))


def answer(measured, infer, y):
    """Mean, standard deviation and score of some rows."""
    z, bonus = infer(measured, y)
    mean, spread = measured.expect(y, z)
    return mean, spread if spread is None else spread.sqrt(), measured.log_joint(y, z) + bonus
