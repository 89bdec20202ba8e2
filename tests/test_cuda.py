"""On a real card, `pytest -m cuda`: the same answers as on the CPU, in the caller's kind, and nothing left behind."""

import warnings
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from devices import DRAWS, ROWS, answers, home, placed
from gaelib import LGAE, LLGAE, PPCA, KMeans, core, data

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: tests/test_devices.py pretends one"),
]

X = data.digits()[0][:600, 2:62] / 16 + np.random.default_rng(0).normal(size=(600, 60)) / 100
KINDS = {
    "NumPy": (lambda x: x, np.ndarray),
    "a CPU tensor": (torch.tensor, torch.Tensor),
    "a tensor on the card": (lambda x: torch.tensor(x).cuda(), torch.Tensor),
    "batches": (lambda x: [x[:30], x[30:]], np.ndarray),
}


@cache
def alone(name):
    """The answers of the CPU."""
    return answers(name, lambda x: x, device="cpu")[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROWS)
def test_cuda_equals_the_cpu(name, kind):
    of, where = KINDS[kind]
    if callable(ROWS[name]) and kind == "batches":
        pytest.skip("a function of arrays")
    model, found = answers(name, of)
    others, device = alone(name), "cuda" if "card" in kind else "cpu"
    single = hasattr(model, "max_epochs") or name == "TSNE" or model is None  # steps in float32, which part slowly
    assert found.keys() == others.keys()
    for what, one in found.items():
        assert placed(what, one, where), what
        assert not torch.is_tensor(one) or one.device.type == device, what
        one, other = home(one), home(others[what])
        assert one.shape == other.shape and np.isfinite(one).all(), what
        off = np.abs(one - other).max() / (1 + np.abs(other).max())
        assert name in DRAWS or off <= (5e-2 if single else 1e-3), f"{what}: {off:.2g}"
    for what, tensor in model.joint_.state_dict().items() if model is not None else ():
        assert tensor.device.type == device, f"joint_.{what}"


def test_cuda_with_more_centres_than_a_table_holds():
    rows = np.tile(X, (10, 1)) + np.random.default_rng(1).normal(size=(6000, 60)) / 100
    models = [KMeans(100, max_iter=5, random_state=0, device=device) for device in ("cuda", "cpu")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few steps
        one, other = (model.fit(rows).score(rows) for model in models)
    assert abs(one - other) < 1e-6 * abs(other)


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
