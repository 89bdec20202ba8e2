"""Principal axes of data in batches: the closed form behind LGAE and probabilistic PCA."""

import torch

from .parallel import all_sum, rank_and_size


def moments(data):
    """Number of rows, mean (D,) and covariance (D, D) divided by n, over all batches and processes; float64.

    Two passes, because a covariance from uncentred sums loses the digits that the mean has.
    """
    sums = all_sum(
        {
            "n": torch.tensor(float(sum(len(x) for x in data)), dtype=torch.float64),
            "x": sum(x.sum(0).to("cpu", torch.float64) for x in data),
        }
    )
    mean = sums["x"] / sums["n"]
    scatter = 0
    for x in data:
        x = x - mean.to(x)
        scatter = scatter + (x.T @ x).to("cpu", torch.float64)
    return int(sums["n"]), mean, all_sum({"scatter": scatter})["scatter"] / sums["n"]


def by_eigenvectors(data, count):
    """Mean (D,), all variances (falling, divided by n) and the ``count`` leading axes (D, count), from the covariance."""
    _, mean, covariance = moments(data)
    values, axes = torch.linalg.eigh(covariance)
    return mean, values.flip(0).clamp(min=0), axes.flip(1)[:, :count]


def by_singular_vectors(data, count):
    """The same from the singular values of the centred rows: cheaper when n < D, one process only."""
    if rank_and_size()[1] > 1:
        raise ValueError(
            f"solver='svd' needs all rows in 1 process, got {rank_and_size()[1]}: use solver='eigh'"
        )
    x = torch.cat([x.to("cpu", torch.float64) for x in data])
    mean = x.mean(0)
    _, values, axes = torch.linalg.svd(x - mean, full_matrices=False)
    return mean, values.square() / len(x), axes[:count].T


def upright(axes):
    """The same axes (D, p), each turned so that its largest entry is positive."""
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return axes * largest.sign()
