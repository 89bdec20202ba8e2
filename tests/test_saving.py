"""A fit that was cut off and goes on ends where an undisturbed one does."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from gaelib import GGAE, LGAE, LLGAE, MPPCA, PPCA, VAE, GaussianMixture, KMeans, checkpoint, resume
from sklearn.base import clone

X = np.random.default_rng(0).normal(size=(400, 6))
BATCHES = [X[i : i + 100] for i in range(0, 400, 100)]
STEPS = {"random_state": 0, "max_iter": 9, "tol": 0.0}
MODELS = [
    KMeans(5, **STEPS),
    LLGAE(3, 2, **STEPS),
    MPPCA(3, 2, **STEPS),
    GaussianMixture(3, **STEPS),
    GGAE(3, 1, variance=1.0, random_state=0, max_iter=4, tol=0.0),
    PPCA(2, solver="em", **STEPS),
    LGAE(2, solver="alternate", **STEPS),
]
pytestmark = pytest.mark.filterwarnings("ignore:.*stopped after max_iter", "ignore:.*rose")


class Cut(Exception):
    pass


def cut_after(passes, write):
    def on_step(model):
        write(model)
        if model.n_iter_ == passes:
            raise Cut

    return on_step


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("data", [X, BATCHES], ids=["array", "batches"])
def test_going_on_ends_where_an_undisturbed_fit_ends(model, data, tmp_path):
    whole, file = clone(model).fit(data), tmp_path / "fit"
    first = clone(model)
    with pytest.raises(Cut):
        first.fit(data, on_step=cut_after(3, checkpoint(file)))
    assert not hasattr(first, "joint_") and "_on_step" not in vars(first)  # refused fits leave nothing
    kept = resume(file, clone(model))
    assert kept.n_iter_ == 3 and kept.history_ == whole.history_[:3] and not hasattr(kept, "labels_")
    kept.fit(data)
    exact = data is BATCHES or type(model) is not KMeans  # on an array its sums go by the rows that changed sides
    for name, value in whole.joint_.state_dict().items():
        found = kept.joint_.state_dict()[name]
        assert torch.equal(found, value) if exact else torch.allclose(found, value, rtol=0, atol=1e-12), name
    assert kept.history_ == whole.history_ if exact else np.allclose(kept.history_, whole.history_, rtol=1e-13)
    assert kept.n_iter_ == whole.n_iter_


def test_a_rule_that_stops_sees_the_passes_before():
    model = KMeans(5, random_state=0, tol=1e-2)
    whole, seen = clone(model).fit(BATCHES), []
    clone(model).fit(BATCHES, on_step=lambda now: seen.append(pickle.dumps(now)))
    for place in seen[:-1]:  # after the last there is nothing to do
        assert pickle.loads(place).set_params(warm_start=True).fit(BATCHES).history_ == whole.history_


def test_a_settled_fit_goes_on_by_a_pass_or_two_and_starts_anew_only_when_told():
    model = KMeans(5, random_state=0, tol=0.0).fit(X)
    n, centres = model.n_iter_, model.cluster_centers_.copy()
    model.set_params(warm_start=True).fit(X)
    assert n < model.n_iter_ <= n + 2 and np.allclose(model.cluster_centers_, centres, atol=1e-12)
    model.set_params(warm_start=False).fit(X)
    assert model.n_iter_ == n
    closed = LGAE(2, warm_start=True).fit(X)
    assert closed.fit(X).n_iter_ == 1  # the closed form has nothing to go on from


def test_a_file_is_written_every_so_often_and_whole(tmp_path):
    file, sizes = tmp_path / "fit", []
    write = checkpoint(file, every=2)

    def on_step(model):
        write(model)
        sizes.append(resume(file, KMeans(5)).n_iter_ if file.exists() else 0)

    KMeans(5, random_state=0, max_iter=5, tol=0.0).fit(X, on_step=on_step)
    assert sizes == [0, 2, 2, 4, 4] and os.listdir(tmp_path) == ["fit"]
    fresh = KMeans(5)
    assert resume(tmp_path / "none", fresh) is fresh


ELASTIC = """
import os, sys, warnings
import numpy as np, torch, torch.distributed as dist
from gaelib import MPPCA, checkpoint, parallel, resume
warnings.simplefilter("ignore")
dist.init_process_group("gloo")
X, file = np.load(sys.argv[1]), sys.argv[2]
write = checkpoint(file)

def on_step(model):
    write(model)
    if model.n_iter_ == 4 and dist.get_rank() == 1 and begun == 0:
        os._exit(9)  # a machine is gone

model = resume(file, MPPCA(3, 2, random_state=0, max_iter=9, tol=0.0))
begun = getattr(model, "n_iter_", 0)
model.fit([parallel.shard(X)], on_step=on_step)
if dist.get_rank() == 0:
    np.savez(sys.argv[3], begun=begun, history=model.history_, means=model.joint_.means)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_killed_rank_loses_nothing(tmp_path):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "job.py").write_text(ELASTIC)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=0"]

    command = [*run, *(str(tmp_path / part) for part in ("job.py", "x.npy", "fit", "out"))]
    cut, again = (subprocess.run(command, capture_output=True, text=True, timeout=240) for _ in range(2))
    assert cut.returncode and "exitcode: 9" in cut.stderr, cut.stderr[-2000:]
    assert again.returncode == 0, again.stderr[-2000:]
    found, whole = np.load(tmp_path / "out.npz"), MPPCA(3, 2, **STEPS).fit([X[:200], X[200:]])
    assert found["begun"] >= 3 and np.array_equal(found["history"], whole.history_)
    assert np.array_equal(found["means"], whole.joint_.means)


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda file: checkpoint(file / "no" / "x"), FileNotFoundError, ("no folder", "make it")),
        (lambda file: checkpoint(file, every=0), ValueError, ("every=0", "at least 1")),
        (lambda file: resume(file, LLGAE(5)), ValueError, ("KMeans", "LLGAE", "remove it")),
        (lambda file: resume(file, KMeans(6)), ValueError, ("n_clusters=5", "6", "remove it")),
        (lambda file: resume(file, KMeans(5)).fit(X[:, :4]), ValueError, ("6 features", "got 4", "warm_start=False")),
        (lambda file: VAE(1).fit(X, on_step=print), TypeError, ("VAE", "no passes", "leave it out")),
        (lambda file: LGAE(1).fit(X, on_step=print), TypeError, ("LGAE", "no passes")),
        (lambda file: KMeans(2, warm_start="yes").fit(X), ValueError, ("warm_start='yes'", "True nor False")),
    ],
)
def test_what_cannot_go_on(ask, error, words, tmp_path):
    KMeans(5, random_state=0, max_iter=2, tol=0.0).fit(X, on_step=checkpoint(tmp_path / "fit"))
    with pytest.raises(error) as caught:
        ask(tmp_path / "fit")
    assert all(word in str(caught.value) for word in words), caught.value
