"""Every model is complete: a row in each contract, a table of bad input, ledger ids, a reference, or a reason why not."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import gaelib
import pytest
import registry
import yaml
from gaelib.core import Joint
from sklearn.base import BaseEstimator

ROOT = Path(__file__).parents[1]
HELPERS = {"CheckFailed", "check", "checkpoint", "compare", "explain", "glue", "resume"}  # public, and no model
PUBLIC = [name for name in gaelib.__all__ if not inspect.ismodule(getattr(gaelib, name)) and name not in HELPERS]
CALL = re.compile(r"\bparity\(\s*(\w+)\s*,")
LEDGER = re.compile(r"\(ledger ([^)]+)\)")


def home(name):
    """The test file of a public name: that of the module which defines it."""
    return getattr(gaelib, name).__module__.rpartition(".")[2]


def lacks(name):
    """What a public estimator or function has not got."""
    thing, home_ = getattr(gaelib, name), home(name)
    if home_ not in registry.NAMES:
        return {f"tests/models/{home_}.py"}
    tests, missing = registry.module(home_), set()
    if inspect.isclass(thing) and issubclass(thing, BaseEstimator):
        if thing not in map(type, getattr(tests, "ESTIMATORS", ())):
            missing.add("an instance in ESTIMATORS")
    elif thing not in getattr(tests, "FUNCTIONS", ()):
        missing.add("its name in FUNCTIONS")
    rows = getattr(tests, "DEVICES", {})
    if name not in rows and thing not in [type(row[0]) for row in rows.values() if not callable(row)]:
        missing.add("a row in DEVICES")
    if not getattr(tests, "BAD", None):
        missing.add("a table BAD")
    if (name in CALL.findall(Path(tests.__file__).read_text(encoding="utf-8"))) == (
        name in getattr(tests, "ALONE", {})
    ):
        missing.add("a call of parity, or a reason in ALONE")
    if not ledger_ids(thing.__module__):
        missing.add("(ledger …) in the docstring of its module")
    return missing


def ledger_ids(module):
    said = LEDGER.search(importlib.import_module(module).__doc__)
    return re.findall(r"[A-Z]\d+\w?", said[1]) if said else []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_complete(name):
    missing = " and ".join(sorted(lacks(name)))
    assert not missing, f"{name} lacks {missing}: see tests/registry.py for the form, tests/models/{home(name)}.py"


def test_every_model_has_its_file():
    models = {path.stem for path in (ROOT / "gaelib" / "models").glob("*.py")} - {"__init__"}
    assert not (alone := models - set(registry.NAMES)), f"without a file in tests/models: {alone}"
    assert len(models) >= 9
    for name in models:
        assert hasattr(importlib.import_module(f"gaelib.models.{name}"), "__all__"), (
            f"gaelib/models/{name}.py: say __all__"
        )


def test_ledger_ids_are_rows():
    rows = {row["id"] for row in yaml.safe_load((ROOT / "book/ledger.yml").read_text(encoding="utf-8"))["rows"]}
    known = {part for id in rows for part in id.split("-")}
    for name in PUBLIC:
        unknown = set(ledger_ids(getattr(gaelib, name).__module__)) - known
        assert not unknown, f"{name}: {unknown} of its module's docstring are no rows of book/ledger.yml"


def joints():
    for info in pkgutil.walk_packages(gaelib.__path__, "gaelib."):
        for thing in vars(importlib.import_module(info.name)).values():
            if (
                inspect.isclass(thing)
                and issubclass(thing, Joint)
                and thing.__module__ == info.name
                and thing is not Joint
            ):
                yield thing.__name__


def test_every_joint_keeps_the_contract_or_says_why_not():
    from test_core import JOINTS

    kept = {base.__name__ for make, *_ in JOINTS.values() for base in type(make()).__mro__}
    unkept, excused = set(joints()) - kept, set(registry.gather("UNBOUND"))
    assert unkept == excused, (
        f"no row in JOINTS: {unkept - excused}; no use for a reason in UNBOUND: {excused - unkept}"
    )
