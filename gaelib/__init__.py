"""gaelib: one objective, ``max_z log q_w(z) + log q_r(x|z)``, and its special cases."""

import importlib
import importlib.abc
import importlib.util
import sys
from importlib.metadata import version

from . import core, data, noise, parallel, pictures, plot
from .joints import flats
from .models.ggae import GGAE
from .models.kmeans import KMeans
from .models.lgae import LGAE
from .models.llgae import LLGAE
from .models.memory import Memory
from .models.mppca import MPPCA, GaussianMixture
from .models.ppca import PPCA
from .models.regression import LinearRegression, LogisticRegression
from .pictures import targets as terms
from .pictures.activation import activate
from .pictures.image_prior import deep_image_prior
from .verify import CheckFailed, check, glue

__version__ = version("generative-autoencoders")
__all__ = [
    "GGAE",
    "LGAE",
    "LLGAE",
    "MPPCA",
    "PPCA",
    "CheckFailed",
    "GaussianMixture",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "Memory",
    "activate",
    "check",
    "core",
    "data",
    "deep_image_prior",
    "flats",
    "glue",
    "noise",
    "parallel",
    "pictures",
    "plot",
    "terms",
]

MOVED = {  # addresses of older versions, which published notebooks and pickles still use
    "gaelib.eigen": "gaelib.solvers.eigen",
    "gaelib.flats": "gaelib.joints.flats",
    "gaelib.models.activation": "gaelib.pictures.activation",
    "gaelib.models.image_prior": "gaelib.pictures.image_prior",
    "gaelib.pairs": "gaelib.supervised",
    "gaelib.screen": "gaelib.solvers.pruning",
    "gaelib.terms": "gaelib.pictures.targets",
}


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
