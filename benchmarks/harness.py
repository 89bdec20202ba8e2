"""Times contestants in turn and stores medians and ratios as package data."""

import hashlib
import json
import math
import os
import platform
import random
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from gaelib.solvers.threads import each, shared
from threadpoolctl import threadpool_limits

PACKAGE = Path(__file__).parents[1] / "gaelib"
PAUSE = 0.05  # seconds, after which the threads of whoever ran last wait for more work no longer
HELD = ("OPENBLAS_", "OMP_", "MKL_", "BLIS_", "ONEDNN_", "DNNL_", "ATEN_CPU_", "GOTO_")  # variables of who multiplies


def machine():
    """What the figures were measured on, in words that name no host."""
    processor = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "held by": sorted(name for name in os.environ if name.startswith(HELD)),
        "torch": torch.__version__.split("+")[0],
    }


def source_hash():
    """Of all the package's source: a stored figure says which code it measured."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def thread_counts():
    """One thread, and all."""
    return sorted({1, torch.get_num_threads()})


@contextmanager
def limited(threads):
    """All libraries on so many threads."""
    every = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(every)


def race(contestants, repeats):
    """Run the contestants in turn: name -> {seconds: median, ratio: median of the first's seconds over its own}.

    One round is not counted.  Ratios are taken within a round, so a machine that slows down slows all; every round has
    an order of its own, so nobody always comes after the one that leaves the caches and the heap in the worst state;
    and waits until the last one's threads sleep, which for some time after their work keep a processor to themselves.
    Then its own sleep, too: who takes no longer than that pause runs once to wake them, and once more to be timed.
    """
    seconds, order, last = {name: [] for name in contestants}, random.Random(0), dict.fromkeys(contestants, math.inf)
    for round in range(repeats + 1):
        for name in order.sample(list(contestants), len(contestants)):
            time.sleep(PAUSE)
            if last[name] < PAUSE:
                contestants[name]()
            start = time.perf_counter()
            contestants[name]()
            last[name] = time.perf_counter() - start
            if round:
                seconds[name].append(last[name])
    ours = next(iter(seconds.values()))
    return {
        name: {
            "seconds": round_to(median(taken)),
            "ratio": round_to(median(a / b for a, b in zip(ours, taken))),
        }
        for name, taken in seconds.items()
    }


def alone(work, blocks, threads, repeats=5):
    """Median seconds of ``work`` of every block and of nothing else, by so many threads: what no fit can do without."""
    with limited(threads), shared(), torch.no_grad():
        return race({"alone": lambda: each(work, blocks)}, repeats)["alone"]["seconds"]


def round_to(value, digits=3):
    return float(f"{value:.{digits}g}")


def store(name, tables, repeats, dense=False):
    """Write ``gaelib/results/<name>.json`` for `gaelib.data.results`; dense, a line for each row of a table."""
    result = {"machine": machine(), "source": source_hash(), "repeats": repeats, **tables}
    path = PACKAGE / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text((lines(result) if dense else json.dumps(result, indent=1)) + "\n")
    return path


def lines(result):
    """JSON with a line for each row of a table."""
    parts = []
    for key, value in result.items():
        rows = ",\n".join(f"  {json.dumps(row)}" for row in value) if isinstance(value, list) else ""
        parts.append(f" {json.dumps(key)}: " + (f"[\n{rows}\n ]" if rows else json.dumps(value)))
    return "{\n" + ",\n".join(parts) + "\n}"
