"""Principal axes of data in batches: the closed form behind LGAE and probabilistic PCA."""

import scipy.linalg
import torch

from ..parallel import all_sum, rank_and_size
from .sums import added, gram, total
from .threads import shared

FAR = 16  # squared distance from the mean, in variances of a column, from which sums lose too many digits
FAINT = 64  # roundings of the largest variance, below which another one is no more than rounding
ENTRIES = 2**22  # worked on at a time in float64
SMALL = 128  # rows and columns of a matrix, up to which all its eigenvectors cost no more than some


def moments(data, wide=False):
    """Number of rows, mean (D,) and covariance (D, D) divided by n, over all batches and processes; float64.

    Sums about the origin, or, of data that lie far from it, once more about their mean: a covariance from sums
    about a far point loses the digits that the distance has.  Products are in the rows' own dtype, or ``wide``.
    """
    mean = None
    for _ in range(2):
        batches = data if mean is None else (x - mean.to(x) for x in data)
        batches = widened(batches) if wide else batches
        found = ({"n": torch.tensor(len(x)), "x": total(x), "xx": gram(x)} for x in batches)
        n, rows, products = all_sum(added(found)).values()
        away, scatter = rows / n, products - torch.outer(rows, rows / n)
        mean = away if mean is None else mean + away
        if not (n * away.square() > FAR * scatter.diagonal()).any():
            break
    return int(n), mean, scatter / n


def far(data):
    """Whether rows lie so far from the origin that products about it, all long, need more digits than float32 has."""
    sums = ({"n": torch.tensor(len(x)), "x": total(x), "xx": total(torch.linalg.vecdot(x, x))} for x in data)
    n, x, xx = all_sum(added(sums)).values()
    middle = (x / n).square().sum()
    return bool(middle > 1e3 * (xx / n - middle).abs())  # below 0 where squares are too small for a number


def widened(batches):
    """The rows in float64, in parts of bounded memory."""
    for x in batches:
        yield from (part.double() for part in x.split(max(1, ENTRIES // x.shape[1])))


def leading(matrix, count):
    """The ``count`` largest eigenvalues of a symmetric float64 matrix, falling, and their vectors as columns.

    A small matrix is torch's: SciPy's threads would go on waiting for work and keep torch's from the processor.
    """
    size = len(matrix)
    if size <= SMALL:
        values, axes = torch.linalg.eigh(matrix)
        return values[-count:].flip(0), axes[:, -count:].flip(1)
    found = scipy.linalg.eigh(matrix.numpy(), subset_by_index=(size - count, size - 1), driver="evr")
    values, axes = (torch.from_numpy(part.copy()).flip(-1) for part in found)
    return values, axes


def by_eigenvectors(data, count):
    """Mean (D,), the ``count`` leading axes (D, count), the variance along each and the sum of the others (over n).

    From the covariance, whose products are taken again in float64 where a wanted variance would drown in the rounding
    of the largest; with fewer rows than columns from the rows, without a matrix (D, D).
    """
    n = int(all_sum({"n": torch.tensor(float(len(data)), dtype=torch.float64)})["n"])
    if n < data.width:
        return by_singular_vectors(data, count)
    with shared():
        for wide in (False, True):
            _, mean, covariance = moments(data.views or data, wide)
            D = data.width
            values, axes = leading(covariance, count)
            left = float(covariance.trace() - values.sum())
            eps = torch.finfo(data.dtype).eps
            if min(float(values[-1]), left / (D - count) if count < D else torch.inf) > FAINT * eps * float(values[0]):
                break
    return mean, axes, values.clamp(min=0), max(left, 0.0)


def by_singular_vectors(data, count):
    """The same from the singular vectors of the centred rows, which every process gets to see."""
    x = gathered(torch.cat([x.to("cpu", torch.float64) for x in data]))
    mean = x.mean(0)
    _, values, axes = torch.linalg.svd(x - mean, full_matrices=False)
    variances = values.square() / len(x)
    return mean, axes[:count].T, variances[:count], float(variances[count:].sum())


def gathered(x):
    """The rows of all processes, in their order: float64 on the CPU."""
    rank, size = rank_and_size()
    if size == 1:
        return x
    lengths = torch.zeros(size, dtype=torch.float64)
    lengths[rank] = len(x)
    lengths = all_sum({"lengths": lengths})["lengths"].long()
    rows, start = torch.zeros(int(lengths.sum()), x.shape[1], dtype=torch.float64), int(lengths[:rank].sum())
    rows[start : start + len(x)] = x
    return all_sum({"rows": rows})["rows"]


def upright(axes):
    """The same axes (D, p), each turned so that its largest entry is positive: the first of those that are as large.

    Entries that differ by rounding are as large, or another device would turn a symmetric axis to the other side.
    """
    sizes = axes.abs()
    equal = sizes >= sizes.amax(0) * (1 - torch.finfo(axes.dtype).eps ** 0.5)
    return axes * axes.gather(0, equal.int().argmax(0, keepdim=True)).sign()
