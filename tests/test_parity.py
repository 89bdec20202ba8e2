"""Every public model beside a reference, or a named reason why there is none: what book/parity.md shows."""

import json
import re
from pathlib import Path

import account
import pytest
import torch

ROOT = Path(__file__).parents[1]
CALL = re.compile(r"\bparity\(\s*(\w+)\s*,")
ALONE = {  # model -> why no reference exists, and what its tests do instead
}


def compared():
    """The models that the tests name in a call of the fixture `parity`."""
    return {name for path in Path(__file__).parent.glob("test_*.py") for name in CALL.findall(path.read_text())}


@pytest.mark.parametrize("model", account.models(ROOT))
def test_every_model_has_a_reference_or_a_reason(model, record_property):
    assert (model in compared()) != (model in ALONE), f"{model}: call parity({model}, …) in a test, or say in ALONE why not"
    if model in ALONE:
        record_property("parity", json.dumps({"model": model, "reason": ALONE[model]}))


def test_reasons_are_for_models():
    assert set(ALONE) <= set(account.models(ROOT)) and {"KMeans", "LGAE"} <= set(account.models(ROOT))


def test_a_difference_beyond_its_bound_fails_and_is_written_down(parity, request):
    with pytest.raises(AssertionError, match=r"Nobody: words differs from torch .*, Tensor by 3\.0e\+00 > 2e\+00"):
        parity("Nobody", torch.Tensor, "words", 3, 2)
    name, row = request.node.user_properties.pop()
    assert name == "parity" and json.loads(row)["difference"] == 3
