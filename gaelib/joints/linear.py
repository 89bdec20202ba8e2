"""A linear decoder with a normal prior: probabilistic PCA's joint (ledger G8, R4)."""

import math
from typing import Any

import torch
from torch import Tensor

from ..core import Joint, Sums
from ..hyper import several
from ..noise import gaussian
from ..solvers.sums import products, total


class LinearGaussian(Joint):
    """u ~ N(0, I), x = mu + W u + noise of variance sigma^2.

    Parameters
    ----------
    mean : tensor (D,)
    weights : tensor (D, p)
    variance : float or tensor ()

    Examples
    --------
    >>> joint = LinearGaussian(torch.zeros(1), torch.ones(1, 1), 1.0)
    >>> joint
    LinearGaussian(directions=1, features=1)
    >>> joint.argmax(torch.tensor([[4.0]]))
    tensor([[2.]])
    """

    def __init__(self, mean: Tensor, weights: Tensor, variance: Tensor | float):
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("weights", weights.clone())
        self.register_buffer("variance", torch.as_tensor(variance, dtype=mean.dtype, device=mean.device).clone())

    def extra_repr(self) -> str:
        D, p = self.weights.shape
        return f"directions={p}, features={D}"

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        D, p = self.weights.shape
        noise = f"Gaussian noise of variance {float(self.variance):.4g}, {several(D, 'feature')}"
        return f"u, {several(p, 'coordinate')}", "N(u; 0, I)", f"mu + W u and {noise}"

    def _wide(self, x):
        """W, sigma^2, and rows seen from mu, in float64: small noise beside a strong direction needs them."""
        return self.weights.double(), self.variance.double(), (x - self.mean).double()

    def _precision(self):
        """M = W^T W + sigma^2 I, (p, p) float64: the posterior's precision times sigma^2."""
        W = self.weights.double()
        return W.T @ W + self.variance.double() * torch.eye(W.shape[1]).to(W)

    def decode(self, z: Tensor) -> Tensor:
        """mu + W u: (n, p) -> (n, D)."""
        return self.mean + z.to(self.weights) @ self.weights.T

    def log_joint(self, x: Tensor, z: Any) -> Tensor:
        """(n,) float64 nats at the point z = u (n, p), or expected under z = (mean (n, p), covariance (p, p))."""
        u, spread = z if isinstance(z, tuple) else (z, None)
        (W, variance, away), u = self._wide(x), u.double()
        value = gaussian(away, u @ W.T, variance) + gaussian(u, torch.zeros_like(u), 1.0)
        if spread is None:
            return value
        return value - 0.5 * (self._precision() * spread).sum() / variance

    def argmax(self, x: Tensor) -> Tensor:
        """M^{-1} W^T (x - mu): the mode of the posterior, which is also its mean."""
        return self._mode(x).to(x)

    def _mode(self, x):
        W, _, away = self._wide(x)
        return torch.linalg.solve(self._precision(), (away @ W).T).T

    def posterior(self, x: Tensor, T: float) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """N(argmax, T sigma^2 M^{-1}), and T times its differential entropy; float64."""
        spread = T * self.variance.double() * torch.linalg.inv(self._precision())
        entropy = 0.5 * torch.logdet(2 * math.pi * math.e * spread)
        return (self._mode(x), spread), (T * entropy).expand(len(x))

    def stats(self, x: Tensor, z: tuple[Tensor, Tensor]) -> Sums:
        """Sums for the regression of x - mu on [u, 1] under the posterior z = (mean, covariance)."""
        u, spread = z
        away, p = self._wide(x)[2], u.shape[1]
        v = torch.cat([u, torch.ones_like(u[:, :1])], 1).double()
        vv = products(v, v)
        vv[:p, :p] += len(x) * spread
        sums = {"n": torch.tensor(len(x)), "vv": vv, "xv": products(away, v), "xx": total(away.square()).sum()}
        return sums | {"objective": total(self.log_joint(x, z))}

    @torch.no_grad()
    def update(self, sums: Sums) -> None:
        """The M-step of EM: weighted least squares for W and mu together, then the mean squared residual."""
        both = torch.linalg.solve(sums["vv"], sums["xv"].T).T  # (D, p + 1)
        self.variance.copy_((sums["xx"] - (both * sums["xv"]).sum()) / (sums["n"] * len(both)))
        self.weights.copy_(both[:, :-1])
        self.mean.add_(both[:, -1].to(self.mean))
