"""What the files of tests/models say of their models, gathered for the tests that go over every model.

ESTIMATORS  instances for scikit-learn's checks; EXCEPTIONS {class: {check: reason}} names those that cannot hold
FUNCTIONS   public functions that stand for a model
JOINTS      name -> (make a joint, make its data, who answers its max exactly): the contract of tests/test_core.py
BAD         what is done -> (do it, the error, what its message must say: numbers and cause | remedy)
ALONE       {name: why no other library can be the reference, and what is tested instead}; the others call `parity`
UNBOUND     {joint: why the contract does not apply}
CHECKS      {ledger id: check}, as in tests/test_ledger.py
DEVICES     what is asked on a pretend card and on a real one, by tests/devices.py: name -> (estimator, X, targets...), or
            a function of ``of``, which makes an array the caller's kind, and of ``device``: {what: answer}
DRAWS       {a name of those: why a card answers otherwise than a CPU}
UNPRETENDED {a name of those: why the pretend card cannot do it}

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

rng = np.random.default_rng(0)  # two clouds, with targets, classes and the places of holes, for DEVICES
CLOUDS = np.concatenate([rng.normal(size=(40, 5)), rng.normal(size=(40, 5)) + 6]) * [3, 2, 1, 1, 1]
TARGETS = rng.normal(size=(80, 2)) + CLOUDS[:, :2]
CLASSES = np.arange(80) // 40 + (CLOUDS[:, 1] > 6)
HOLED = rng.random(CLOUDS.shape) < 0.2
SEED = {"random_state": 0}


def module(name):
    pytest.register_assert_rewrite(name)
    return importlib.import_module(name)


def gather(what, named=False):
    """One list or one dict of what every file exports; keys that two files may share begin with the file's name."""
    found = {name: value for name in NAMES if (value := getattr(module(name), what, None))}
    if not any(isinstance(value, dict) for value in found.values()):
        return [item for value in found.values() for item in value]
    return {f"{name}: {key}" if named else key: row for name, rows in found.items() for key, row in rows.items()}
