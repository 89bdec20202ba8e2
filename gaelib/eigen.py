"""Principal axes of data in batches: the closed form behind LGAE and probabilistic PCA."""

import torch
from scipy.linalg import eigh

from .parallel import all_sum, rank_and_size


def moments(data):
    """Number of rows, mean (D,) and covariance (D, D) divided by n, over all batches and processes; float64.

    Two passes, because a covariance from uncentred sums loses the digits that the mean has.
    """
    sums = {"n": torch.zeros((), dtype=torch.float64), "x": 0}
    for x in data:
        sums = {"n": sums["n"] + len(x), "x": sums["x"] + x.sum(0).to("cpu", torch.float64)}
    sums = all_sum(sums)
    mean, scatter = sums["x"] / sums["n"], 0
    for x in data:
        scatter = scatter + gram(x - mean.to(x)).to("cpu", torch.float64)
    return int(sums["n"]), mean, all_sum({"scatter": scatter})["scatter"] / sums["n"]


def gram(x):
    """x^T x: (n, D) -> (D, D).  On a CPU by NumPy, which knows that half of a symmetric product is enough."""
    if x.device.type != "cpu":
        return x.T @ x
    x = x.numpy()
    return torch.from_numpy(x.T @ x)


def by_eigenvectors(data, count):
    """Mean (D,), the ``count`` leading axes (D, count), the variance along each and the sum of the others (divided by n)."""
    _, mean, covariance = moments(data)
    D = len(mean)
    values, axes = eigh(covariance.numpy(), subset_by_index=[D - count, D - 1])
    left = max(float(covariance.trace()) - values.sum(), 0)
    return mean, torch.from_numpy(axes).flip(1), torch.from_numpy(values).flip(0).clamp(min=0), left


def by_singular_vectors(data, count):
    """The same from the singular vectors of the centred rows: cheaper when n < D, one process only."""
    if rank_and_size()[1] > 1:
        raise ValueError(
            f"solver='svd' needs all rows in 1 process, got {rank_and_size()[1]}: use solver='eigh'"
        )
    x = torch.cat([x.to("cpu", torch.float64) for x in data])
    mean = x.mean(0)
    _, values, axes = torch.linalg.svd(x - mean, full_matrices=False)
    variances = values.square() / len(x)
    return mean, axes[:count].T, variances[:count], float(variances[count:].sum())


def upright(axes):
    """The same axes (D, p), each turned so that its largest entry is positive."""
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return axes * largest.sign()
