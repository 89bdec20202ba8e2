"""Components whose weights are read off a place: a mixture with Gaussian kernels around prototypes (ledger F1-F4).

    u_k(z) = exp(-||z - w_k||^2) / (b(z) + sum_j exp(-||z - w_j||^2)),    u_0(z) = 1 - sum_k u_k(z)
    log q_w(z) = log(1 - u_0(z)) + c
    log q_r(x|z) = log sum_k softmax_k(-||z - w_k||^2) N(x; mu_k, variance I)

Their sum is ``log sum_k u_k(z) p(x|k)``.  In z the score is a difference of two convex functions, which gives Newton's
method a curvature that is always positive; in the parameters every step is a closed form that cannot lower it.
"""

import math

import torch
from scipy.special import lambertw
from torch import Tensor

from ..core import Joint, Sums
from ..hyper import several
from ..solvers.nearest import ENTRIES, project
from ..solvers.sums import products, total

STARTS = 3  # corner codes from which the best code of a sample is sought; on the digits two never missed
NEWTON = 200  # steps at most; five to ten are usual


class KernelMixture(Joint):
    """``log sum_k u_k(z) N(x; mu_k, variance I)`` with Gaussian gates u_k around prototypes w_k.

    Parameters
    ----------
    means : tensor (K, D)
        mu_k, what component k decodes to.
    prototypes : tensor (K, E)
        w_k, where in code space it lives.
    absorb : float or "exp"
        b: a constant, or ``exp(z^T z)``.  With 0 there may be no best code (F1), so `argmax` refuses.
    variance : float
        sigma^2 of the noise.

    Notes
    -----
    The prior's constant c is left out: it depends on no code, but on the prototypes (F2b).

    Examples
    --------
    >>> w = torch.tensor([[0.0], [-1.0]], dtype=torch.float64)
    >>> joint = KernelMixture(1e3 * w, w, "exp")  # x = 0 is explained by the first component alone
    >>> joint
    KernelMixture(components=2, dimensions=1, features=1)
    >>> joint.argmax(torch.zeros(1, 1, dtype=torch.float64))
    tensor([[0.1353]], dtype=torch.float64)
    """

    def __init__(self, means: Tensor, prototypes: Tensor, absorb: float | str = 1.0, variance: float = 0.5):
        super().__init__()
        self.register_buffer("means", means.clone())
        self.register_buffer("prototypes", prototypes.clone())
        self.absorb, self.variance = absorb, variance

    def extra_repr(self) -> str:
        (K, D), p = self.means.shape, self.prototypes.shape[1]
        return f"components={K}, dimensions={p}, features={D}"

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        (K, D), p = self.means.shape, self.prototypes.shape[1]
        return (
            f"z, a place among {several(K, 'prototype')}, {several(p, 'coordinate')}",
            "log(1 - u_0(z)): not absorbed" if self.absorb else "none: nothing absorbs",
            f"a mixture, weighted by Gaussian kernels around z, variance {self.variance:g}, {several(D, 'feature')}",
        )

    def log_components(self, x: Tensor) -> Tensor:
        """log p(x|k): (n, D) -> (n, K), nats."""
        D = self.means.shape[1]
        squares = project(x, self.means)[0]
        return -squares / (2 * self.variance) - 0.5 * D * math.log(2 * math.pi * self.variance)

    @property
    def steepness(self) -> float:
        """Of the absorbing component, ||z||^2 divided out: b(z) exp(||z||^2) is b e^s or e^(2 s), s = ||z||^2."""
        return 2.0 if self.absorb == "exp" else 1.0

    def kernels(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """-||z - w_k||^2 and log b(z), both plus ||z||^2, which no gate sees: (..., E) -> (..., K), (..., 1)."""
        log_b = 0.0 if self.absorb == "exp" else math.log(self.absorb) if self.absorb else -math.inf
        w = self.prototypes
        return 2 * z @ w.T - w.square().sum(1), log_b + self.steepness * z.square().sum(-1, keepdim=True)

    def gates(self, z: Tensor) -> Tensor:
        """u_k(z) of the components, and of the absorbing one last: (..., E) -> (..., K + 1), summing to 1."""
        return torch.cat(self.kernels(z), -1).softmax(-1)

    def decode(self, z: Tensor) -> Tensor:
        """sum_k softmax_k(-||z - w_k||^2) mu_k: (n, E) -> (n, D)."""
        return self.kernels(z)[0].softmax(-1) @ self.means

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log sum_k u_k(z) p(x|k): x (n, D), z (n, E) -> (n,), nats."""
        return self.score(self.log_components(x), z)

    def score(self, log_p: Tensor, z: Tensor) -> Tensor:
        """`log_joint` from log p(x|k) (..., K) instead of x: z (..., E) -> (...)."""
        k, log_b = self.kernels(z)
        return (k + log_p).logsumexp(-1) - torch.cat([k, log_b], -1).logsumexp(-1)

    def shares(self, log_p: Tensor, z: Tensor) -> Tensor:
        """r_k, proportional to u_k(z) p(x|k): (..., K), summing to 1."""
        return (self.kernels(z)[0] + log_p).softmax(-1)

    def slope(self, log_p: Tensor, z: Tensor) -> Tensor:
        """dl/dz = 2 sum_k (r_k - u_k)(w_k - z) - u_0 grad log b(z), collected: (..., E), ledger F3."""
        u = self.gates(z)
        return 2 * (self.shares(log_p, z) - u[..., :-1]) @ self.prototypes - 2 * self.steepness * u[..., -1:] * z

    def argmax(self, x: Tensor) -> Tensor:
        """The best code of each sample, (n, D) -> (n, E), by Newton's method from several starts.

        A corner code is the best one when component k alone explains x; there the score is concave.  The climb
        starts from the corner codes that score highest for this x, and the best end is kept.
        """
        if self.absorb == 0:
            raise ValueError(
                "absorb=0 leaves no best code: it may run away to infinity (F1): "
                "pass absorb > 0 or 'exp', or Climb(...)"
            )
        K, E = self.prototypes.shape
        alone = torch.full((K, K), -math.inf).fill_diagonal_(0.0).to(self.means)
        corners, starts, found = self._climb(alone, self.prototypes), min(STARTS, K), []
        for part in x.split(max(1, ENTRIES // (starts * K))):
            log_p = self.log_components(part)
            log_p = log_p - log_p.max(1, keepdim=True).values  # the code sees only ratios; digits are saved
            first = self.score(log_p[:, None], corners).topk(starts, -1).indices
            log_p = log_p.repeat_interleave(starts, 0)
            ends = self._climb(log_p, corners[first.flatten()])
            best = self.score(log_p, ends).view(-1, starts).argmax(1)
            found.append(ends.view(-1, starts, E)[torch.arange(len(part)), best])
        return torch.cat(found)

    def _climb(self, log_p, start):
        """Newton's method on l = A - B from start (n, E).  A and B are convex in z, so the curvature of B alone is a
        safe one where that of l is not negative definite; a step that would lower l is halved."""
        z, live, length = start.clone(), torch.arange(len(start), device=start.device), torch.ones_like(start[:, :1])
        w, eye = self.prototypes, torch.eye(start.shape[1]).to(start)
        eps = torch.finfo(z.dtype).eps
        for _ in range(NEWTON):
            here, lp = z[live], log_p[live]
            r, u = self.shares(lp, here), self.gates(here)
            bent = 4 * spread(u, w, self.steepness * here) + 2 * self.steepness * u[:, -1:, None] * eye  # of B
            newton = bent - 4 * spread(r, w)
            concave = torch.linalg.cholesky_ex(newton).info == 0
            bent = torch.where(concave[:, None, None], newton, bent)
            step = length[live] * torch.linalg.solve(bent, self.slope(lp, here))
            close = torch.where(concave & (length[live, 0] == 1), eps**0.6, eps**0.9)  # Newton's next step: its square
            done = step.abs().amax(1) <= close * (1 + here.abs().amax(1))
            value = self.score(lp, here)
            up = done | (self.score(lp, here + step) >= value - 8 * eps * (1 + value.abs()))
            z[live] = torch.where(up[:, None], here + step, here)
            length[live] = torch.where(up[:, None], (2 * length[live]).clamp(max=1.0), length[live] / 2)
            live = live[~done]
            if not len(live):
                break
        return z

    def stats(self, x: Tensor, z: Tensor) -> Sums:
        """Sums over samples: shares, shares times x seen from the middle of the means, the slope in every prototype."""
        r, u = self.shares(self.log_components(x), z), self.gates(z)[:, :-1]
        slope = 2 * (products(r - u, z) - total(r - u)[:, None] * self.prototypes)
        return {"n": torch.tensor(len(x)), "r": total(r), "rx": products(r, x - self.means.mean(0)), "slope": slope}

    @torch.no_grad()
    def update(self, sums: Sums) -> None:
        """Two steps that cannot lower the objective at these codes: EM's means, and a bounded step of the prototypes.

        In w_k the log numerator curves by at most 2 r_k, minus the log denominator by at most
        4 sup_s s/(1 + b e^s) = 4 W(1/(b e)), with Lambert's W; exp(z^T z) is at least 1.  A gradient step divided by
        that bound climbs.
        """
        b = 1.0 if self.absorb == "exp" else self.absorb
        alive = sums["r"] > 1e-12
        bound = 2 * sums["r"] + 4 * float(lambertw(1 / (math.e * b)).real) * sums["n"]
        self.prototypes.add_((sums["slope"] / bound[:, None]).to(self.prototypes))
        means = self.means.to("cpu", torch.float64)
        means[alive] = sums["rx"][alive] / sums["r"][alive, None] + self.means.mean(0).to(means)
        self.means.copy_(means)


def spread(weights: Tensor, points: Tensor, extra: Tensor | None = None) -> Tensor:
    """Covariance of points (K, E), and of ``extra`` (n, E) with the last weight, under weights (n, K or K + 1)."""
    inner, rest = weights[:, : len(points)], weights[:, len(points) :]
    mean = inner @ points
    square = (inner @ (points[:, :, None] * points[:, None]).flatten(1)).unflatten(1, (points.shape[1], -1))
    if extra is not None:
        mean = mean + rest * extra
        square = square + rest[:, :, None] * extra[:, :, None] * extra[:, None]
    return square - mean[:, :, None] * mean[:, None]
