"""gaelib: one objective, ``max_z log q_w(z) + log q_r(x|z)``, and its special cases.

The public names stand in ``__init__.pyi``; `make run` writes it from the ``__all__`` of every model. A name is
imported when it is first asked for: ``import gaelib`` costs nothing.
"""

import ast
import importlib
import importlib.abc
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

__version__ = version("generative-autoencoders")

MOVED = {  # addresses of older versions, which published notebooks and pickles still use
    "gaelib.eigen": "gaelib.solvers.eigen",
    "gaelib.flats": "gaelib.joints.flats",
    "gaelib.models.activation": "gaelib.pictures.activation",
    "gaelib.models.image_prior": "gaelib.pictures.image_prior",
    "gaelib.pairs": "gaelib.supervised",
    "gaelib.screen": "gaelib.solvers.pruning",
    "gaelib.solvers.screen": "gaelib.solvers.pruning",
    "gaelib.terms": "gaelib.pictures.targets",
}

_EXPORTS = {  # public name -> the module that it comes from; None for a module
    alias.asname or alias.name: statement.module
    for statement in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(statement, ast.ImportFrom)
    for alias in statement.names
}
_EXPORTS |= {name: None for name in _EXPORTS if f"{__name__}.{name}" in MOVED}
__all__ = sorted(_EXPORTS)


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under its old address; it is the same module."""

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name in MOVED else None

    def create_module(self, spec):
        module = importlib.import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state  # it keeps its own name


sys.meta_path.append(_Moved())


def __getattr__(name):
    origin = _EXPORTS.get(name)
    address = f"{__name__}.{origin or name}"
    try:
        module = importlib.import_module(address)
    except ModuleNotFoundError as error:
        if error.name != address:
            raise  # something that the module needs is missing
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(module, name) if origin else module


def __dir__():
    return sorted({*globals(), *__all__})
