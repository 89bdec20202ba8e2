"""book/api.md is what gaelib's docstrings say, and every public name is on it."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import gaelib
import numpy as np
import pytest
import registry
from sklearn.base import clone

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import api

DOC = """Sum of ``x`` over D, as `api.page` says; *not* (n,*X) of F_T [1]_.

    a line of its own

Goes on, with :math:`x^2`:

- one
  item
- another, see `dict`

Parameters
----------
x, y : tensor (n, D)
    What is added.
flag : bool

Returns
-------
tensor (n,), nats

Raises
------
ValueError
    With both numbers.

Notes
-----
.. math:: a = b

References
----------
.. [1] Lloyd (1982).

Examples
--------
First:

>>> 1 + 1
2
"""
PAGE = r"""Sum of `x` over D, as [`api.page`](#api-page) says; *not* (n,\*X) of F\_T [1].

```text
a line of its own
```

Goes on, with $x^2$:

- one item
- another, see `dict`

**Parameters**

`x`, `y`
: *tensor (n, D).* What is added.

`flag`
: *bool.*

**Returns**

tensor (n,), nats

**Raises**

`ValueError`
: With both numbers.

**Notes**

$$
a = b
$$

**References**

- Lloyd (1982).

**Examples**

First:

```python
>>> 1 + 1
2
```"""


def test_a_docstring_in_markdown():
    assert api.markdown(DOC, {"page": "api-page"}) == PAGE


def test_the_page_is_in_step():
    assert api.PAGE.read_text(encoding="utf-8") == api.page(), "a docstring changed: run tools/api.py"


def test_the_public_names_are_in_step():
    assert api.STUB.read_text(encoding="utf-8") == api.exports(), "a model's __all__ changed: run tools/api.py"


def test_a_name_is_imported_when_it_is_asked_for():
    heavy = "assert not {'matplotlib', 'skimage', 'pooch'} & set(sys.modules)"
    code = f"import sys, gaelib; assert 'torch' not in sys.modules; from gaelib import KMeans, LLGAE, data; {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = gaelib.Nothing
    assert {"KMeans", "core", "MOVED"} <= set(dir(gaelib))


def test_the_page_begins_with_what_is_imported_and_has_no_words_of_others():
    text = api.PAGE.read_text(encoding="utf-8")
    first = re.findall(r"^- \[`gaelib\.(\w+)`\]\(#(api-[\w-]+)\): \S", text.split("## `gaelib.core`")[0], flags=re.M)
    assert {name for name, _ in first} == set(gaelib.__all__)
    assert [where for _, where in first if f"({where})=" not in text] == []
    assert re.findall(r"\.\. \w+::|User Guide", text) == []  # a docstring that scikit-learn wrote


def test_every_public_name_is_on_the_page():
    text = api.PAGE.read_text(encoding="utf-8")
    for name in gaelib.__all__:
        thing = getattr(gaelib, name)
        line = f"## `{thing.__name__}`" if inspect.ismodule(thing) else f"### `{name}`"
        assert f"\n{line}\n" in text, name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", registry.gather("ESTIMATORS"), ids=lambda model: type(model).__name__)
def test_a_docstring_names_every_hyperparameter_and_every_attribute_and_no_other(model):
    parts = re.split(r"\n(\w+)\n-{5,}\n", inspect.getdoc(type(model)))
    told = {
        head: set(re.findall(r"\w+", " ".join(line.split(" : ")[0] for line in text.splitlines() if line[:1].strip())))
        for head, text in zip(parts[1::2], parts[2::2])
    }
    assert told.get("Parameters", set()) == model.get_params().keys()
    rows = np.abs(registry.CLOUDS[::4])
    found = vars(clone(model).fit(rows, registry.CLASSES[::4]))
    found = {name for name in found if name[-1] == "_" and name not in ("n_features_in_", "shape_")}
    if "Attributes" in told:  # the others have those of a model that they name
        assert told["Attributes"] == found


def test_anchors_are_unique_whatever_their_case():
    anchors = [line[1:-2].lower() for line in api.PAGE.read_text(encoding="utf-8").splitlines()
               if line.startswith("(api-") and line.endswith(")=")]  # fmt: skip
    assert len(anchors) == len(set(anchors)) > 20


def test_nothing_on_the_page_depends_on_the_machine():
    text = api.PAGE.read_text(encoding="utf-8")
    assert " at 0x" not in text and "<function" not in text and str(Path.home()) not in text
