"""Locally linear codes with a soft gate in x, for comparison only (ledger H1-H3).

    f_k(x) = softmax_k( -||x - mu_k||^2 / (2 scale) )      x_hat(x, u) = sum_k f_k(x) (mu_k + W_k u)

The decoder sees the point that it should reconstruct.  So ``log_joint`` is a score and no density over x: its
integral moves with the means, and what the gates tell about x is told for nothing.  `gaelib.LLGAE` has the
choice in the code instead.
"""

__all__ = []  # a joint for one comparison in the book, no face of its own

from typing import Any

import torch
from torch import Tensor, nn

from ..core import Joint
from ..noise import gaussian


class SoftGate(Joint):
    """K flats blended by Gaussian kernels around their means, as the document prints it.

    Parameters
    ----------
    means : tensor (K, D)
    bases : tensor (K, D, p)
    scale : float
        The kernels' variance, in the data's units squared.  The document's kernel exp -(x - mu)^2 is 1/2.

    Notes
    -----
    Learn it with `gaelib.core.ascend`: the gates have no closed form.  To send its code, send the gates too:
    ``decode`` takes both.

    Examples
    --------
    Two means on a line and no directions, and yet the point comes through, bent:

    >>> joint = SoftGate(torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1, 0))
    >>> joint
    SoftGate(components=2, directions=0, features=1)
    >>> gates = joint.gates(torch.tensor([[0.0], [0.5]]))
    >>> joint.decode((gates, torch.zeros(2, 0))).detach()
    tensor([[0.0000],
            [0.7616]])
    """

    def __init__(self, means: Tensor, bases: Tensor, scale: float = 0.5):
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale={scale} must be above 0: it is the variance of the gates' kernels")
        self.means, self.bases, self.scale = nn.Parameter(means.clone()), nn.Parameter(bases.clone()), scale

    def extra_repr(self) -> str:
        K, D, p = self.bases.shape
        return f"components={K}, directions={p}, features={D}"

    def gates(self, x: Tensor) -> Tensor:
        """f (n, K): positive, and of sum 1."""
        squares = (x[:, None] - self.means).square().sum(2)
        return (-squares / (2 * self.scale)).softmax(1)

    def _blend(self, f):
        """The one flat that the gates f (n, K) make of K: a mean (n, D) and directions (n, D, p)."""
        return f @ self.means, torch.einsum("nk,kdp->ndp", f, self.bases)

    def decode(self, z: Any) -> Tensor:
        """The code is (f, u): gates (n, K) and coordinates (n, p) -> (n, D)."""
        mean, W = self._blend(z[0])
        return mean + (W @ z[1][..., None])[..., 0]

    def log_joint(self, x: Tensor, u: Tensor) -> Tensor:
        """The document's score at u (n, p), with the gates of x itself: (n,), nats but for its normaliser."""
        return gaussian(x, self.decode((self.gates(x), u)))

    def best(self, x: Tensor, f: Tensor) -> Tensor:
        """The u (n, p) with which the gates f (n, K) decode closest to x: least squares for each row."""
        mean, W = self._blend(f)
        return (torch.linalg.pinv(W) @ (x - mean)[..., None])[..., 0]

    def argmax(self, x: Tensor) -> Tensor:
        return self.best(x, self.gates(x))
