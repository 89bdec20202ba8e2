"""Where a fit starts: rows of the data, far from each other."""

import math

import torch

from ..parallel import all_sum, rank_and_size
from .nearest import project


def spread_rows(data, count, generator):
    """k-means++: rows of the data, each drawn in proportion to its squared distance to those before it.

    Every draw proposes ``2 + log(count)`` rows and keeps the one that leaves the least total distance (Arthur
    and Vassilvitskii's greedy variant).  Rows are drawn by their global number, so that one process, many
    batches and many processes start alike.

    Parameters
    ----------
    data : re-iterable of tensors (n_b, D), with ``take(index) -> (len(index), D)``
    count : int
    generator : torch.Generator
        On the CPU; the same seed in every process.

    Returns
    -------
    tensor (count, D), in the data's dtype and on its device
    """
    trials = 2 + int(math.log(count))
    closest = torch.cat([torch.ones(len(x), dtype=torch.float64) for x in data])
    chosen = draw_rows(data, closest, 1, generator)
    closest = _closer(data, chosen, closest * math.inf)[:, 0]
    while len(chosen) < count:
        proposed = draw_rows(data, closest, trials, generator)
        closer = _closer(data, proposed, closest)
        best = int(all_sum({"left": closer.sum(0)})["left"].argmin())
        chosen, closest = torch.cat([chosen, proposed[best : best + 1]]), closer[:, best]
    return chosen


def _closer(data, rows, closest):
    """(n, len(rows)): the distance to the closest chosen row, if each of ``rows`` were chosen too."""
    squares = torch.cat([project(x, rows)[0].to("cpu", torch.float64) for x in data])
    return torch.minimum(squares, closest[:, None])


def draw_rows(data, weights, count, generator):
    """``count`` rows drawn in proportion to ``weights`` (this process's (n,), float64), over all processes."""
    rank, size = rank_and_size()
    shares = torch.zeros(size, dtype=torch.float64)
    shares[rank] = weights.sum()
    shares = all_sum({"shares": shares})["shares"]
    if shares.sum() == 0:  # fewer distinct rows than asked for: any row is as good as another
        return draw_rows(data, torch.ones_like(weights), count, generator)
    places = torch.rand(count, generator=generator, dtype=torch.float64) * shares.sum()
    places = places - shares[:rank].sum()
    here = (places >= 0) & (places < shares[rank])
    index = torch.searchsorted(weights.cumsum(0), places[here], right=True).clamp(max=max(len(weights) - 1, 0))
    taken = data.take(index)
    rows = torch.zeros(count, taken.shape[1], dtype=torch.float64)
    rows[here] = taken.to("cpu", torch.float64)
    return all_sum({"rows": rows})["rows"].to(taken)
