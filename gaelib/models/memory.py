"""Memory: as many codes as data points, the limit of k-means that learns nothing (ledger E3-E5)."""

__all__ = ["Memory"]

from math import log, pi

import torch

from ..joints.flats import Flats
from ..parallel import rank_and_size
from .kmeans import Codebook


class Memory(Codebook):
    """The autoencoder that stores every training row and decodes a new one as its nearest neighbour.

    Parameters
    ----------
    device : str
        As in `KMeans`.

    Attributes
    ----------
    joint_ : Flats
        ``joint_.means`` are the training rows, (N, D).

    Notes
    -----
    Search is exact, in memory bounded whatever N; `predict` gives the row number of the nearest neighbour; of
    copies the first, while rounding decides between other rows at equal distance.  Under ``torchrun`` each
    process would know only its own shard, so several processes are refused.

    Examples
    --------
    >>> Memory().fit([[0.0], [5.0]]).predict([[4.0]])
    array([1])
    """

    random_state, verbose = 0, 0  # nothing is drawn, nothing is waited for

    def _check(self, n, width):
        if rank_and_size()[1] > 1:
            raise ValueError(f"Memory keeps all rows in 1 process, got {rank_and_size()[1]}: fit it in one")

    def _start(self, data, generator):
        return Flats(torch.cat(list(data)))

    def _learn(self, joint, data, history):
        # Every stored row finds itself at distance 0: looking for it would cost N^2 D operations.
        N, D = joint.means.shape
        history.append(-log(N) - 0.5 * D * log(2 * pi * joint.variance))
        return True

    def _finish(self, data):
        pass
