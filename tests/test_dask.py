"""Dask over the unchanged core: the digits of one process, and a worker that is killed loses nothing.

The cluster runs in a process of its own, with a limit of its own: what hangs there ends.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gaelib import MPPCA, core

EXAMPLES = Path(__file__).parents[1] / "examples"
START = {"random_state": 0, "max_iter": 1}

JOB = """
import os, signal, sys
from pathlib import Path
import numpy as np, psutil, torch
from dask.distributed import Client, LocalCluster
from gaelib import MPPCA, core
from over_dask import over

folder = Path(sys.argv[1])
armed = folder / "armed"


def batches(path):
    if path.name == "1.npy" and armed.exists():
        armed.unlink()
        os.kill(os.getpid(), signal.SIGKILL)  # in the middle of a pass, with a file in its hands
    return [np.load(path)]


def arm(step, value):
    if step == 1:
        armed.touch()


if __name__ == "__main__":
    torch.set_num_threads(1)
    paths = sorted(folder.glob("?.npy"))
    model = MPPCA(3, 2, random_state=0, max_iter=1).fit(np.load(paths[0]))
    cluster = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**cluster) as workers, Client(workers) as client:
        before = client.run(os.getpid)
        sums = over(client, model.joint_, core.Soft(1.0), paths, batches)
        nothing = [torch.from_numpy(np.load(paths[0])[:0])]
        history = core.alternate(model.joint_, nothing, core.Soft(1.0), 6, 0.0, sums, arm)
        lost = sum(not psutil.pid_exists(worker) for worker in before.values())
    np.savez(folder / "out.npz", history=history, means=model.joint_.means, lost=lost)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*stopped after max_iter")
def test_a_killed_worker_loses_nothing(tmp_path, monkeypatch):
    X = np.random.default_rng(0).normal(size=(400, 6))
    parts = np.split(X, 4)
    for i, rows in enumerate(parts):
        np.save(tmp_path / f"{i}.npy", rows)
    (tmp_path / "job.py").write_text(JOB)
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLES}:{EXAMPLES.parent}")
    done = subprocess.run(
        [sys.executable, tmp_path / "job.py", tmp_path], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "out.npz")
    alone = MPPCA(3, 2, **START).fit(parts[0])
    history = core.alternate(alone.joint_, list(map(torch.from_numpy, parts)), core.Soft(1.0), 6)
    assert found["lost"] == 1, "no worker was killed"
    assert np.array_equal(found["history"], history) and np.array_equal(found["means"], alone.joint_.means)
