"""Ctrl-C at any line of a fit leaves a whole fit, or none."""

import sys
from collections import Counter

import numpy as np
import pytest
import registry
from gaelib import LGAE, PPCA
from sklearn.base import clone

MODELS = [*registry.gather("ESTIMATORS"), *(LGAE(1, solver=name) for name in ("svd", "alternate", "gradient"))]
MODELS += [PPCA(1, solver="em")]
FEW = {"max_iter": 2, "max_epochs": 1, "hidden": (2,), **registry.SEED}
LEARN = ("_learn", "_solve", "_explain", "_climb", "_ascend", "_keep", "_finish")
X = np.abs(np.random.default_rng(0).normal(size=(16, 3)) + 6 * (np.arange(16) % 2)[:, None])


def traced(model, at_line):
    """A fit that calls ``at_line`` before each line of the methods that learn."""

    def enter(frame, event, arg):
        code = frame.f_code
        return line if code.co_name in LEARN and "gaelib" in code.co_filename else None

    def line(frame, event, arg):
        if event == "line":
            at_line((frame.f_code.co_filename, frame.f_lineno))
        return line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        model.fit(X, np.arange(16) % 2)
    finally:
        sys.settrace(before)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model).partition(")")[0])
def test_a_fit_that_is_interrupted_is_whole_or_none(model):
    model = clone(model)
    model.set_params(**{name: value for name, value in FEW.items() if name in model.get_params()})
    whole, lines = clone(model), Counter()
    traced(whole, lambda place: lines.update([place]))
    assert lines

    def interrupt(place):
        if place == here:
            raise KeyboardInterrupt

    for here in lines:
        cut = clone(model)
        with pytest.raises(KeyboardInterrupt):
            traced(cut, interrupt)
        assert set(vars(cut)) in (set(vars(model)), set(vars(whole))), here
