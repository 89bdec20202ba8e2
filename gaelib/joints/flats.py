"""Points and flats: the joint of k-means, PCA and locally linear codes.

A flat is a point mu_k and an orthonormal basis W_k of p directions; with p = 0 it is the point alone.  The
code is k, or (k, u) with x ~ mu_k + W_k u.  K points are k-means, one flat is PCA (LGAE), K flats are LLGAE.
"""

import math

import torch

from ..core import Joint
from ..noise import gaussian
from ..solvers.nearest import ROWS, nearest, project


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
    >>> joint.argmax(torch.tensor([[1.0], [3.0]]))
    tensor([0, 1])
    """

    def __init__(self, means, bases=None, variance=0.5, seed=0):
        super().__init__()
        self.register_buffer("means", means.clone())
        self.register_buffer("bases", means.new_zeros(*means.shape, 0) if bases is None else bases.clone())
        self.variance, self.seed = variance, seed

    @property
    def _bases(self):  # None for points: the projection is skipped
        return self.bases if self.bases.shape[2] else None

    def _groups(self, k):
        """(component, its rows) for every component that has any: what is done flat by flat costs no more than one."""
        rows = k.argsort(stable=True).split(torch.bincount(k, minlength=len(self.means)).tolist())
        return [(c, i) for c, i in enumerate(rows) if len(i)]

    def decode(self, z):
        """The point of the flat at z: k (n,), or (k, u) with u (n, p) -> (n, D)."""
        if torch.is_tensor(z):
            return self.means[z]
        k, u = z
        return self._by_flat(k, u, lambda c, u: self.means[c] + u @ self.bases[c].T)

    def inside(self, x, k):
        """Where each row is on flat k, at its projection: (n, D), (n,) -> u (n, p)."""
        return self._by_flat(k, x, lambda c, x: (x - self.means[c]) @ self.bases[c])

    def _by_flat(self, k, rows, f):
        """``f(component, its rows)`` of every component, put back in the rows' order."""
        groups = self._groups(k)
        done = torch.cat([f(c, rows[i]) for c, i in groups])
        return torch.zeros_like(done).index_copy(0, torch.cat([i for _, i in groups]), done)

    def log_joints(self, x):
        """The log joint of every k, with the best u for each: (n, D) -> (n, K), nats."""
        K, D = self.means.shape
        constant = math.log(K) + 0.5 * D * math.log(2 * math.pi * self.variance)
        return -project(x, self.means, self._bases)[0] / (2 * self.variance) - constant

    def log_joint(self, x, z):
        """(n,) nats at z = k, at z = (k, u), or expected under weights z = (r,) with r (n, K)."""
        if isinstance(z, tuple) and len(z) == 1:
            return (z[0] * self.log_joints(x)).sum(1)
        return gaussian(x, self.decode(z), self.variance) - math.log(len(self.means))

    def argmax(self, x):
        """The nearest flat, and where on it: k (n,), or (k, u)."""
        return nearest(x, self.means, self._bases)

    def posterior(self, x, T):
        """Weights r (n, K) = softmax(l/T) over the points, and T times their entropy.  Only for p = 0."""
        if self._bases is not None:
            raise TypeError("Flats has a posterior over points only (p = 0): with p > 0 use Exact()")
        r = (self.log_joints(x) / T).softmax(1)
        return (r,), T * torch.special.entr(r).sum(1)

    def stats(self, x, z):
        """Sums per component: weight n, sum of x, squared error; with p > 0 also of u and x u^T."""
        if isinstance(z, tuple) and len(z) == 1:
            r = z[0]
            return {"n": r.sum(0), "x": r.T @ x, "error": (r * project(x, self.means)[0]).sum(0)}
        sums = {"n": torch.zeros_like(self.means[:, 0]), "x": torch.zeros_like(self.means)}
        sums["error"] = torch.zeros_like(sums["n"])
        if torch.is_tensor(z):
            step = max(1, len(x) if x.is_cuda else ROWS)
            for rows, k in zip(x.split(step), z.split(step)):
                residuals = self.means.index_select(0, k).sub_(rows)
                sums["x"].index_add_(0, k, rows)
                sums["error"].index_add_(0, k, torch.linalg.vecdot(residuals, residuals))
            sums["n"] += torch.bincount(z, minlength=len(self.means))
        else:
            k, u = z
            sums |= {"u": torch.zeros_like(self.bases[:, 0]), "xu": torch.zeros_like(self.bases)}
            for c, i in self._groups(k):
                rows, code = x[i], u[i]
                sums["n"][c], sums["x"][c], sums["u"][c] = len(i), rows.sum(0), code.sum(0)
                sums["xu"][c] = rows.T @ code
                sums["error"][c] = (rows - self.means[c] - code @ self.bases[c].T).square().sum()
        return self._with_objective(sums, x)

    def _with_objective(self, sums, x):
        """The sums and the log joint's, which follows from the squared error."""
        constant = math.log(len(self.means)) + 0.5 * x.shape[1] * math.log(2 * math.pi * self.variance)
        objective = -sums["error"].double().sum() / (2 * self.variance)
        return sums | {"objective": objective, "constant": torch.tensor(-len(x) * constant, dtype=torch.float64)}

    @torch.no_grad()
    def update(self, sums):
        """The best means for these codes, and one subspace step for the bases (QR of their covariance with u).

        A component without samples restarts beside the one with the largest error: a copy plus a small step.
        Only the empty one moves there, so the objective cannot fall.
        """
        n, error = sums["n"], sums["error"].clone()
        means, bases = self.means.to("cpu", torch.float64), self.bases.to("cpu", torch.float64)
        full = n > 0
        means[full] = sums["x"][full] / n[full, None]
        if self._bases is not None:
            spread = sums["xu"][full] - means[full][:, :, None] * sums["u"][full][:, None]
            bases[full] = torch.linalg.qr(spread).Q
        generator = torch.Generator().manual_seed(self.seed)
        for empty in (~full).nonzero()[:, 0]:
            worst = error.argmax()
            step = torch.randn(means.shape[1], generator=generator, dtype=torch.float64)
            size = 1e-3 * (error[worst] / n[worst].clamp(min=1) / len(step)).sqrt()
            means[empty], bases[empty] = means[worst] + size * step, bases[worst]
            error[worst] /= 2  # so that the next empty one looks elsewhere
        self.means.copy_(means)
        self.bases.copy_(bases)
