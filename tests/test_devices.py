"""Other devices, tested without one: a pretend card computes on the CPU, claims to be CUDA and refuses to mix.

On a machine with CUDA everything a reader does with a CPU array or tensor works, ``joint_`` included: the work is done
on the card, and what is left behind lives where the caller's data live.
"""

import itertools
import pickle
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import cache, partial

import numpy as np
import pytest
import registry
import torch
from devices import ROWS, SEARCH, UNPRETENDED, answers, home, placed
from gaelib import LGAE, PPCA, KMeans, core, data
from gaelib.rows import Rows
from sklearn.base import clone
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
    if name == "__deepcopy__" and isinstance(args[0], Card):
        twin = args[1].setdefault(id(args[0]), args[0].detach().clone().requires_grad_(args[0].requires_grad))
        vars(twin).update(vars(args[0]))  # a parameter stays one
        return twin
    if name in ("to", "cpu", "cuda"):
        return move(func, name, args, kwargs)
    if name in ("numpy", "__array__", "from_numpy") and cards:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
    if name not in QUIET | MOVES and cards:
        others = [x for x in flat if not isinstance(x, Card) and (x.ndim or name in ("cat", "stack", "index_copy"))]
        if others and not (name in INDEXED and isinstance(args[0], Card)):
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found cuda:0 and cpu")
        if name != "where" and sum(not isinstance(x, Card) and not x.ndim for x in flat) > 1:
            raise RuntimeError(f"{name}: Trying to pass too many CPU scalars to non-CPU kernel!")
    generator = kwargs.get("generator")
    to_card = bool(cards) if asked is None else torch.device(asked).type == "cuda"
    if generator is not None and to_card != isinstance(generator, CardGenerator):
        raise RuntimeError("the generator and what it draws are on two devices")
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


ALONE_GENERATOR = torch.Generator


class CardGenerator(ALONE_GENERATOR):
    """Random numbers on the CPU or, so that none are used for the other, on the pretend card."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls if torch.device(device).type == "cuda" else ALONE_GENERATOR)


class Machine(TorchFunctionMode):
    """A machine with the pretend card: ``device="cuda"`` works wherever a tensor is made."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return on_card(func, args, kwargs or {})


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "Generator", CardGenerator)
    monkeypatch.setattr("gaelib.models.generators.SEARCH", SEARCH)
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter's class is its place here
    with Machine():
        yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


X = registry.CLOUDS
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
        return answers(name, KINDS[kind][0])[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(set(ROWS) - set(UNPRETENDED)))
def test_on_a_machine_with_a_card(name, kind, machine):
    of, where = KINDS[kind]
    if callable(ROWS[name]) and "batches" in kind:
        pytest.skip("a function of arrays")
    model, found = answers(name, of)
    others, bound = alone(name, kind if kind == "single precision" else "NumPy"), 1e-6
    if kind == "single precision" or hasattr(model, "max_epochs") or name == "TSNE":
        bound = 1e-3  # steps in float32
    assert found.keys() == others.keys()
    for what, one in found.items():
        assert np.abs(home(one) - home(others[what])).max() <= bound * (1 + np.abs(home(others[what])).max()), what
        assert placed(what, one, where), what
    if model is None:
        return
    for what, tensor in model.joint_.state_dict().items():
        assert isinstance(tensor, Card) == (where is Card), f"joint_.{what} is left behind on another device"
    for what, value in vars(model).items():
        assert not isinstance(value, Card) or where is Card, what
        assert not torch.is_tensor(value) or where is not np.ndarray or what.startswith("_"), what
    if where is not Card and "score_samples" in found:
        again = pickle.loads(pickle.dumps(model)).score_samples(of(ROWS[name][1]))
        assert np.allclose(home(again), home(found["score_samples"]))


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


def test_a_fit_moves_its_rows_once(machine, monkeypatch):
    moved, tensor = [], Rows._tensor

    def watched(rows, part):
        moved.append(0 if isinstance(part, Card) else len(part))
        return tensor(rows, part)

    monkeypatch.setattr(Rows, "_tensor", watched)
    for most, times in ((X.size, 1), (X.size - 1, 4)):  # what a card may keep
        monkeypatch.setattr("gaelib.rows.STAY", most)
        moved.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few steps
            PPCA(2, solver="em", max_iter=5, random_state=0).fit(X)
        assert (sum(moved) == len(X)) if times == 1 else (sum(moved) >= times * len(X))


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
        lambda: torch.addcmul(torch.tensor(1.0), there, torch.tensor(2.0)),
        lambda: here[there.long()],
    ):
        with pytest.raises((RuntimeError, TypeError)):
            wrong()


# --- What else a caller, or another thread, has set --------------------------------------------------------


@contextmanager
def wide_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def short_and_elsewhere():
    with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
        yield


SET = {
    "no gradients": torch.no_grad,
    "inference alone": torch.inference_mode,
    "float64 by default": wide_by_default,
    "bfloat16 for layers, and another device by default": short_and_elsewhere,
}


@pytest.mark.parametrize("name", ROWS)
def test_what_a_caller_has_set_changes_no_answer(name):
    of = partial(torch.tensor, device="cpu")
    wanted, state = answers(name, of)[1], torch.get_rng_state()
    for what, setting in SET.items():
        if name == "activate" and what != "no gradients":
            continue  # its network too would be made there, and is another
        with setting():
            found = answers(name, of)[1]
        for each, value in found.items():
            assert np.allclose(home(value), home(wanted[each]), rtol=1e-6, atol=1e-7, equal_nan=True), (what, each)
            assert not torch.is_tensor(value) or not value.requires_grad, (what, each)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore")  # what threads warn of is not told apart
@pytest.mark.parametrize("name", [name for name in ROWS if name != "activate"])
def test_fits_side_by_side_do_not_see_each_other(name, monkeypatch):
    """Threads change as often as Python lets them, and at every layer."""
    wanted, reset = answers(name, np.asarray)[1], torch.nn.Linear.reset_parameters
    monkeypatch.setattr("gaelib.models.generators.SEARCH", SEARCH)
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda layer: time.sleep(1e-3) or reset(layer))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda _: answers(name, np.asarray)[1], range(3)))
    finally:
        sys.setswitchinterval(before)
    for one, (what, value) in itertools.product(found, wanted.items()):
        assert np.allclose(one[what], value, rtol=1e-6, atol=1e-7, equal_nan=True), what


@pytest.mark.parametrize(
    "model",
    [model for model in registry.gather("ESTIMATORS") if "decoder" in model.get_params()],
    ids=lambda model: type(model).__name__,
)
def test_layers_that_draw_draw_by_random_state(model):
    dropout = torch.nn.Sequential(
        torch.nn.Linear(model.n_components or 5, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 5)
    )
    model = clone(model).set_params(
        decoder=dropout, random_state=0, **({"tied": False} if hasattr(model, "tied") else {})
    )
    state, fits = torch.get_rng_state(), [deepcopy(model).fit(registry.CLOUDS).history_ for _ in range(2)]
    assert fits[0] == fits[1] and torch.equal(state, torch.get_rng_state())


def test_a_model_that_mixes_is_found(machine, monkeypatch):
    monkeypatch.setattr("gaelib.rows.at", lambda device, joint: warnings.catch_warnings())  # nothing is moved any more
    with pytest.raises(RuntimeError, match="same device"):
        LGAE(2).fit(X).transform(X)
