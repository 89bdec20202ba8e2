"""A joint of x, seen through a matrix: the joint of y = A x + noise and the same code (ledger L3).

    q_r(y|z) = N(y; A f(z), S),  S = sigma^2 A A^T + noise^2 I

f(z) is what the joint decodes and sigma^2 what it leaves, so a measurement misses by both.  In units of S, through
B = S^{-1/2} A, points are points, flats flats and mixtures mixtures again: their max and their posterior stay closed.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..core import Joint, _ask
from ..hyper import need_number
from ..solvers.nearest import project, side_by_side
from .flats import Flats
from .kernels import KernelMixture
from .linear import LinearGaussian
from .mixture import Mixture
from .network import Network


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
            seen = Network(Through(joint, B, centre), variance=1.0, prior=joint.prior)
            self.seen: Joint = seen.to(A.device)
        else:
            parts["means"] = joint.means.double() - centre
            push = next(push for kind, push in PUSHES.items() if isinstance(joint, kind))
            self.seen, more = push(joint, B, parts["means"], own)
            parts |= more
        for name, part in parts.items():
            self.register_buffer(name, part)

    def _noise(self, A, noise):
        """S, or a refusal where it has no inverse: a density of y needs one."""
        S = self.variance * A @ A.T + float(noise) * float(noise) * torch.eye(len(A)).to(A)
        if not S.isfinite().all():
            what = f"entries of A up to {float(A.abs().max()):.3g} and noise={noise:.3g} overflow when squared"
            raise ValueError(f"{what}: pass y, A and noise in larger units")
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


def need_kind(joint: Any, model: Any = None) -> None:
    """Refuse what no way is known to see through A, by the name of the model that has it."""
    if not isinstance(joint, (*PUSHES, LinearGaussian, Network)):
        given = joint if model is None else model
        name = getattr(given, "__name__", type(given).__name__)
        kinds = "Flats, Mixture, LinearGaussian, KernelMixture or Network, or a model of one, such as a fitted MPPCA"
        raise TypeError(f"no way to see {name} through A, only 5 kinds of joint: pass {kinds}")


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
