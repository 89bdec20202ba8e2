"""gaelib: one objective, ``max_z log q_w(z) + log q_r(x|z)``, and its special cases."""

from importlib.metadata import version

from . import core, data, flats, noise, parallel, pictures, plot, terms
from .models.activation import activate
from .models.ggae import GGAE
from .models.image_prior import deep_image_prior
from .models.kmeans import KMeans
from .models.lgae import LGAE
from .models.llgae import LLGAE
from .models.memory import Memory
from .models.mppca import MPPCA, GaussianMixture
from .models.ppca import PPCA
from .models.regression import LinearRegression, LogisticRegression
from .verify import CheckFailed, check

__version__ = version("gaelib")
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
    "noise",
    "parallel",
    "pictures",
    "plot",
    "terms",
]
