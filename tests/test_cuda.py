"""On a real card, `pytest -m cuda`: the same answers as on the CPU, in the caller's kind, and nothing left behind."""

import warnings
from copy import deepcopy

import numpy as np
import pytest
import torch
from gaelib import (
    GGAE,
    LGAE,
    LLGAE,
    MPPCA,
    PPCA,
    GaussianMixture,
    KMeans,
    LinearRegression,
    LogisticRegression,
    Memory,
    SemiNMF,
    SparseCoding,
    core,
    data,
)

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: tests/test_devices.py pretends one"),
]

X = data.digits()[0][:600, 2:62] / 16 + np.random.default_rng(0).normal(size=(600, 60)) / 100
LABELS = data.digits()[1][:600]
Y = X[:, :2] + X[:, 2:4] ** 2
SEED = {"random_state": 0}
MODELS = {
    "KMeans": (KMeans(10, **SEED),),
    "KMeans of many": (KMeans(100, max_iter=5, **SEED),),
    "Memory": (Memory(),),
    "LGAE": (LGAE(5),),
    "LGAE by svd": (LGAE(5, solver="svd"),),
    "LGAE in turn": (LGAE(2, solver="alternate", max_iter=50, **SEED),),
    "LGAE by gradient": (LGAE(2, solver="gradient", max_iter=3, **SEED),),
    "LLGAE": (LLGAE(3, 2, max_iter=10, **SEED),),
    "PPCA": (PPCA(5),),
    "PPCA by EM": (PPCA(2, solver="em", max_iter=20, **SEED),),
    "MPPCA": (MPPCA(3, 2, max_iter=10, **SEED),),
    "MPPCA, fixed prior": (MPPCA(3, 2, prior_variance=1.0, noise="own", max_iter=10, **SEED),),
    "GaussianMixture": (GaussianMixture(5, max_iter=10, **SEED),),
    "GGAE": (GGAE(4, 2, variance=2.0, max_iter=5, **SEED),),
    "SemiNMF": (SemiNMF(2, max_iter=10, **SEED),),
    "SparseCoding": (SparseCoding(8, alpha=0.5, max_iter=10, **SEED),),
    "LinearRegression": (LinearRegression(), Y),
    "LogisticRegression": (LogisticRegression(C=0.1), LABELS),
}
ASK = ("transform", "predict", "predict_proba", "predict_log_proba", "score_samples", "impute")
KINDS = {
    "NumPy": (lambda x: x, np.ndarray, "cpu"),
    "a CPU tensor": (torch.tensor, torch.Tensor, "cpu"),
    "a tensor on the card": (lambda x: torch.tensor(x).cuda(), torch.Tensor, "cuda"),
    "batches": (lambda x: [x[:250], x[250:]], np.ndarray, "cpu"),
}


def answers(name, of, **options):
    model, *second = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few steps
        model = deepcopy(model).set_params(**options).fit(*map(of, (X, *second)))
    found = {method: getattr(model, method)(of(X)) for method in ASK if hasattr(model, method)}
    if hasattr(model, "inverse_transform"):
        found["decoded"] = model.inverse_transform(found["transform"])
    if hasattr(model, "sample"):
        found["sample"] = model.sample(5, random_state=0)
    return model, found, model.score(*map(of, (X, *second)))


def numbers(value):
    return value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_cuda_equals_the_cpu(name, kind):
    of, where, device = KINDS[kind]
    model, found, score = answers(name, of)
    _, others, other = answers(name, lambda x: x, device="cpu")
    assert abs(score - other) <= 1e-4 * (1 + abs(other))
    for (what, one), two in zip(found.items(), others.values(), strict=True):
        assert isinstance(one, where), what
        assert where is np.ndarray or one.device.type == device, what
        assert np.abs(numbers(one) - numbers(two)).max() <= 1e-3 * (1 + np.abs(numbers(two)).max()), what
    for what, tensor in model.joint_.state_dict().items():
        assert tensor.device.type == device, f"joint_.{what}"


def test_cuda_and_the_last_line_of_the_readme():
    digits, _ = data.digits()
    km = KMeans(n_clusters=10, n_init=5, random_state=0).fit(digits)
    assert km.inverse_transform(km.transform(digits)).shape == (1797, 64) and km.score(digits) < 0
    history = core.alternate(km.joint_, [torch.tensor(digits)], core.Soft(T=1.0), steps=10)
    assert history[-1] > history[0]


def test_cuda_and_single_precision():
    rows = X.astype(np.float32)
    for model in (KMeans(5, random_state=0), LGAE(3), LLGAE(3, 2, max_iter=5, tol=1.0, random_state=0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score = deepcopy(model).fit(rows).score(rows)
            assert abs(score - deepcopy(model).set_params(device="cpu").fit(rows).score(rows)) < 1e-2 * abs(score)


def test_cuda_when_asked_from_both_sides():
    on_card = PPCA(2).fit(torch.tensor(X).cuda())
    assert on_card.joint_.mean.is_cuda and on_card.components_.is_cuda
    assert np.allclose(on_card.transform(X), PPCA(2, device="cpu").fit(X).transform(X))
    here = PPCA(2).fit(X)
    assert here.transform(torch.tensor(X).cuda()).is_cuda and not here.joint_.mean.is_cuda
