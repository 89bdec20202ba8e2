"""Points and flats: the joint of k-means, PCA and locally linear codes.

A flat is a point mu_k and an orthonormal basis W_k of p directions; with p = 0 it is the point alone.  The
code is k, or (k, u) with x ~ mu_k + W_k u.  K points are k-means, one flat is PCA (LGAE), K flats are LLGAE.
"""

import math
from typing import Any

import torch
from torch import Tensor

from ..core import Joint, Sums
from ..hyper import several
from ..noise import gaussian
from ..solvers.climb import Code
from ..solvers.nearest import nearest, project
from ..solvers.sums import by_code, by_part, by_row, in_parts, products, rows_at_once, tally, total


class Flats(Joint):
    """K equally likely points or flats with Gaussian noise: ``-log K + log N(x; mu_k + W_k u, variance I)``.

    The prior is uniform over k and flat over u, so with p > 0 this is no density over (k, u): there is no
    sampling from it.  Ledger E2 (p = 0), G1 (K = 1), H6.

    Parameters
    ----------
    means : tensor (K, D)
    bases : tensor (K, D, p), optional
        Orthonormal columns; p = 0 if left out.
    variance : float
        sigma^2 of the noise; 1/2 makes the log joint the squared error plus a constant.
    seed : int
        Of the small step that restarts an empty component.

    Examples
    --------
    >>> import torch
    >>> joint = Flats(torch.tensor([[0.0], [4.0]]))
    >>> joint
    Flats(components=2, directions=0, features=1)
    >>> joint.argmax(torch.tensor([[1.0], [3.0]]))
    tensor([0, 1])
    """

    def __init__(self, means: Tensor, bases: Tensor | None = None, variance: float = 0.5, seed: int = 0):
        super().__init__()
        self.register_buffer("means", means.clone())
        self.register_buffer("bases", means.new_zeros(*means.shape, 0) if bases is None else bases.clone())
        self.variance, self.seed = variance, seed

    def extra_repr(self) -> str:
        K, D, p = self.bases.shape
        return f"components={K}, directions={p}, features={D}"

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        K, D, p = self.bases.shape
        noise = f"Gaussian noise of variance {self.variance:g}, {several(D, 'feature')}"
        if not p:
            return f"k, one of {several(K, 'point')}", f"equal for all: -log {K}", f"the point and {noise}"
        where = f"u, {several(p, 'coordinate')} on {'the' if K == 1 else 'that'} flat"
        code = where if K == 1 else f"k, one of {several(K, 'flat')}, and {where}"
        return code, f"equal for all: -log {K}; flat over u", f"the point of the flat at u and {noise}"

    @property
    def _bases(self):  # None for points: the projection is skipped
        return self.bases if self.bases.shape[2] else None

    def _groups(self, k):
        """(component, its rows) for every component that has any: what is done flat by flat costs no more than one."""
        rows = k.argsort(stable=True).split(tally(k, len(self.means)).tolist())
        return [(c, i) for c, i in enumerate(rows) if len(i)]

    def decode(self, z: Any) -> Tensor:
        """The point of the flat at z: k (n,), or (k, u) with u (n, p) -> (n, D)."""
        if torch.is_tensor(z):
            return self.means[z]
        k, u = z
        return self._by_flat(k, u, lambda c, u: self.means[c][..., None, :] + u @ self.bases[c].mT)

    def inside(self, x: Tensor, k: Tensor) -> Tensor:
        """Where each row is on flat k, at its projection: (n, D), (n,) -> u (n, p)."""
        return self._by_flat(k, x, lambda c, x: (x - self.means[c][..., None, :]) @ self.bases[c])

    def _by_flat(self, k, rows, f):
        """``f(component, its rows)`` of every component, put back in the rows' order; on a GPU of all in one call."""
        if k.device.type != "cpu":
            codes, i, here = in_parts(k, len(self.means))
            return by_row(f(codes, rows[i]), i, here, len(k))
        groups = self._groups(k)
        done = torch.cat([f(c, rows[i]) for c, i in groups])
        return torch.zeros_like(done).index_copy(0, torch.cat([i for _, i in groups]), done)

    def residual(self, x: Tensor, z: Any) -> Tensor:
        """x less its decoded code, seen from the flat's own mean, so that no row loses digits: (n, D)."""
        if torch.is_tensor(z):
            return x - self.means.index_select(0, z)
        k, u = z
        away = self._by_flat(k, u, lambda c, u: u @ self.bases[c].mT)
        return (x - self.means.index_select(0, k)).sub_(away)

    @property
    def constant(self) -> float:
        """What the log joint is less the squared error over 2 sigma^2, nats."""
        K, D = self.means.shape
        return -math.log(K) - 0.5 * D * math.log(2 * math.pi * self.variance)

    def log_joints(self, x: Tensor) -> Tensor:
        """The log joint of every k, with the best u for each: (n, D) -> (n, K) float64, nats."""
        bases = None if self._bases is None else self._bases.double()
        return self.constant - project(x.double(), self.means.double(), bases)[0] / (2 * self.variance)

    def log_joint(self, x: Tensor, z: Any) -> Tensor:
        """(n,) nats at z = k, at z = (k, u), or expected under weights z = (r,) with r (n, K)."""
        if isinstance(z, tuple) and len(z) == 1:
            return (z[0] * self.log_joints(x)).sum(1)
        return gaussian(self.residual(x, z), torch.zeros(()).to(x), self.variance) - math.log(len(self.means))

    def argmax(self, x: Tensor) -> Code:
        """The nearest flat, and where on it: k (n,), or (k, u)."""
        return nearest(x, self.means, self._bases)

    def posterior(self, x: Tensor, T: float) -> tuple[tuple[Tensor], Tensor]:
        """Weights r (n, K) = softmax(l/T) over the points, and T times their entropy.  Only for p = 0."""
        if self._bases is not None:
            raise TypeError("Flats has a posterior over points only (p = 0): with p > 0 use Exact()")
        r = (self.log_joints(x) / T).softmax(1)
        return (r,), T * torch.special.entr(r).sum(1)

    def stats(self, x: Tensor, z: Any) -> Sums:
        """Sums per component: weight n, x seen from its own mean, squared error; with p > 0 also u and x u^T.

        All float64.  The means are the same in every batch and process, so sums of what is seen from them add up.
        """
        K, inside = len(self.means), 0.0
        if isinstance(z, tuple) and len(z) == 1:
            r, means = z[0].double(), self.means.double()
            n, middle = total(r), means.mean(0)
            away = products(r, x.double() - middle) - n[:, None] * (means - middle)
            sums = {"n": n, "x": away, "error": total(r * project(x.double(), means)[0])}
        elif torch.is_tensor(z):
            sums = {"n": tally(z, K).double(), "x": 0, "error": 0}
            for rows, k in zip(x.split(size := rows_at_once(x)), z.split(size)):
                away = self.residual(rows, k)
                sums["x"] += by_code(k, K, away)
                sums["error"] += by_code(k, K, torch.linalg.vecdot(away, away))
        else:
            k, u = z
            inside = by_code(k, K, torch.linalg.vecdot(u, u))
            of = self._flat_by_flat if x.device.type == "cpu" else self._at_once
            sums = {"n": tally(k, K).double()} | of(x, k, u)
        return self.scored(sums, x, inside)

    def _flat_by_flat(self, x, k, u):
        K, wide = len(self.means), {"dtype": torch.float64}
        sums = {"x": torch.zeros(self.means.shape, **wide), "u": torch.zeros(K, u.shape[1], **wide)}
        sums |= {"xu": torch.zeros(self.bases.shape, **wide), "error": torch.zeros(K, **wide)}
        for c, i in self._groups(k):
            rows, code = x.index_select(0, i).sub_(self.means[c]), u.index_select(0, i)
            sums["x"][c], sums["u"][c], sums["xu"][c] = total(rows), total(code), products(rows, code)
            rows.addmm_(code, self.bases[c].T, alpha=-1)
            sums["error"][c] = total(torch.linalg.vecdot(rows, rows))
        return sums

    def _at_once(self, x, k, u):
        """The same in few calls: a GPU waits for each call, not for numbers."""
        codes, rows, here = in_parts(k, K := len(self.means))
        x, u = x[rows].sub_(self.means[codes][:, None]).mul_(here[:, :, None]), u[rows].mul_(here[:, :, None])
        sums = [x.sum(1, dtype=torch.float64), u.sum(1, dtype=torch.float64), (x.mT @ u).flatten(1)]
        x.baddbmm_(u, self.bases[codes].mT, alpha=-1)
        sums.append(torch.linalg.vecdot(x, x).sum(1, dtype=torch.float64)[:, None])
        x, u, xu, error = by_part(codes, K, torch.cat(sums, 1)).split([part.shape[1] for part in sums], 1)
        return {"x": x, "u": u, "xu": xu.unflatten(1, self.bases.shape[1:]), "error": error[:, 0]}

    def scored(self, sums: Sums, x: Tensor, inside: Tensor | float = 0.0) -> Sums:
        """The sums, the log joint's, and what of it is the same for all parameters, apart.

        An error that is no more than the rounding of means and of codes, whose squares sum to ``inside``, is none.
        """
        eps, means = torch.finfo(self.means.dtype).eps, self.means.double()
        blur = eps**2 * (sums["n"] * torch.linalg.vecdot(means, means) + 16 * inside)
        error = torch.where(sums["error"] <= blur, 0.0, sums["error"])
        constant = torch.tensor(len(x) * self.constant, dtype=torch.float64)
        return sums | {"error": error, "objective": error.sum() / (-2 * self.variance), "constant": constant}

    @torch.no_grad()
    def update(self, sums: Sums) -> None:
        """The best means for these codes, and one subspace step for the bases (QR of their covariance with u).

        A component without samples restarts beside the one with the largest error: a copy plus a small step.
        Only the empty one moves there, so the objective cannot fall.
        """
        n, full = sums["n"], sums["n"] > 0
        moved = sums["x"] / torch.where(full, n, 1.0)[:, None]
        means, bases = self.means.to("cpu", torch.float64) + moved, self.bases.to("cpu", torch.float64)
        if self._bases is not None:
            spread = sums["xu"] - moved[:, :, None] * sums["u"][:, None]
            bases = torch.where(full[:, None, None], torch.linalg.qr(spread).Q, bases)
        if not full.all():
            generator, error = torch.Generator().manual_seed(self.seed), sums["error"].clone()
            for empty in (~full).nonzero()[:, 0]:
                worst = error.argmax()
                step = torch.randn(means.shape[1], generator=generator, dtype=torch.float64)
                size = 1e-3 * (error[worst] / n[worst].clamp(min=1) / len(step)).sqrt()
                means[empty], bases[empty] = means[worst] + size * step, bases[worst]
                error[worst] /= 2  # so that the next empty one looks elsewhere
        self.means.copy_(means)
        self.bases.copy_(bases)
