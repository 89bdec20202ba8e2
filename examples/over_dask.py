"""A fit over Dask: workers add up a file each, the client adds and updates.  `python examples/over_dask.py FOLDER`.

The core stays as it is: `alternate` takes whatever adds the sums of all processes, here those of a cluster.  Only the
model goes out and only sums come back; the rows stay in their files, so that a worker that is lost loses none.

Needs `pip install 'generative-autoencoders[dask,parquet]'`.
"""

import sys
from pathlib import Path

import torch
from dask.distributed import Client
from gaelib import MPPCA, core, data
from gaelib.solvers.sums import added


def part(joint, infer, batches, path):
    """One file's sums, in a worker."""
    return core.sums(joint, map(torch.from_numpy, batches(path)), infer)


def over(client, joint, infer, paths, batches=data.parquet):
    """All files' sums, as the ``all_sum`` of `alternate`; the files of a worker that dies go to the others."""

    def all_sum(_):
        jobs = [client.submit(part, joint, infer, batches, path, pure=False, retries=3) for path in paths]
        return added(job.result() for job in jobs)  # in the order of the files: the same digits every time

    return all_sum


if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).glob("*.parquet"))
    first = next(iter(data.parquet(paths[0])))
    model = MPPCA(8, 4, random_state=0).fit(first)  # the start, from one batch; below its joint_ is moved on
    with Client() as client:
        sums = over(client, model.joint_, core.Soft(1.0), paths)
        nothing = [torch.from_numpy(first[:0])]  # the client itself has no rows
        history = core.alternate(model.joint_, nothing, core.Soft(1.0), 20, 1e-3, sums)
    print(f"{len(history)} passes over {len(paths)} files: {history[-1]:.3f} nats a row")
