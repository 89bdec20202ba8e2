"""gaelib: one objective, ``max_z log q_w(z) + log q_r(x|z)``, and its special cases."""

from importlib.metadata import version

from . import core, data, flats, noise, parallel, plot
from .models.kmeans import KMeans
from .verify import CheckFailed, check

__version__ = version("gaelib")
__all__ = ["CheckFailed", "KMeans", "check", "core", "data", "flats", "noise", "parallel", "plot"]
