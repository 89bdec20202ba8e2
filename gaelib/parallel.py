"""Many processes, one model: everything here is torch.distributed, and nothing else in the package is.

Under ``torchrun`` with ``torch.distributed.init_process_group`` called, each process fits its own `shard`;
only sums travel, so every process ends with the same parameters as one process that saw all rows.
"""

import torch
import torch.distributed as dist


def rank_and_size():
    """(this process's number, how many there are); (0, 1) outside ``torchrun``."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_sum(sums):
    """Add a dict of float64 tensors over all processes; the identity when there is one.

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


def shard(X):
    """This process's contiguous share of the rows of X; shares differ by one row at most.

    Examples
    --------
    >>> shard([1, 2, 3])
    [1, 2, 3]
    """
    rank, size = rank_and_size()
    return X[rank * len(X) // size : (rank + 1) * len(X) // size]
