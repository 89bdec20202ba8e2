"""A fit over torchrun that outlives its processes.

`torchrun --standalone --nproc-per-node=2 --max-restarts=3 over_torchrun.py X.npy FIT.pickle`

Each process fits its shard of the rows and only sums travel.  The first keeps the model in FIT.pickle after every pass;
when a process dies, torchrun starts all of them again, and they go on after the last pass that was kept.
"""

import sys

import numpy as np
import torch.distributed as dist
from gaelib import MPPCA, checkpoint, parallel, resume


def main(rows, kept):
    dist.init_process_group("gloo")  # "nccl" if each process has a card
    shard = parallel.shard(np.load(rows, mmap_mode="r"))
    model = resume(kept, MPPCA(3, 2, random_state=0))
    begun = getattr(model, "n_iter_", 0)
    model.fit([shard], on_step=checkpoint(kept))
    if dist.get_rank() == 0:
        print(f"passes {begun + 1} to {model.n_iter_}: {model.history_[-1]:.3f} nats a row")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
