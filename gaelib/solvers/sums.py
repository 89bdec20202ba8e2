"""The one place where rows are added: in float64, products a few hundred at a time in their own dtype first.

A running float32 sum of many rows loses the digits of the last ones.  What lies far from the origin is measured from
a nearby one by the caller, before it comes here.
"""

import torch

PART = 256  # rows that are multiplied in their own dtype before float64 takes over
ROWS = 2048  # turned into float64 at a time


def total(x):
    """The sum of the rows, (n, *X) -> (*X) float64.

    Examples
    --------
    >>> total(torch.full((10**6, 1), 0.1))
    tensor([100000.0015], dtype=torch.float64)
    """
    return x.sum(0, dtype=torch.float64)


def products(a, b):
    """The sum over rows of their outer products, ``a^T b``: (n, p), (n, q) -> (p, q) float64.

    Examples
    --------
    >>> products(torch.ones(3, 1), torch.tensor([[1.0, 2.0]] * 3))
    tensor([[3., 6.]], dtype=torch.float64)
    """
    if a.dtype == b.dtype == torch.float64:
        return a.T @ b
    return sum((x.T @ y).double() for x, y in zip(a.split(PART), b.split(PART)))


def by_code(k, count, x):
    """The sum of the rows of each code: k (n,) int64 below ``count``, x (n, *X) -> (count, *X) float64.

    Examples
    --------
    >>> by_code(torch.tensor([1, 1, 0]), 3, torch.tensor([1.0, 2.0, 4.0]))
    tensor([4., 3., 0.], dtype=torch.float64)
    """
    sums = torch.zeros(count, *x.shape[1:], dtype=torch.float64, device=x.device)
    for codes, rows in zip(k.split(ROWS), x.split(ROWS)):
        sums.index_add_(0, codes, rows.double())
    return sums
