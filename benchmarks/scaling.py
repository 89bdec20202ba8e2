"""What one pass costs, alone and on several processes, and what a fit keeps in memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from gaelib import LLGAE, MPPCA, KMeans, core, data, parallel

from .harness import round_to

ROWS, COLUMNS, BATCH, PASSES = 200_000, 64, 2**15, 8
ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # processes are what is compared


def rows(n, seed=0):
    """Rows around 32 points: (n, 64) float32."""
    rng = np.random.default_rng(seed)
    points = 3 * rng.normal(size=(32, COLUMNS)).astype(np.float32)
    return points[rng.integers(32, size=n)] + rng.standard_normal((n, COLUMNS), dtype=np.float32)


def models(X, passes=PASSES):
    steps = {"max_iter": passes, "tol": 0.0, "random_state": 0}
    return {
        "KMeans, K = 32": KMeans(32, init=X[:32].astype(np.float64), **steps),
        "LLGAE, K = 8, p = 4": LLGAE(8, 4, **steps),
        "MPPCA, K = 8, p = 4": MPPCA(8, 4, **steps),
    }


def processes(count, path):
    """The rows of the table that so many processes make, each with its shard of the file."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command += ["-m", "benchmarks.scaling", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def one_process(path):
    """What each of the processes does; the first prints."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    whole = np.load(path, mmap_mode="r")
    mine = np.array(parallel.shard(whole))
    batches = [mine[i : i + BATCH] for i in range(0, len(mine), BATCH)]
    for name, model in models(np.array(whole[:32])).items():
        clock = []
        model.fit(batches, on_step=lambda _: clock.append((time.perf_counter(), time.process_time())))
        wall, cpu = np.diff(clock, axis=0).T
        spent = parallel.all_sum({"cpu": torch.tensor(cpu.min(), dtype=torch.float64)})["cpu"]
        if dist.get_rank() == 0:
            sums = core.sums(model.joint_, [torch.from_numpy(mine[:100])], model.infer)
            numbers = sum(value.numel() for value in sums.values())
            print(
                json.dumps({"model": name, "seconds": wall.min(), "cpu": float(spent), "numbers": numbers}), flush=True
            )
    dist.destroy_process_group()


def passes(repeats, path):
    """Seconds of the fastest pass and CPU seconds of all processes, for 1, 2 and 3 of them in turn."""
    table = {}
    for _ in range(repeats):
        for count in (1, 2, 3):
            for row in processes(count, path):
                best = table.setdefault((row["model"], count), row | {"processes": count})
                for what in ("seconds", "cpu"):
                    best[what] = round_to(min(best[what], row[what]))
    return sorted(table.values(), key=lambda row: (row["model"], row["processes"]))


PEAK = """
import resource, sys, numpy as np
from gaelib import KMeans, data
kind, *paths = sys.argv[1:]
X = data.parquet(paths) if kind == "parquet" else np.concatenate([np.concatenate(list(data.parquet(p))) for p in paths])
KMeans(8, max_iter=2, tol=1, random_state=0).fit(X)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory(folder):
    """Peak memory of a process that fits 1, 4 and 8 files, read batch by batch or loaded first."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    part = rows(100_000)
    path = folder / "part.parquet"
    pq.write_table(pa.table({f"c{i}": part[:, i] for i in range(COLUMNS)}), path)
    table = []
    for kind in ("parquet", "array"):
        for files in (1, 4, 8):
            command = [sys.executable, "-c", PEAK, kind, *[str(path)] * files]
            said = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
            size = files * part.nbytes / 2**20
            table.append({"data": kind, "files": files, "MiB of rows": round(size), "peak MiB": round(float(said))})
    begun = time.process_time()
    read = sum(batch.nbytes for batch in data.parquet(path))
    return table, [{"data": "parquet", "MB a CPU second": round(read / 1e6 / (time.process_time() - begun))}]


def measure(repeats):
    warnings.simplefilter("ignore")  # of steps that ran out: they are given
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.save(folder / "x.npy", rows(ROWS))
        found = passes(min(repeats, 2), folder / "x.npy")
        peaks, speed = memory(folder)
        return {
            "data": [{"rows": ROWS, "columns": COLUMNS, "batch": BATCH, "bytes": 4}],
            "passes": found,
            "memory": peaks,
            "reading": speed,
        }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    one_process(sys.argv[1])
