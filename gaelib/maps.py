"""What the maps share: rows that are compared with each other, of which each gets a place."""

from typing import Any

from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from .estimator import Fitting
from .parallel import rank_and_size
from .rows import Array, Table


class Map(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Fitting):
    """A fit that compares all its rows, in one process, and gives each a place; of other rows it says nothing.

    A subclass has ``n_components``, and leaves the places in ``embedding_``.
    """

    @property
    def _n_features_out(self):
        return self.embedding_.shape[1]

    def fit_transform(self, X: Table, y: Any = None) -> Array:
        """Fit, and give the map: (n, D) -> (n, d)."""
        return self.fit(X).embedding_

    def _check(self, n, width):
        if (size := rank_and_size()[1]) > 1:
            raise ValueError(f"{type(self).__name__} compares all rows in 1 process, got {size}: fit it in one")
