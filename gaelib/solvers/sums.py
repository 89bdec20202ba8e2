"""The one place where rows are added: in float64, some hundreds at a time in their own dtype first.

A running float32 sum of many rows loses the digits of the last ones.  What lies far from the origin is measured from
a nearby one by the caller, before it comes here.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from itertools import count as numbers
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .threads import each, pools

PART = 256  # rows that are added or multiplied in their own dtype before float64 takes over
ROWS = 2048  # turned into float64 at a time
ADDED = 512  # rows added at a time to those of their codes: in float64 a core's own cache holds them
WIDE = 256  # columns, at least, of what a thread adds
LONG = 4096  # rows of a symmetric product, whose (D, D) numbers are many to turn into float64
BAND, SIDE = 64, 2**23  # rows of such products that are added at a time, and entries of those that wait for it
ENTRIES = 2**25  # that a GPU finds at once, of products of parts or beside all codes: it waits for each call


def total(x: Tensor) -> Tensor:
    """The sum of the rows, (n, *X) -> (*X) float64.

    A float32 table on a CPU by NumPy, part by part: torch would make a float64 copy of it first.

    Examples
    --------
    >>> total(torch.tensor([[0.5, 1.0]] * 3))
    tensor([1.5000, 3.0000], dtype=torch.float64)
    """
    if x.dtype != torch.float32 or x.ndim != 2 or x.device.type != "cpu":
        return x.sum(0, dtype=torch.float64)
    ones = np.ones(PART, np.float32)
    found = each(lambda rows: [ones[: len(part)] @ part.numpy() for part in rows.split(PART)], x.detach().split(LONG))
    return torch.from_numpy(np.sum(list(chain(*found)), 0, np.float64))


def products(a: Tensor, b: Tensor) -> Tensor:
    """The sum over rows of their outer products, ``a^T b``: (n, p), (n, q) -> (p, q) float64.

    Examples
    --------
    >>> products(torch.ones(3, 1), torch.tensor([[1.0, 2.0]] * 3))
    tensor([[3., 6.]], dtype=torch.float64)
    """
    if a.dtype == b.dtype == torch.float64:
        return a.T @ b
    if a.device.type == "cpu":
        return sum((x.T @ y).double() for x, y in zip(a.split(PART), b.split(PART)))
    step = PART * max(1, ENTRIES // (a.shape[1] * b.shape[1]))
    return sum(_at_once(x, y) for x, y in zip(a.split(step), b.split(step)))


def _at_once(a, b):
    """The same of all parts in one call."""
    whole = len(a) // PART * PART
    x, y = (part[:whole].unflatten(0, (-1, PART)) for part in (a, b))
    return torch.bmm(x.transpose(1, 2), y).sum(0, dtype=torch.float64) + (a[whole:].T @ b[whole:]).double()


def tally(k: Tensor, count: int) -> Tensor:
    """How many rows each code has: (n,) int64 below ``count`` -> (count,) int64.  No CPU waits here for a GPU.

    Examples
    --------
    >>> tally(torch.tensor([1, 1, 0]), 3)
    tensor([1, 2, 0])
    """
    if k.device.type == "cpu":
        return torch.bincount(k, minlength=count)
    return k.new_zeros(count).index_add_(0, k, torch.ones_like(k))


def in_parts(k: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows in parts of equal length, each of one code: what a GPU does with all of them in one call.

    Parameters
    ----------
    k : (n,) int64 below ``count``

    Returns
    -------
    codes : (m,) int64
        Of each part its code.
    rows : (m, r) int64
        The numbers of its rows, in their order, and others' after its last.
    here : (m, r) bool
        Which are its own; some parts have none.

    Examples
    --------
    >>> codes, rows, here = in_parts(torch.tensor([1, 0, 1, 1]), 2)
    >>> codes.tolist(), rows[here].tolist()
    ([0, 1, 1, 1], [1, 0, 2, 3])
    """
    size = max(1, min(PART, len(k) // count))  # no more than one row in two is another's
    counts, number = tally(k, count), torch.arange(len(k) // size + count, device=k.device)
    ends, many = counts.cumsum(0), (counts + size - 1) // size
    codes = torch.searchsorted(many.cumsum(0), number, right=True).clamp(max=count - 1)
    begin = ends - counts + size * (many - many.cumsum(0))  # where its first part would begin, were it the first of all
    rows = (begin[codes] + size * number)[:, None] + number.new_ones(size).cumsum(0) - 1
    return codes, k.argsort(stable=True)[rows.clamp(max=len(k) - 1)], rows < ends[codes][:, None]


def by_row(found: Tensor, rows: Tensor, here: Tensor, n: int) -> Tensor:
    """What was found of the rows in parts, (m, r, *X), in the order of the n rows: (n, *X).

    Examples
    --------
    >>> k = torch.tensor([1, 0, 1, 1])
    >>> codes, rows, here = in_parts(k, 2)
    >>> torch.equal(by_row(codes[:, None].expand(rows.shape), rows, here, len(k)), k)
    True
    """
    place = torch.where(here, rows, n).flatten()  # what is no part's own goes behind the last
    return found.new_empty(n + 1, *found.shape[2:]).index_put_((place,), found.flatten(0, 1))[:n]


def by_part(codes: Tensor, count: int, sums: Tensor) -> Tensor:
    """The sums of parts, (m, X), added code by code, in the same order every time: (count, X) float64.

    Examples
    --------
    >>> by_part(torch.tensor([0, 1, 1]), 2, torch.tensor([[1.0], [2.0], [4.0]]))
    tensor([[1.],
            [6.]], dtype=torch.float64)
    """
    sums, some = sums.double(), torch.arange(count, device=codes.device).split(max(1, ENTRIES // len(codes)))
    return torch.cat([(codes == here[:, None]).double() @ sums for here in some])


def rows_at_once(x: Tensor) -> int:
    """Rows that are turned into float64 at a time: on a GPU all of a batch."""
    return ROWS if x.device.type == "cpu" else max(1, len(x))


def gram(x: Tensor) -> Tensor:
    """The same of rows with themselves, ``x^T x``: (n, D) -> (D, D) float64.

    On a CPU by NumPy, which knows that half of a symmetric product is enough; within `shared` by several threads.

    Examples
    --------
    >>> gram(torch.tensor([[1.0, 2.0]] * 3))
    tensor([[ 3.,  6.],
            [ 6., 12.]], dtype=torch.float64)
    """
    if x.device.type != "cpu":
        return sum((part.T @ part).double() for part in x.split(LONG))
    D, parts = x.shape[1], [part.numpy() for part in x.detach().split(LONG)]
    sums, step = np.zeros((D, D)), max(1 + pools.helpers, SIDE // D**2)
    bands = [slice(i, i + BAND) for i in range(0, D, BAND)]
    for i in range(0, len(parts), step):
        found = each(lambda part: part.T @ part, parts[i : i + step])

        def add(band, found=found):  # in their order, whoever does it
            for product in found:
                sums[band] += product[band]

        each(add, bands)
    return torch.from_numpy(sums)


def by_code(
    k: Tensor,
    count: int,
    x: Tensor,
    rows: Tensor | None = None,
    was: Tensor | None = None,
    origin: Tensor | None = None,
) -> Tensor:
    """The sum of the rows of each code: k (n,) int64 below ``count``, x (n, *X) -> (count, *X) float64.

    With ``rows`` (n,), k is of these rows of x alone; with ``was`` (n,), they are taken from the codes that they had.
    Rows are seen from the origin (D,).  Threads share out the columns, so that their number changes no digit.

    Examples
    --------
    >>> by_code(torch.tensor([1, 1, 0]), 3, torch.tensor([1.0, 2.0, 4.0]))
    tensor([4., 3., 0.], dtype=torch.float64)
    """
    if x.ndim == 1 and x.device.type == "cpu":
        return torch.bincount(k, x.double(), count).double()  # of no rows it would be int64
    if x.ndim == 1:
        return x.new_zeros(count, dtype=torch.float64).index_add_(0, k, x.double())

    def summed(columns):
        part = x[:, columns]
        sums = torch.zeros(count, *part.shape[1:], dtype=torch.float64, device=x.device)
        size = ADDED if x.device.type == "cpu" else max(1, len(k))
        for here in map(slice, range(0, len(k), size), range(size, len(k) + size, size)):
            some = (part[here] if rows is None else part.index_select(0, rows[here])).double()
            some = some if origin is None else some - origin[columns]
            sums.index_add_(0, k[here], some)
            if was is not None:
                sums.index_add_(0, was[here], some, alpha=-1)
        return sums

    step = max(WIDE, -(-x.shape[1] // (1 + pools.helpers))) if x.device.type == "cpu" else x.shape[1]
    parts = each(summed, map(slice, range(0, x.shape[1], step), range(step, x.shape[1] + step, step)))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def in_order(f: Callable[[int, Any], Any], batches: Iterable[Any]) -> Iterator[Any]:
    """``f(i, batch)`` of every batch, in their order; within `shared` several at a time, if ``batches`` has lists.

    Examples
    --------
    >>> list(in_order(lambda i, x: i * float(x.sum()), torch.ones(3, 2)))
    [0.0, 2.0, 4.0]
    """
    number = numbers()
    for some in batches.lists() if hasattr(batches, "lists") else ([batch] for batch in batches):
        yield from each(lambda pair: f(*pair), [(next(number), batch) for batch in some])


def added(found: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One dict of sums out of many, by name: float64 on the CPU.

    Examples
    --------
    >>> added({"n": torch.tensor(count)} for count in (3, 4))
    {'n': tensor(7., dtype=torch.float64)}
    """
    sums: dict[str, Tensor] = {}
    for part in found:
        for name, value in at_home(part).items():
            sums[name] = sums[name] + value if name in sums else value
    return sums


def at_home(part: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums in float64 on the CPU.  What lies on a GPU comes in one move, for each move waits for all work before it.

    Examples
    --------
    >>> at_home({"n": torch.tensor(3)})
    {'n': tensor(3., dtype=torch.float64)}
    """
    part = {name: value.detach() for name, value in part.items()}
    away = {name: value for name, value in part.items() if value.device.type != "cpu"}
    if away:
        flat = torch.cat([value.double().flatten() for value in away.values()]).cpu()
        parts = flat.split([value.numel() for value in away.values()])
        part |= {name: found.view(value.shape) for (name, value), found in zip(away.items(), parts)}
    return {name: value.double() for name, value in part.items()}
