"""What the files of tests/models say of their models, gathered for the tests that go over every model.

ESTIMATORS  instances for scikit-learn's checks; EXCEPTIONS {class: {check: reason}} names those that cannot hold
FUNCTIONS   public functions that stand for a model
JOINTS      name -> (make a joint, make its data, who answers its max exactly): the contract of tests/test_core.py
BAD         what is done -> (do it, the error, what its message must say: numbers and cause | remedy)
ALONE       {name: why no other library can be the reference, and what is tested instead}; the others call `parity`
UNBOUND     {joint: why the contract does not apply}
CHECKS      {ledger id: check}, as in tests/test_ledger.py

The ledger's ids are those of the model's own docstring.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

MODELS = Path(__file__).parent / "models"
sys.path.insert(0, str(MODELS))
NAMES = sorted(path.stem for path in MODELS.glob("*.py"))

X = np.arange(40.0).reshape(10, 4)
HOLE = np.where(np.arange(40).reshape(10, 4) == 13, np.nan, X)
ENDLESS = np.where(np.arange(40).reshape(10, 4) == 39, np.inf, X)
LABELS = np.arange(10) % 2


def module(name):
    pytest.register_assert_rewrite(name)
    return importlib.import_module(name)


def gather(what, named=False):
    """One list or one dict of what every file exports; keys that two files may share begin with the file's name."""
    found = {name: value for name in NAMES if (value := getattr(module(name), what, None))}
    if not any(isinstance(value, dict) for value in found.values()):
        return [item for value in found.values() for item in value]
    return {f"{name}: {key}" if named else key: row for name, rows in found.items() for key, row in rows.items()}
