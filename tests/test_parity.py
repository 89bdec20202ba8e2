"""Every public estimator beside a reference, or a named reason why there is none: what book/parity.md shows."""

import json
import re
from pathlib import Path

import gaelib
import pytest
import torch
from sklearn.base import BaseEstimator

ESTIMATORS = [n for n in gaelib.__all__ if isinstance(c := getattr(gaelib, n), type) and issubclass(c, BaseEstimator)]
CALL = re.compile(r"\bparity\(\s*(\w+)\s*,")
ALONE = {  # estimator -> why no reference exists, and what its tests do instead
    "GGAE": "No other library has Gaussian-kernel codes. With little noise its centres are those of KMeans, and its slopes are "
    "those of automatic differentiation; both are tested.",
}


def compared():
    """The models that the tests name in a call of the fixture `parity`."""
    tests = Path(__file__).parent
    paths = [*tests.glob("test_*.py"), *tests.glob("models/*.py")]
    return {name for path in paths for name in CALL.findall(path.read_text())}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_has_a_reference_or_a_reason(name, record_property):
    if name in ALONE:
        record_property("parity", json.dumps({"model": name, "reason": ALONE[name]}))
    assert (name in compared()) != (name in ALONE), f"call parity({name}, …) in a test, or say in ALONE why not"


def test_reasons_are_for_estimators():
    assert set(ALONE) <= set(ESTIMATORS) and {"KMeans", "LGAE"} <= set(ESTIMATORS)


def test_a_difference_beyond_its_bound_fails_and_is_written_down(parity, request):
    with pytest.raises(AssertionError, match=r"Nobody: words differs from torch .*, Tensor by 3\.0e\+00 > 2e\+00"):
        parity("Nobody", torch.Tensor, "words", 3, 2)
    name, row = request.node.user_properties.pop()
    assert name == "parity" and json.loads(row)["difference"] == 3
