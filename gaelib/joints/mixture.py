"""Mixtures of flats with ends: of Gaussians, and of probabilistic PCA (ledger H8)."""

import math
from typing import Any

import torch
from torch import Tensor

from ..core import Joint, Soft, Sums
from ..hyper import several
from ..solvers.nearest import ENTRIES, expanded, side_by_side
from ..solvers.sums import added, products, total

LEAST = 1e-30  # rows that weigh less than this together support no component


def softened(nats, T):
    """Weights r = softmax(l/T) over the components, and T times their entropy: (n, K) -> (n, K), (n,)."""
    away = (nats - nats.amax(1, keepdim=True)) / T
    r = away.exp()
    every = r.sum(1, keepdim=True)
    r /= every
    return r, T * (every[:, 0].log() - (r * away).sum(1))


class Mixture(Joint):
    """log pi_k + log N(x; mu_k, W_k W_k^T + sigma_k^2 I) with W_k = Q_k diag(s_k) and orthonormal Q_k.

    The covariance is never formed: across the flat it is sigma^2, along its axes s^2 + sigma^2, and
    `solvers.nearest.projector` splits a point into the two.

    Parameters
    ----------
    means : tensor (K, D)
    bases : tensor (K, D, p), optional
        Q, orthonormal columns; p = 0 if left out: spherical Gaussians.
    scales : float or tensor (K, p)
        s, the standard deviation that u contributes along each axis.
    variance : float or tensor (K,)
        sigma^2.
    weights : tensor (K,), optional
        pi; equal if left out.
    shared : bool
        One sigma^2 for all components, or one for each.
    fixed : bool
        Keep ``scales`` as they are: a fixed prior variance on an orthonormal flat.
    floor : float
        The least sigma^2 that `update` gives.

    Examples
    --------
    >>> joint = Mixture(torch.tensor([[0.0], [4.0]]), variance=1.0)
    >>> joint
    Mixture(components=2, directions=0, features=1)
    >>> joint.argmax(torch.tensor([[1.0], [3.0]]))
    tensor([0, 1])
    """

    def __init__(
        self,
        means: Tensor,
        bases: Tensor | None = None,
        scales: Tensor | float = 1.0,
        variance: Tensor | float = 0.5,
        weights: Tensor | None = None,
        *,
        shared: bool = True,
        fixed: bool = False,
        floor: float = 0.0,
    ):
        super().__init__()
        bases = means.new_zeros(*means.shape, 0) if bases is None else bases
        K, D, p = bases.shape
        wide = {"means": (means, (K, D)), "bases": (bases, (K, D, p)), "scales": (scales, (K, p))}
        wide |= {"variance": (variance, (K,)), "weights": (1 / K if weights is None else weights, (K,))}
        for name, (value, shape) in wide.items():
            self.register_buffer(
                name, torch.as_tensor(value, dtype=means.dtype, device=means.device).expand(shape).clone()
            )
        self.shared, self.fixed, self.floor = shared, fixed, floor

    def extra_repr(self) -> str:
        K, D, p = self.bases.shape
        return f"components={K}, directions={p}, features={D}"

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        K, D, p = self.bases.shape
        where = f", and u, {several(p, 'coordinate')} on its flat" if p else ""
        noise = f"Gaussian noise of {'one variance' if self.shared else 'its own variance'}, {several(D, 'feature')}"
        return (
            f"k, one of {several(K, 'component')}{where}",
            "the component's weight" + (" and N(u; 0, I)" if p else ""),
            f"the {'point of the flat at u' if p else 'centre'} and {noise}",
        )

    @property
    def _along(self):
        """The variance along each axis, s^2 + sigma^2: (K, p) float64."""
        return self.scales.double().square() + self.variance.double()[:, None]

    def _rows(self):
        K, _, p = self.bases.shape
        return max(1, ENTRIES // (K * max(1, p)))

    def _parts(self, x):
        """In chunks of bounded memory: rows seen from the middle of the means (n, D), squared distances (n, K), where
        on the flats (n, K, p) or None.  In float64, since one long axis beside little noise leaves float32 no digits.
        """
        middle, bases = self.means.double().mean(0), self.bases.double() if self.bases.shape[2] else None
        of = expanded(self.means.double() - middle, bases)
        for part in x.split(self._rows()):
            part = part.double() - middle
            squares, inside, sizes = of(part)
            yield part, squares.add_(sizes[:, None]).clamp_(min=0), inside

    def decode(self, z: Tensor) -> Tensor:
        """The mean of component k: (n,) -> (n, D)."""
        return self.means[z]

    def log_joints(self, x: Tensor) -> Tensor:
        """The log joint of every k: (n, D) -> (n, K) float64, nats."""
        return torch.cat([self._nats(squares, inside) for _, squares, inside in self._parts(x)])

    def _nats(self, squares, inside):
        _, D, p = self.bases.shape
        variance, along = self.variance.double(), self._along
        weights = self.weights.double().clamp(min=torch.finfo(torch.float64).tiny).log()
        volume = (D - p) * variance.log() + along.log().sum(1) + D * math.log(2 * math.pi)
        nats = torch.addcdiv(weights - 0.5 * volume, squares, variance, value=-0.5)
        return nats - 0.5 * (inside.square() / along).sum(2) if p else nats

    def log_joint(self, x: Tensor, z: Any) -> Tensor:
        """(n,) float64 nats at z = k, or expected under the weights z = (r,) with r (n, K)."""
        return (self._weights(z) * self.log_joints(x)).sum(1)

    def _weights(self, z):
        return (z[0] if isinstance(z, tuple) else torch.nn.functional.one_hot(z, len(self.means))).double()

    def argmax(self, x: Tensor) -> Tensor:
        """The likeliest component, the first of equals: (n, D) -> (n,) int64."""
        return self.log_joints(x).argmax(1)

    def posterior(self, x: Tensor, T: float) -> tuple[tuple[Tensor], Tensor]:
        """Weights r (n, K) = softmax(l/T) over the components, and T times their entropy; float64."""
        r, bonus = softened(self.log_joints(x), T)
        return (r,), bonus

    def code(self, x: Tensor) -> Tensor:
        """The posterior mean of e_k (x) [u, 1], block by block: (n, D) -> (n, K (p + 1))."""
        r = self.posterior(x, 1.0)[0][0]
        if not self.bases.shape[2]:
            return r.to(x.dtype)
        u = torch.cat([inside for _, _, inside in self._parts(x)]) * (self.scales / self._along)
        return (torch.cat([u, torch.ones_like(r)[:, :, None]], 2) * r[:, :, None]).flatten(1).to(x.dtype)

    def decoder(self) -> Tensor:
        """The matrix (K (p + 1), D) that takes `code` back: W_k^T above mu_k, block by block."""
        return side_by_side(torch.cat([self.bases * self.scales[:, None], self.means[:, :, None]], 2)).T

    def stats(self, x: Tensor, z: Any) -> Sums:
        """Sums per component under the weights: 1, x, where on the flat, their product, distance squared; the joint.

        x is measured from the middle of the means, so that data far from the origin lose no digits.
        """
        weights = self._weights(z).split(self._rows())
        return added(self._found(*parts, self._nats(*parts[1:]), r) for parts, r in zip(self._parts(x), weights))

    def _found(self, part, squares, inside, nats, r):
        """The sums of one chunk."""
        sums = {"n": total(r), "x": products(r, part), "objective": (r * nats).sum()}
        if inside is None:
            return sums | {"square": total(r * squares)}
        weighted, square = inside * r[:, :, None], squares + inside.square().sum(2)
        return sums | {
            "u": total(weighted),
            "xu": products(part, weighted.flatten(1)).unflatten(1, inside.shape[1:]).transpose(0, 1),
            "square": total(r * square),
        }

    @torch.no_grad()
    def update(self, sums: Sums) -> None:
        """The M-step of EM: the best weights and means, then W from the regression of x on u, then sigma^2.

        The evidence cannot fall: sigma^2 is the best one not below the floor (its likelihood has one peak).
        A component that no row supports loses its weight, so it may move: it waits in the middle of the data.
        """
        means, variance = (part.to("cpu", torch.float64) for part in (self.means, self.variance))
        full, middle = sums["n"] > LEAST, means.mean(0)
        n = sums["n"][full]
        x, square = sums["x"][full] / n[:, None], sums["square"][full] / n
        shift = x + middle - means[full]
        error = square - shift.square().sum(1)  # trace of the component's covariance S
        if self.bases.shape[2]:
            error = self._turn(sums, full, x, error, variance[full, None])
        error = (n @ error / n.sum()).expand(len(means)) if self.shared else error
        variance[full if not self.shared else slice(None)] = (error / means.shape[1]).clamp(min=self.floor)
        means[full], means[~full] = x + middle, n @ x / n.sum() + middle
        self.means.copy_(means)
        self.variance.copy_(variance)
        self.weights.copy_(sums["n"] / sums["n"].sum())

    def _turn(self, sums, full, x, total, variance):
        """The best W for means x (K, D), and the squared distance that it leaves (K,) of ``total``."""
        bases, scales = (part.to("cpu", torch.float64) for part in (self.bases, self.scales))
        u, xu = (sums[name][full] / sums["n"][full].view(-1, *[1] * (sums[name].ndim - 1)) for name in ("u", "xu"))
        xu = xu - x[:, :, None] * u[:, None]  # S Q
        along = scales[full] ** 2 + variance
        gain = scales[full] / along
        uu = gain[:, :, None] * (bases[full].mT @ xu) * gain[:, None]
        uu = uu + torch.diag_embed(variance / along)  # the posterior's second moment of u
        xu = xu * gain[:, None]
        if self.fixed:  # the best orthonormal Q (Procrustes)
            left, _, right = torch.linalg.svd(xu, full_matrices=False)
            bases[full] = left @ right
            W = bases[full] * scales[full][:, None]
        else:
            W = torch.linalg.solve(uu, xu.mT).mT
            bases[full], scales[full], _ = torch.linalg.svd(W, full_matrices=False)
        self.bases.copy_(bases)
        self.scales.copy_(scales)
        return total - 2 * (W * xu).sum((1, 2)) + (W.mT @ W * uu).sum((1, 2))

    def fill(self, x: Tensor) -> Tensor:
        """Missing entries (NaN) by their expectation given the present ones: (n, D) -> (n, D)."""
        K, _, p = self.bases.shape
        means, bases, scales, variance = (
            part.double() for part in (self.means, self.bases, self.scales, self.variance)
        )
        W, middle = bases * scales[:, None], means.mean(0)
        means, pairs = means - middle, (W[:, :, :, None] * W[:, :, None]).transpose(0, 1).flatten(1)
        offsets, decoder = side_by_side(W * means[:, :, None]), self.decoder()
        noise, filled = variance[:, None, None] * torch.eye(p).to(W), []
        for part in x.split(max(1, ENTRIES // (K * (p + 1) ** 2))):
            there = ~part.isnan()
            here, known = there.double(), torch.where(there, part.double() - middle, 0.0)
            precision = (here @ pairs).unflatten(1, (K, p, p)) + noise
            pull = (known @ side_by_side(W) - here @ offsets).unflatten(1, (K, p))
            u = torch.linalg.solve(precision, pull[..., None])[..., 0]
            squares = known.square().sum(1, keepdim=True) - 2 * known @ means.T + here @ means.square().T
            count = here.sum(1, keepdim=True)
            volume = (count - p) * variance.log() + torch.logdet(precision)
            r = (self.weights.double().log() - 0.5 * ((squares - (pull * u).sum(2)) / variance + volume)).softmax(1)
            code = torch.cat([u, torch.ones_like(r)[:, :, None]], 2) * r[:, :, None]
            filled.append(torch.where(there, part, code.flatten(1).to(part) @ decoder))
        return torch.cat(filled)


class Expect(Soft):
    """`Soft` for a `Mixture` during a fit: the posterior with ``stats`` of its own, from the same reading of the rows.

    Examples
    --------
    >>> joint, x, answer = Mixture(torch.tensor([[0.0], [4.0]])), torch.tensor([[1.0], [3.0]]), Expect()
    >>> z, _ = answer(joint, x)
    >>> bool((answer.stats(x, z)["x"] == joint.stats(x, z)["x"]).all())
    True
    """

    @torch.no_grad()
    def __call__(self, joint, x):
        r, bonus, found = [], [], []
        for parts in joint._parts(x):
            nats = joint._nats(*parts[1:])
            weights, entropy = softened(nats, self.T)
            found.append(joint._found(*parts, nats, weights))
            r.append(weights)
            bonus.append(entropy)
        self.joint, self.z, self.sums = joint, (torch.cat(r),), added(found)
        return self.z, torch.cat(bonus)

    def stats(self, x, z):
        """The sums at the code just found."""
        return self.sums if z is self.z else self.joint.stats(x, z)
