"""Every public estimator beside a reference, or a named reason why there is none: what book/parity.md shows."""

import json

import gaelib
import pytest
import registry
import torch

ALONE = registry.gather("ALONE")


@pytest.mark.parametrize("name", ALONE)
def test_a_reason_goes_to_the_page(name, record_property):
    """That every model has a reference or a reason: test_models.py."""
    record_property("parity", json.dumps({"model": name, "reason": ALONE[name]}))
    assert hasattr(gaelib, name) and len(ALONE[name]) > 60


def test_a_difference_beyond_its_bound_fails_and_is_written_down(parity, request):
    with pytest.raises(AssertionError, match=r"Nobody: words differs from torch .*, Tensor by 3\.0e\+00 > 2e\+00"):
        parity("Nobody", torch.Tensor, "words", 3, 2)
    name, row = request.node.user_properties.pop()
    assert name == "parity" and json.loads(row)["difference"] == 3
