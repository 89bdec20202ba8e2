"""log q_r(x|z): the noise between a decoded point and the data.  (n, *X) -> (n,), in nats, constants included."""

import math

import torch
from torch import Tensor


def gaussian(x: Tensor, mean: Tensor, variance: Tensor | float = 0.5) -> Tensor:
    """log N(x; mean, variance * I), summed over all axes but the first.

    Parameters
    ----------
    x, mean : tensor (n, *X)
    variance : float or tensor
        sigma^2.  The default 1/2 makes this ``-||x - mean||^2 - (D/2) log pi``, the document's squared error.

    Returns
    -------
    tensor (n,), nats

    Examples
    --------
    >>> import torch
    >>> gaussian(torch.zeros(1, 2), torch.ones(1, 2))  # -2 - log pi
    tensor([-3.1447])
    """
    variance = torch.as_tensor(variance, dtype=x.dtype, device=x.device)
    return (-(x - mean).square() / (2 * variance) - 0.5 * (2 * math.pi * variance).log()).flatten(1).sum(1)


def bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """log of the Bernoulli probability of x in [0, 1] under ``sigmoid(logits)``; (n, *X) -> (n,), nats.

    Examples
    --------
    >>> import torch
    >>> bernoulli(torch.ones(1, 2), torch.zeros(1, 2)).exp()
    tensor([0.2500])
    """
    return -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


def poisson(x: Tensor, log_rate: Tensor) -> Tensor:
    """log of the Poisson probability of the counts x under ``exp(log_rate)``; (n, *X) -> (n,), nats.

    Examples
    --------
    >>> import torch
    >>> poisson(torch.zeros(1, 3), torch.zeros(1, 3))
    tensor([-3.])
    """
    return (x * log_rate - log_rate.exp() - torch.lgamma(x + 1)).flatten(1).sum(1)
