"""Principal axes of data in batches: the closed form behind LGAE and probabilistic PCA."""

import numpy as np
import torch

from ..parallel import all_sum, rank_and_size

FAR = 16  # squared distance from the mean, in variances of a column, from which sums lose too many digits


def moments(data):
    """Number of rows, mean (D,) and covariance (D, D) divided by n, over all batches and processes; float64.

    Sums about the origin, or, of data that lie far from it, once more about their mean: a covariance from sums
    about a far point loses the digits that the distance has.
    """
    mean = None
    for _ in range(2):
        n, rows, products = all_sum(totals(data if mean is None else (x - mean.to(x) for x in data))).values()
        away, scatter = rows / n, products - torch.outer(rows, rows / n)
        mean = away if mean is None else mean + away
        if not (n * away.square() > FAR * scatter.diagonal()).any():
            break
    return int(n), mean, scatter / n


def totals(batches):
    """Number of rows, their sum (D,) and that of their products (D, D): float64, each batch's in its own dtype.

    On a CPU by NumPy, which knows that half of a symmetric product is enough; and by NumPy alone, since its threads
    and torch's would wait for each other.
    """
    n, rows, products = 0, 0, 0
    for x in batches:
        n += len(x)
        if x.device.type == "cpu":
            x = x.numpy()
            rows += sum_rows(x)
            products += (x.T @ x).astype(np.float64)
        else:
            rows, products = (a + b.double().cpu().numpy() for a, b in ((rows, x.sum(0)), (products, x.T @ x)))
    sums = {"n": np.float64(n), "x": rows, "xx": products}
    return {name: torch.as_tensor(value) for name, value in sums.items()}


def sum_rows(x):
    """The sum of a table's rows, (n, D) -> (D,): NumPy's by its fastest way, in the rows' dtype by the thousand, then in float64."""
    if torch.is_tensor(x):
        return x.sum(0)
    ones = np.ones(min(len(x), 1024), x.dtype)
    parts = (x[i : i + len(ones)] for i in range(0, len(x), len(ones)))
    return np.sum([ones[: len(part)] @ part for part in parts], 0, np.float64)


def by_eigenvectors(data, count):
    """Mean (D,), the ``count`` leading axes (D, count), the variance along each and the sum of the others (divided by n)."""
    _, mean, covariance = moments(data)
    values, axes = (torch.from_numpy(part).flip(-1) for part in np.linalg.eigh(covariance.numpy()))
    values.clamp_(min=0)
    return mean, axes[:, :count], values[:count], float(values[count:].sum())


def by_singular_vectors(data, count):
    """The same from the singular vectors of the centred rows: cheaper when n < D, one process only."""
    if rank_and_size()[1] > 1:
        raise ValueError(f"solver='svd' needs all rows in 1 process, got {rank_and_size()[1]}: use solver='eigh'")
    x = torch.cat([x.to("cpu", torch.float64) for x in data])
    mean = x.mean(0)
    _, values, axes = torch.linalg.svd(x - mean, full_matrices=False)
    variances = values.square() / len(x)
    return mean, axes[:count].T, variances[:count], float(variances[count:].sum())


def upright(axes):
    """The same axes (D, p), each turned so that its largest entry is positive."""
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return axes * largest.sign()
