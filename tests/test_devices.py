"""Other devices, tested without one: a pretend card computes on the CPU, claims to be CUDA and refuses to mix.

On a machine with CUDA everything a reader does with a CPU array or tensor works, ``joint_`` included: the work is done
on the card, and what is left behind lives where the caller's data live.
"""

import pickle
import warnings
from copy import deepcopy
from functools import cache

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
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CARD = torch.device("cuda", 0)
ALONE = torch._C.DisableTorchFunctionSubclass
QUIET = {
    "__get__",
    "__set__",
    "__repr__",
    "__setstate__",
    "__reduce_ex__",
    "__deepcopy__",
    "_has_compatible_shallow_copy_type",
}
INDEXED = {"__getitem__", "__setitem__", "index_put_", "index_put"}  # an index may lie on the CPU
MOVES = {"to", "cpu", "cuda", "copy_", "type", "type_as"}


class Card(torch.Tensor):
    """A tensor that lies on the pretend card."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return on_card(func, args, kwargs or {})


def on_card(func, args, kwargs):
    """What CUDA would do with these arguments: compute, move or refuse."""
    name = getattr(func, "__name__", "")
    if name == "__get__" and isinstance(args[0], Card):
        what = getattr(func.__self__, "__name__", "")
        if what in ("device", "is_cuda"):
            return CARD if what == "device" else True
    flat = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    cards = [x for x in flat if isinstance(x, Card)]
    asked = kwargs.get("device")
    if name in ("to", "cpu", "cuda"):
        return move(func, name, args, kwargs)
    if name in ("numpy", "__array__", "from_numpy") and cards:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
    if name not in QUIET | MOVES and cards:
        others = [x for x in flat if not isinstance(x, Card) and (x.ndim or name in ("cat", "stack", "index_copy"))]
        if others and not (name in INDEXED and isinstance(args[0], Card)):
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found cuda:0 and cpu")
    generator = kwargs.get("generator")
    to_card = bool(cards) if asked is None else torch.device(asked).type == "cuda"
    if generator is not None and to_card:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    if asked is not None:
        kwargs = kwargs | {"device": "cpu"}
    with ALONE():
        found = func(*args, **kwargs)
    if name == "copy_":
        to_card = isinstance(args[0], Card)
    return tree_map(as_card, found) if to_card else found


def as_card(x):
    if type(x) is not torch.Tensor:
        return x
    with ALONE():
        return x.as_subclass(Card)


def move(func, name, args, kwargs):
    """``to``, ``cpu`` and ``cuda``: the dtype by torch, the place by name."""
    x, *rest = args
    places = [kwargs.get("device"), *rest]
    to_card = isinstance(x, Card) if name == "to" else name == "cuda"
    for place in places if name == "to" else ():
        if isinstance(place, torch.Tensor):
            to_card = isinstance(place, Card)
        elif isinstance(place, (str, torch.device)):
            to_card = torch.device(place).type == "cuda"
    changed = to_card != isinstance(x, Card)
    with ALONE():
        rest = ["cpu" if isinstance(r, (str, torch.device)) else r for r in rest]
        kwargs = {key: "cpu" if key == "device" and value is not None else value for key, value in kwargs.items()}
        found = x.to(*rest, **kwargs) if name == "to" else x
        if changed and found is x:
            found = x.clone() if x.requires_grad else x.detach().clone()
        found = found.as_subclass(torch.Tensor) if not to_card and isinstance(found, Card) else found
    return as_card(found) if to_card else found


class Machine(TorchFunctionMode):
    """A machine with the pretend card: ``device="cuda"`` works wherever a tensor is made."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return on_card(func, args, kwargs or {})


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter's class is its place here
    with Machine():
        yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(size=(40, 5)), rng.normal(size=(40, 5)) + 6]) * [3, 2, 1, 1, 1]
Y = rng.normal(size=(80, 2)) + X[:, :2]
LABELS = np.arange(80) // 40 + (X[:, 1] > 6)
HOLES = np.where(rng.random(X.shape) < 0.2, np.nan, X)
SEED = {"random_state": 0}
MODELS = {
    "KMeans": (KMeans(3, **SEED),),
    "KMeans from an array": (KMeans(2, init=X[[0, 79]]),),
    "Memory": (Memory(),),
    "LGAE": (LGAE(2),),
    "LGAE by svd": (LGAE(2, solver="svd"),),
    "LGAE in turn": (LGAE(2, solver="alternate", **SEED),),
    "LGAE by gradient": (LGAE(2, solver="gradient", max_iter=3, **SEED),),
    "LLGAE": (LLGAE(2, 1, max_iter=20, **SEED),),
    "PPCA": (PPCA(2),),
    "PPCA by EM": (PPCA(2, solver="em", max_iter=20, **SEED),),
    "MPPCA": (MPPCA(2, 1, max_iter=20, **SEED),),
    "MPPCA, fixed prior": (MPPCA(2, 1, prior_variance=4.0, noise="own", max_iter=20, **SEED),),
    "GaussianMixture": (GaussianMixture(2, max_iter=20, **SEED),),
    "GGAE": (GGAE(2, 1, variance=4.0, max_iter=5, **SEED),),
    "SemiNMF": (SemiNMF(2, max_iter=10, **SEED),),
    "SparseCoding": (SparseCoding(8, alpha=0.5, max_iter=10, **SEED),),
    "LinearRegression": (LinearRegression(), Y),
    "LinearRegression, one column": (LinearRegression(), Y[:, 0]),
    "LogisticRegression": (LogisticRegression(), LABELS),
}
ASK = ("transform", "predict", "predict_proba", "predict_log_proba", "score_samples", "impute")
KINDS = {  # what a caller holds, and where the answers shall lie
    "NumPy": (lambda x: x, np.ndarray),
    "single precision": (lambda x: x.astype(np.float32) if x.dtype == float else x, np.ndarray),
    "a CPU tensor": (torch.tensor, torch.Tensor),
    "a tensor on the card": (lambda x: torch.tensor(x).to("cuda"), Card),
    "batches": (lambda x: [x[:30], x[30:]], np.ndarray),
    "batches on the card": (lambda x: [torch.tensor(x[:30]).cuda(), torch.tensor(x[30:]).cuda()], Card),
}


