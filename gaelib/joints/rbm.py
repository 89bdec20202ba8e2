"""The restricted Boltzmann machine: an exact encoder, and a prior that nobody can add up (ledger K7)."""

import itertools
import math

import torch
from torch import Tensor, nn

from ..core import Joint

MOST = 20  # hidden units that are still enumerated


class RBM(Joint):
    """``c x + z (W x + b)``, for Gaussian units ``- ||x||^2 / 2`` besides: the log joint, up to one constant.

    The constant is the log of a sum over all codes z in {0, 1}^E, see `log_normaliser`.  Everything else is in closed
    form: given x the codes are independent (the encoder), and given z the entries of x are (the decoder).

    Parameters
    ----------
    weights : Tensor (E, D)
    hidden, visible : Tensor (E,), (D,)
        b and c.
    units : "gaussian" or "binary"
        Of x: real numbers with noise of variance 1 around ``c + z W``, or bits with these log odds.

    Examples
    --------
    >>> rbm = RBM(torch.ones(1, 2), torch.zeros(1), torch.zeros(2))
    >>> rbm.posterior(torch.zeros(1, 2))[0].detach()  # the code's probability
    tensor([[0.5000]])
    """

    def __init__(self, weights: Tensor, hidden: Tensor, visible: Tensor, units: str = "gaussian"):
        super().__init__()
        self.weights, self.hidden, self.visible = (nn.Parameter(part.clone()) for part in (weights, hidden, visible))
        self.units = units

    def _odds(self, x):
        return x @ self.weights.T + self.hidden

    def _own(self, x):
        return x @ self.visible - (x.square().sum(1) / 2 if self.units == "gaussian" else 0)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """Of codes, or of their probabilities q: (n, D), (n, E) -> (n,) nats, without the constant."""
        return self._own(x) + (z * self._odds(x)).sum(1)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The log of the joint's sum over all codes, minus the free energy: (n,) nats, without the constant."""
        return self._own(x) + nn.functional.softplus(self._odds(x)).sum(1)

    def argmax(self, x: Tensor) -> Tensor:
        return (self._odds(x) > 0).to(x)

    def posterior(self, x: Tensor, T: float = 1.0) -> tuple[Tensor, Tensor]:
        """Each code's own probability, and T times their entropy: (n, E), (n,) nats."""
        odds = self._odds(x) / T
        q = odds.sigmoid()
        return q, T * (nn.functional.softplus(odds) - q * odds).sum(1)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of x given codes: (n, E) -> (n, D)."""
        out = self.visible + z @ self.weights
        return out if self.units == "gaussian" else out.sigmoid()

    def log_normaliser(self) -> Tensor:
        """The constant: 2^E terms, one for every code; nats.

        Raises
        ------
        ValueError
            For more than 20 codes.
        """
        if (E := len(self.hidden)) > MOST:
            raise ValueError(f"{E} hidden units have 2^{E} codes, at most 2^{MOST} are added up: pass fewer")
        codes = torch.tensor(list(itertools.product((0, 1), repeat=E))).to(self.hidden)
        at = self.visible + codes @ self.weights
        gaussian = self.units == "gaussian"
        inside = 0.5 * (at**2 + math.log(2 * math.pi)) if gaussian else nn.functional.softplus(at)
        return (codes @ self.hidden + inside.sum(1)).logsumexp(0)
