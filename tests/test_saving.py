"""A fit that was cut off and goes on ends where an undisturbed one does."""

import json
import os
import pickle
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gaelib import (
    GGAE,
    LGAE,
    LLGAE,
    MPPCA,
    NMF,
    PPCA,
    VAE,
    GaussianMixture,
    KMeans,
    SemiNMF,
    SparseCoding,
    checkpoint,
    resume,
)
from sklearn.base import clone

X = np.random.default_rng(0).normal(size=(400, 6))
CLUSTERS = X + 5 * np.eye(6)[np.arange(400) % 3]
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


EVERY = [*MODELS, *(Parts(2, random_state=0, max_iter=3, tol=0.0) for Parts in (NMF, SemiNMF, SparseCoding))]


@pytest.mark.parametrize("model", EVERY, ids=lambda model: type(model).__name__)
def test_going_on_takes_data_of_another_dtype(model):
    x = np.abs(CLUSTERS)
    for one, other in ((np.float32, np.float64), (np.float64, np.float32)):
        going = clone(model).set_params(warm_start=True, max_iter=2).fit(x.astype(one))
        going.set_params(max_iter=4).fit(x.astype(other))
        assert going.n_iter_ > 2 and {part.dtype for part in going.joint_.buffers()} == {
            torch.tensor(x.astype(other)).dtype
        }


@pytest.mark.parametrize("model", EVERY, ids=lambda model: type(model).__name__)
def test_going_on_at_other_settings_is_refused(model, tmp_path):
    x, other = (
        np.abs(CLUSTERS),
        {"noise": "own", "absorb": "exp", "prior_variance": 2.0, "beta_loss": "kullback-leibler"},
    )
    model = clone(model).set_params(max_iter=2)
    model.fit(x, on_step=checkpoint(tmp_path / "fit"))
    for name, value in model.get_params().items():
        if name not in model._movable:
            now = other[name] if name in other else not value if isinstance(value, bool) else 2 * value + 1
            for going in (clone(model), clone(model).set_params(max_iter=9, warm_start=True)):
                with pytest.raises(ValueError, match=rf"{name}={re.escape(str(value))}, not .*: remove it"):
                    resume(tmp_path / "fit", going.set_params(**{name: now}))
            going = pickle.loads(pickle.dumps(model)).set_params(warm_start=True, **{name: now})
            with pytest.raises(
                ValueError, match=rf"at {name}={re.escape(repr(value))}, got .*: pass that, or warm_start=False"
            ):
                going.fit(x)
            assert going.set_params(**{name: value}).fit(x).n_iter_ == 2


@pytest.mark.parametrize("model", EVERY, ids=lambda model: type(model).__name__)
def test_what_on_step_hears_can_be_asked_and_asking_changes_nothing(model):
    x, heard = np.abs(CLUSTERS[:60]), []

    def ask(now):
        decoded = now.inverse_transform(now.transform(x))
        heard.append((decoded.shape, now.score(x), len(now.get_feature_names_out())))
        if hasattr(now, "sample"):
            assert isinstance(now.sample(2, random_state=0), np.ndarray)

    model = clone(model).set_params(max_iter=3).fit(x, on_step=ask)
    assert len(heard) == 3 and heard[0][0] == x.shape and heard[0][2] == model.transform(x).shape[1]
    assert model.history_ == clone(model).fit(x).history_


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


ROOT = Path(__file__).parents[1]
KILLED = """
import faulthandler, os, signal, sys
import over_torchrun

faulthandler.dump_traceback_later(200, exit=True)  # what hangs says where
keep = over_torchrun.checkpoint


def checkpoint(path):
    write, first = keep(path), os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"

    def on_step(model):
        write(model)
        if first and os.environ["RANK"] == "1" and model.n_iter_ == 4:
            os.kill(os.getpid(), signal.SIGKILL)  # while the other waits for its sums

    return on_step


over_torchrun.checkpoint = checkpoint
over_torchrun.main(*sys.argv[1:])
"""


def printed(start):
    """The lines of the chapter's shell block that begin so, as one command's words; and the variables it sets."""
    cells = json.loads((ROOT / "book/practice/scaling-out.ipynb").read_text(encoding="utf-8"))["cells"]
    blocks = re.findall(r"```bash\n(.+?)```", "\n".join("".join(cell["source"]) for cell in cells), re.S)
    (block,) = (block.replace("\\\n", " ") for block in blocks if start in block)
    (line,) = (line for line in block.splitlines() if line.startswith(start))
    return shlex.split(line), dict(re.findall(r"(?m)^export (\w+)=(\S+)$", block))


@pytest.mark.slow
def test_two_machines_of_which_one_loses_its_process_end_as_an_undisturbed_fit(tmp_path):
    """The chapter's own command, twice on this machine with one process each."""
    rows, kept = tmp_path / "x.npy", tmp_path / "fit.pickle"
    np.save(rows, CLUSTERS)
    (tmp_path / "job.py").write_text(KILLED)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command, variables = printed("torchrun --nnodes=2")
    assert "--nproc-per-node=4" in command and command[-3:] == ["over_torchrun.py", "x.npy", "fit.pickle"]
    put = {"torchrun": [sys.executable, "-m", "torch.distributed.run"], "--nproc-per-node=4": ["--nproc-per-node=1"]}
    put |= {"over_torchrun.py": ["job.py"]}
    words = [part.replace("HOST:29400", f"localhost:{port}") for word in command for part in put.get(word, [word])]
    env = os.environ | variables | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'examples'}", "OMP_NUM_THREADS": "1"}
    options = {"cwd": tmp_path, "env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    machines = [subprocess.Popen(words, **options) for _ in range(2)]
    try:
        said = "".join(machine.communicate(timeout=240)[0] for machine in machines)
    finally:
        for machine in machines:
            machine.terminate()
    assert [machine.returncode for machine in machines] == [0, 0], said[-3000:]
    assert "exitcode: -9" in said, "no process was killed"
    found, (begun, ended) = resume(kept, MPPCA(3, 2)), map(int, re.search(r"passes (\d+) to (\d+)", said).groups())
    MPPCA(3, 2, random_state=0).fit(np.split(CLUSTERS, 2), on_step=checkpoint(tmp_path / "whole"))
    whole = resume(tmp_path / "whole", MPPCA(3, 2))
    assert begun in (4, 5) and ended == found.n_iter_ == whole.n_iter_ > 6 and found.history_ == whole.history_
    for name, value in whole.joint_.state_dict().items():
        assert torch.equal(found.joint_.state_dict()[name], value), name


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