@cache
def alone(name, kind):
    """The answers of a machine without the card."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        return answers(name, KINDS[kind][0])[1:]


def answers(name, of):
    """The fitted model, and what every public method says, of data of this kind."""
    model, *second = MODELS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few steps
        model = deepcopy(model).fit(*map(of, (X, *second)))
    found = {
        method: getattr(model, method)(of(HOLES if method == "impute" else X))
        for method in ASK
        if hasattr(model, method)
    }
    numbers = {"score": model.score(*map(of, (X, *second)))}
    if second:
        found["score of pairs"] = model.score_samples(*map(of, (X, *second)))
    if hasattr(model, "inverse_transform"):
        found["decoded"] = model.inverse_transform(found["transform"])
    if hasattr(model, "sample"):
        found["sample"] = model.sample(5, random_state=0)
    return model, found, numbers


def home(value):
    return value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_on_a_machine_with_a_card(name, kind, machine):
    of, where = KINDS[kind]
    model, found, numbers = answers(name, of)
    others, other_numbers = alone(name, "single precision" if kind == "single precision" else "NumPy")
    bound = 1e-3 if kind == "single precision" else 1e-6
    for (what, one), other in zip((found | numbers).items(), (others | other_numbers).values(), strict=True):
        assert np.abs(home(one) - home(other)).max() <= bound * (1 + np.abs(home(other)).max()), what
        assert type(one) is where or what == "score", what
    for what, tensor in model.joint_.state_dict().items():
        assert isinstance(tensor, Card) == (where is Card), f"joint_.{what} is left behind on another device"
    for what, value in vars(model).items():
        assert not isinstance(value, Card) or where is Card, what
        assert not torch.is_tensor(value) or where is not np.ndarray, what
    again = pickle.loads(pickle.dumps(model)) if where is not Card else model
    assert np.allclose(home(again.score_samples(of(X))), home(found["score_samples"]))


def test_the_work_is_done_on_the_card(machine):
    seen = []

    class Watched(core.Exact):
        def __call__(self, joint, x):
            seen.append((type(x), type(joint.means)))
            return super().__call__(joint, x)

    model = KMeans(2, random_state=0)
    model.infer = Watched()
    model.fit(X).score(X)
    assert len(seen) > 2 and set(seen) == {(Card, Card)}
    model.set_params(device="cpu").score(X)
    assert seen[-1] == (torch.Tensor, torch.Tensor)


def test_counts_on_the_card(machine):
    counts, found = np.abs(X).round(), []
    for device in ("cuda", "cpu"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few steps
            model = NMF(2, beta_loss="kullback-leibler", max_iter=10, device=device, **SEED).fit(counts)
        found.append((model.components_, model.transform(counts)))
    for one, other in zip(*found):
        assert np.abs(one - other).max() < 1e-9 * np.abs(other).max()


def test_the_last_line_of_the_readme(machine):
    digits, _ = data.digits()
    km = KMeans(n_clusters=10, max_iter=3, tol=1e9, random_state=0).fit(digits)
    codes = km.transform(digits)
    assert type(km.inverse_transform(codes)) is np.ndarray
    history = core.alternate(km.joint_, [torch.tensor(digits)], core.Soft(T=1.0), steps=3)
    assert history[-1] > history[0] and km.score(digits) > -1e4


def test_fitted_on_the_card_and_asked_from_the_cpu(machine):
    model = PPCA(2).fit(torch.tensor(X).cuda())
    asked = model.transform(X)
    assert type(asked) is np.ndarray and np.allclose(asked, PPCA(2).fit(X).transform(X))
    assert isinstance(model.joint_.mean, Card) and isinstance(model.components_, Card)


def test_the_pretend_card_refuses_to_mix(machine):
    """The tests above can fail: the pretend card is as strict as CUDA."""
    here, there = torch.ones(3), torch.ones(3, device="cuda")
    assert there.is_cuda and there.device == CARD and not here.is_cuda and isinstance(there * 2, Card)
    assert type(there.cpu()) is torch.Tensor and isinstance(here.to(there), Card) and isinstance(there[:1], Card)
    assert (there + torch.tensor(1.0)).sum() == 6 and isinstance(there[torch.tensor([0])], Card)
    for wrong in (
        lambda: here + there,
        lambda: torch.cat([here, there]),
        lambda: there @ here,
        lambda: there.numpy(),
        lambda: np.asarray(there),
        lambda: torch.randn(3, generator=torch.Generator(), device="cuda"),
        lambda: here[there.long()],
    ):
        with pytest.raises((RuntimeError, TypeError)):
            wrong()


def test_a_model_that_mixes_is_found(machine, monkeypatch):
    monkeypatch.setattr("gaelib.rows.at", lambda device, joint: warnings.catch_warnings())  # nothing is moved any more
    with pytest.raises(RuntimeError, match="same device"):
        LGAE(2).fit(X).transform(X)
