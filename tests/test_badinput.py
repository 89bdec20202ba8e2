"""Bad input is refused before any work, with the numbers, the cause and the remedy."""

import numpy as np
import pytest
import torch
from gaelib import GGAE, KMeans, LinearRegression, LogisticRegression, core, data, plot
from gaelib.joints.flats import Flats
from gaelib.models.ggae import KernelMixture

X = np.arange(40.0).reshape(10, 4)
HOLE = np.where(np.arange(40).reshape(10, 4) == 13, np.nan, X)
ENDLESS = np.where(np.arange(40).reshape(10, 4) == 39, np.inf, X)
LABELS = np.arange(10) % 2


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
    "more clusters than samples": (lambda: km(n_clusters=12).fit(X), ValueError, "n_clusters=12", "10 samples", "fewer clusters"),
    "no clusters": (lambda: km(n_clusters=0).fit(X), ValueError, "n_clusters=0", "at least 1", "pass n_clusters=1 or more"),
    "clusters in words": (lambda: km(n_clusters="2").fit(X), ValueError, "n_clusters='2'", "integer", "pass n_clusters=1"),
    "half a step": (lambda: km(max_iter=1.5).fit(X), ValueError, "max_iter=1.5", "at least 1", "pass max_iter=1"),
    "no start": (lambda: km(n_init=0).fit(X), ValueError, "n_init=0", "at least 1", "pass n_init=1"),
    "negative tolerance": (lambda: km(tol=-1).fit(X), ValueError, "tol=-1", "at least 0", "pass tol=0"),
    "unknown init": (lambda: km(init="random").fit(X), ValueError, "'random'", "unknown", "pass 'k-means++'"),
    "init of the wrong shape": (lambda: km(init=X[:3]).fit(X), ValueError, "(3, 4)", "(2, 4)", "one row per cluster"),
    "init of the wrong width": (lambda: km(init=X[:2, :3]).fit(X), ValueError, "(2, 3)", "(2, 4)", "one row per cluster"),
    "init with a hole": (lambda: km(init=HOLE[2:4]).fit(X), ValueError, "1 non-finite", "8 entries", "pass finite numbers"),
    "negative seed": (lambda: km(random_state=-1).fit(X), ValueError, "random_state=-1", "below 0", "non-negative integer"),
    "seed in words": (lambda: km(random_state="a").fit(X), ValueError, "'a'", "no seed", "pass None, an integer"),
    "unknown device": (lambda: km(device="abacus").fit(X), ValueError, "'abacus'", "not to be had", "use 'auto' or 'cpu'"),
    "a hole": (lambda: km().fit(HOLE), ValueError, "row 3, column 1", "nan", "drop or fill"),
    "an infinite entry": (lambda: km().fit(ENDLESS), ValueError, "row 9, column 3", "inf", "drop or fill"),
    "a hole in a tensor": (lambda: km().fit(torch.tensor(HOLE)), ValueError, "row 3, column 1", "nan", "drop or fill"),
    "a hole in a batch": (lambda: km().fit([X, HOLE]), ValueError, "row 3, column 1", "nan", "drop or fill"),
    "one axis": (lambda: km().fit(X[0]), ValueError, "Expected 2D array", "1D array", "one row per sample"),
    "three axes": (lambda: km().fit(X[None]), ValueError, "dim 3", "<= 2", "flatten"),
    "no rows": (lambda: km().fit(X[:0]), ValueError, "0 sample(s)", "minimum of 1", "pass at least one row"),
    "no columns": (lambda: km().fit(X[:, :0]), ValueError, "0 feature(s)", "minimum of 1", "pass at least one column"),
    "no batch": (lambda: km().fit(iter_again([])), ValueError, "0 batches", "got", "pass at least one array"),
    "a generator": (lambda: km().fit(x for x in [X]), TypeError, "only once", "many times", "pass a list"),
    "batches of two widths": (lambda: km().fit([X, X[:, :3]]), ValueError, "3 features", "4 features", "pass the columns"),
    "complex numbers": (lambda: km().fit(X + 1j), ValueError, "Complex", "not supported", "real and imaginary"),
    "complex tensor": (lambda: km().fit(torch.tensor(X + 1j)), ValueError, "Complex", "not supported", "real and imaginary"),
    "words": (lambda: km().fit([["a", "b"], ["c", "d"]]), ValueError, "convert", "'a'", "encode"),
    "sample weights": (lambda: km().fit(X, sample_weight=X[:, 0]), TypeError, "sample_weight", "unexpected", "fit"),
    "predict before fit": (lambda: km().predict(X), ValueError, "not fitted", "KMeans", "fit"),
    "decode before fit": (lambda: km().inverse_transform(X), ValueError, "not fitted", "KMeans", "fit"),
    "predict another width": (lambda: fitted().predict(X[:, :3]), ValueError, "3 features", "4 features", "pass the columns"),
    "decode another width": (lambda: fitted().inverse_transform(X), ValueError, "(n, 2)", "(10, 4)", "pass what transform returns"),
    "a regression without y": (lambda: LinearRegression().fit(X, None), ValueError, "requires y", "None", "call fit(X, y)"),
    "fewer labels than rows": (lambda: LogisticRegression().fit(X, LABELS[:9]), ValueError, "10 rows", "y has 9", "one y for each row"),
    "a hole in y": (lambda: LinearRegression().fit(X, HOLE), ValueError, "row 3", "nan", "drop the rows"),
    "words for numbers": (lambda: LinearRegression().fit(X, ["a"] * 10), ValueError, "convert", "'a'", "encode"),
    "y of another width": (lambda: LinearRegression().fit(X, X).score_samples(X, X[:, :3]), ValueError, "3 columns", "saw 4", "pass the columns"),
    "one class": (lambda: LogisticRegression().fit(X, LABELS * 0), ValueError, "2 classes", "1 class (0)", "another class"),
    "numbers for labels": (lambda: LogisticRegression().fit(X, X[:, 0] / 3), ValueError, "label type", "continuous", "LinearRegression"),
    "labels in two columns": (lambda: LogisticRegression().fit(X, X[:, :2]), ValueError, "1d array", "(10, 2)", "one label per row"),
    "a label never seen": (lambda: LogisticRegression().fit(X, LABELS).score_samples(X, LABELS + 1), ValueError, "label 2", "2 that fit saw", "fit again"),
    "a penalty of infinity": (lambda: LogisticRegression(C=0).fit(X, LABELS), ValueError, "C=0", "above 0", "C=float('inf')"),
    "sample weights of a regression": (lambda: LinearRegression().fit(X, X, sample_weight=LABELS), TypeError, "sample_weight", "unexpected", "fit"),
    "regression before fit": (lambda: LogisticRegression().predict(X), ValueError, "not fitted", "LogisticRegression", "fit"),
    "more kernels than samples": (lambda: GGAE(12).fit(X), ValueError, "n_clusters=12", "10 samples", "fewer clusters"),
    "a code of no length": (lambda: GGAE(2, 0).fit(X), ValueError, "n_components=0", "at least 1", "pass n_components=1"),
    "nothing absorbs": (lambda: GGAE(2, absorb=0).fit(X), ValueError, "absorb=0", "run away", "pass absorb=1.0 or 'exp'"),
    "an unknown absorption": (lambda: GGAE(2, absorb="log").fit(X), ValueError, "absorb='log'", "above 0", "pass absorb=1.0 or 'exp'"),
    "kernels without noise": (lambda: GGAE(2, variance=0).fit(X), ValueError, "variance=0", "above 0", "pass variance=1.0"),
    "the best of endless codes": (lambda: KernelMixture(torch.eye(2), torch.eye(2), 0).argmax(torch.eye(2)), ValueError, "absorb=0", "infinity", "pass absorb > 0"),
    "kernel codes of another length": (lambda: GGAE(2, 1, random_state=0).fit(X).inverse_transform(X), ValueError, "(n, 1)", "(10, 4)", "pass what transform returns"),
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
}  # fmt: skip


class iter_again:
    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        return iter(self.parts)


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
