"""Many processes, one model: everything here is torch.distributed, and nothing else in the package is.

Under ``torchrun`` with ``torch.distributed.init_process_group`` called, each process fits its own `shard`;
only sums travel, so every process ends with the same parameters as one process that saw all rows.
"""

from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def rank_and_size() -> tuple[int, int]:
    """(this process's number, how many there are); (0, 1) outside ``torchrun``."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_sum(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add a dict of tensors of one dtype, float64 or int64, over all processes; the identity when there is one.

    One message for the whole dict: latency, not volume, is what a step waits for.
    """
    if rank_and_size()[1] == 1:
        return sums
    names = sorted(sums)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    flat = torch.cat([sums[name].reshape(-1) for name in names]).to(device)
    dist.all_reduce(flat)
    parts = flat.cpu().split([sums[name].numel() for name in names])
    return {name: part.reshape(sums[name].shape) for name, part in zip(names, parts)}


def average(slopes: Iterable[Tensor]) -> list[Tensor]:
    """Every slope's mean over all processes, as the ``average`` of `core.ascend`; alone, the slopes themselves."""
    slopes, size = list(slopes), rank_and_size()[1]
    if size == 1:
        return slopes
    sums = all_sum({str(i): slope.to("cpu", torch.float64) for i, slope in enumerate(slopes)})
    return [(sums[str(i)] / size).to(slope) for i, slope in enumerate(slopes)]


def from_first(part: T) -> T:
    """The first process's part, in every process."""
    parts = [part]
    if rank_and_size()[1] > 1:
        dist.broadcast_object_list(parts)
    return parts[0]


def gather(part: T) -> list[T]:
    """Every process's part, in every process: for what no sum can tell, such as names."""
    parts = [part] * rank_and_size()[1]
    if len(parts) > 1:
        dist.all_gather_object(parts, part)
    return parts


def shard(X: T) -> T:
    """This process's contiguous share of the rows of X; shares differ by one row at most.

    Examples
    --------
    >>> shard([1, 2, 3])
    [1, 2, 3]
    """
    rank, size = rank_and_size()
    return X[rank * len(X) // size : (rank + 1) * len(X) // size]  # type: ignore[index, arg-type]
