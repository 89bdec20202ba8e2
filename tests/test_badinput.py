"""Bad input is refused before any work, with the numbers, the cause and the remedy."""

import numpy as np
import pytest
import registry
import torch
from gaelib import KMeans, LinearRegression, LogisticRegression, core, data, plot
from gaelib.joints.flats import Flats
from registry import HOLE, LABELS, X


def km(**options):
    return KMeans(**({"n_clusters": 2, "random_state": 0} | options))


def fitted():
    return km().fit(X)


def given(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAELIB_DATA", folder)
        return data.mnist()


class Nothing(core.Joint):
    pass


CASES = {  # what is done, the error, what its message must say (numbers and cause | remedy)
    "no temperature": (lambda: core.Soft(0), ValueError, "T > 0", "T=0", "Exact()"),
    "no beta": (lambda: core.soft_floor(0), ValueError, "beta > 0", "0", "use mean"),
    "a step of zero": (lambda: core.climb(lambda z: -z, torch.ones(1, 1), 3, 0), ValueError, "lr > 0", "lr=0", "pass such numbers"),
    "a climb that leaves": (lambda: core.climb(lambda z: (z**4).sum(1), torch.ones(1, 1), 99, 1.0), FloatingPointError, "99 steps", "lr=1.0", "lower lr"),
    "no closed form": (lambda: core.Exact()(Nothing(), torch.ones(1, 1)), TypeError, "Nothing.argmax", "does not have", "use Climb"),
    "no joint": (lambda: Nothing().log_joint(None, None), TypeError, "Nothing", "no log_joint", "write one"),
    "batches that are spent": (lambda: core.alternate(Flats(torch.ones(1, 1)), iter([torch.ones(2, 1)]), core.Exact(), 3), ValueError, "step 1", "no batch", "such as a list"),
    "an objective that explodes": (lambda: core.ascend(lambda: torch.tensor(float("nan")), [torch.ones(1)], 3, 0.1), FloatingPointError, "nan", "step 0", "lower lr"),
    "a flat's posterior": (lambda: Flats(torch.ones(1, 2), torch.eye(2)[None]).posterior(torch.ones(1, 2), 1.0), TypeError, "p > 0", "p = 0", "use Exact()"),
    "an unknown benchmark": (lambda: data.results("none"), FileNotFoundError, "'none'", "no stored result", "make bench"),
    "a part in words": (lambda: data.mnist("test"), ValueError, "train='test'", "60,000 images", "pass True"),
    "a data folder that is not there": (lambda: given("nowhere"), FileNotFoundError, "GAELIB_DATA=nowhere", "no folder", "unset it"),
    "a data folder without data": (lambda: given("."), FileNotFoundError, "GAELIB_DATA=.", "neither mnist/train-images", "add one"),
    "a slider without frames": (lambda: plot.slider([], "x", "y"), ValueError, "0 frames", "start=0", "pass at least one frame"),
} | registry.gather("BAD", named=True)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused(case):
    act, error, *says = CASES[case]
    with pytest.raises(error) as caught:
        act()
    for part in says:
        assert part in str(caught.value), f"{part!r} is missing from: {caught.value}"


def test_the_table_is_long_enough():
    assert len(CASES) >= 20


def test_sparse_input_is_refused_by_name():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match=r"[Ss]parse.*toarray"):
        km().fit(sparse.csr_matrix(X))
    for model in (LinearRegression(), LogisticRegression()):
        for pair in ((sparse.csr_matrix(X), LABELS), (X, sparse.csr_matrix(LABELS))):
            with pytest.raises(TypeError, match=r"[Ss]parse"):
                model.fit(*pair)


def test_a_refusal_leaves_the_estimator_as_it_was():
    model = fitted()
    before = model.cluster_centers_.copy()
    with pytest.raises(ValueError, match="row 3, column 1"):
        model.fit(HOLE)
    assert np.array_equal(before, model.cluster_centers_)
