"""Many processes give the answer of one."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from gaelib import KMeans, data, parallel


def fit_a_share(rank, size, address, out):
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    X = parallel.shard(data.digits()[0])
    km = KMeans(10, random_state=0, tol=0).fit(X)
    np.savez(f"{out}/{rank}.npz", centres=km.cluster_centers_, labels=km.labels_, inertia=km.inertia_)
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 3])
def test_processes_equal_one(size, tmp_path):
    mp.spawn(fit_a_share, (size, f"file://{tmp_path}/meet", str(tmp_path)), nprocs=size)
    alone = KMeans(10, random_state=0, tol=0).fit(data.digits()[0])
    parts = [np.load(tmp_path / f"{rank}.npz") for rank in range(size)]
    for part in parts:
        assert np.abs(part["centres"] - alone.cluster_centers_).max() < 1e-10
        assert abs(part["inertia"] - alone.inertia_) < 1e-10 * alone.inertia_
    assert (np.concatenate([part["labels"] for part in parts]) == alone.labels_).all()


def test_alone_nothing_changes():
    sums = {"a": torch.ones(2, 3)}
    assert parallel.all_sum(sums) is sums and parallel.shard([1, 2]) == [1, 2]
