"""Many processes give the answer of one: one spawn, in which every process fits its shard of every row of a table."""

import warnings
from multiprocessing import get_context

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from gaelib import (
    GGAE,
    LGAE,
    LLGAE,
    MPPCA,
    NMF,
    PPCA,
    Autoencoder,
    GaussianMixture,
    KMeans,
    LinearRegression,
    LogisticRegression,
    SemiNMF,
    SparseCoding,
    data,
    parallel,
)
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

X, Y = data.digits()
NAMES = np.array(["nought", "odd", "even"])[np.where(Y == 0, 0, 2 - Y % 2)]
NAMES = NAMES[np.argsort(NAMES == "odd", kind="stable")]  # the last shard holds odd ones alone
SEEDED = {"random_state": 0}
MODELS = {  # name: the model, its second table, and what must agree to which part of its size
    "KMeans": (KMeans(10, tol=0, **SEEDED), None, {"cluster_centers_": 1e-12, "inertia_": 1e-12}),
    "LGAE": (LGAE(3), None, {"components_": 1e-10, "mean_": 1e-12}),
    "LLGAE": (
        LLGAE(3, 2, max_iter=20, **SEEDED),
        None,
        {"cluster_centers_": 1e-8, "components_": 1e-8, "inertia_": 1e-8},
    ),
    "PPCA": (PPCA(3), None, {"components_": 1e-10, "noise_variance_": 1e-10}),
    "MPPCA": (MPPCA(3, 2, max_iter=20, **SEEDED), None, {"means_": 1e-8, "components_": 1e-8, "weights_": 1e-8}),
    "GaussianMixture": (GaussianMixture(4, max_iter=20, **SEEDED), None, {"means_": 1e-8}),
    "GGAE": (GGAE(3, 2, variance=300.0, max_iter=5, tol=0, **SEEDED), None, {"cluster_centers_": 1e-6}),
    "NMF": (NMF(6, max_iter=20, tol=0, **SEEDED), None, {"components_": 1e-9, "reconstruction_err_": 1e-9}),
    "NMF of counts": (NMF(6, beta_loss="kullback-leibler", max_iter=10, tol=0, **SEEDED), None, {"components_": 1e-9}),
    "SemiNMF": (SemiNMF(6, max_iter=10, tol=0, **SEEDED), None, {"components_": 1e-9}),
    "SparseCoding": (SparseCoding(80, alpha=1.0, max_iter=10, tol=0, **SEEDED), None, {"components_": 1e-9}),
    "LinearRegression": (LinearRegression(), Y, {"coef_": 1e-10, "intercept_": 1e-10}),
    "LogisticRegression": (LogisticRegression(C=0.01), NAMES, {"coef_": 1e-4, "intercept_": 1e-4}),
}
NETWORK = Autoencoder(2, hidden=(8,), max_epochs=2, validation=0, batch_size=599, random_state=0)  # a shard is a batch
SEEDLESS = {  # nobody names a seed, or each process names its own
    "no seed": (KMeans(10, max_iter=3), LLGAE(3, 2, max_iter=3), GaussianMixture(3, max_iter=3)),
    "a RandomState": (KMeans(10, max_iter=3, random_state=np.random.RandomState()),),
}


def fitted(model, second):
    return model.fit(parallel.shard(X), *([] if second is None else [parallel.shard(second)]))


def reply(rank, size, address, out):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)  # few passes, all the same
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
    found = {}
    for name, (model, second, kept) in MODELS.items():
        model = fitted(model, second)
        found |= {f"{name}.{part}": getattr(model, part) for part in kept}
        found |= {f"{name}.{part}": getattr(model, part) for part in ("labels_", "classes_") if hasattr(model, part)}
    for name, models in SEEDLESS.items():
        for i, model in enumerate(models):
            found[f"{name} {i}"] = fitted(model, None).joint_.means
    model = fitted(NETWORK, None)
    found |= {f"network {name}": value for name, value in model.joint_.state_dict().items()}
    if rank == 1:
        with pytest.raises(ValueError, match="row 0, column 3") as refused:  # before any sum is waited for
            KMeans(3).fit(np.where(np.arange(64) == 3, np.nan, parallel.shard(X)))
        found["refusal"] = refused.value.__notes__
    found |= {"own draws": KMeans(3, max_iter=1, random_state=rank).fit(parallel.shard(X)).cluster_centers_}
    np.savez(f"{out}/{rank}.npz", **{name: np.asarray(value) for name, value in found.items()})
    dist.destroy_process_group()


SIZE = 3


@pytest.fixture(scope="module")
def replies(tmp_path_factory):
    out = tmp_path_factory.mktemp("processes")
    # One process imports all that they need, and they are its forks.
    get_context("forkserver").set_forkserver_preload(sorted({type(row[0]).__module__ for row in MODELS.values()}))
    mp.start_processes(reply, (SIZE, f"file://{out}/meet", str(out)), nprocs=SIZE, start_method="forkserver")
    return [dict(np.load(out / f"{rank}.npz")) for rank in range(SIZE)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MODELS)
def test_processes_equal_one(name, replies):
    model, second, kept = MODELS[name]
    alone = fitted(model, second)
    for part, bound in kept.items():
        whole = np.asarray(getattr(alone, part))
        for one in replies:
            assert np.abs(one[f"{name}.{part}"] - whole).max() <= bound * np.abs(whole).max(), part
    for part in ("labels_", "classes_"):
        if hasattr(alone, part):
            parts = [one[f"{name}.{part}"] for one in replies]
            assert (np.concatenate(parts) if part == "labels_" else parts[-1]).tolist() == getattr(alone, part).tolist()


@pytest.mark.parametrize("name", [f"{name} {i}" for name, models in SEEDLESS.items() for i in range(len(models))])
def test_without_a_seed_all_processes_end_with_one_model(name, replies):
    for one in replies[1:]:
        assert np.array_equal(one[name], replies[0][name])


def test_of_many_seeds_the_first_process_decides(replies):
    assert all(np.array_equal(one["own draws"], replies[0]["own draws"]) for one in replies)


def test_a_refusal_says_which_process_it_was(replies):
    assert replies[1]["refusal"].tolist() == ["in process 1 of 3, counted from 0"]
    with pytest.raises(ValueError, match="row 0") as alone:
        KMeans(3).fit([[np.nan]] * 3)
    assert not hasattr(alone.value, "__notes__")


def test_slopes_of_networks_are_averaged(replies):
    """Every shard is one batch, so that the averaged slopes are those of all rows."""
    alone = fitted(clone(NETWORK).set_params(batch_size=3 * 599), None).joint_.state_dict()
    for name, value in alone.items():
        for one in replies:
            assert np.array_equal(one[f"network {name}"], replies[0][f"network {name}"]), name
            assert np.abs(one[f"network {name}"] - value.numpy()).max() < 1e-4, name


def test_alone_nothing_changes():
    sums = {"a": torch.ones(2, 3)}
    assert parallel.all_sum(sums) is sums and parallel.shard([1, 2]) == [1, 2]
    assert parallel.from_first(2**53 + 1) == 2**53 + 1 and parallel.gather("a") == ["a"]
