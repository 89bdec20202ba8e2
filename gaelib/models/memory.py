"""Memory: as many codes as data points, the limit of k-means that learns nothing (ledger E3-E5)."""

import torch

from ..flats import Flats
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
    Search is exact, in memory bounded whatever N; `predict` gives the row number of the nearest neighbour, the
    first of equals.  Under ``torchrun`` each process would know only its own shard, so several processes are refused.

    Examples
    --------
    >>> Memory().fit([[0.0], [5.0]]).predict([[4.0]])
    array([1])
    """

    def __init__(self, *, device="auto"):
        self.device = device

    random_state, verbose = 0, 0  # nothing is drawn, nothing is waited for

    def _check(self, n, width):
        if rank_and_size()[1] > 1:
            raise ValueError(f"Memory keeps all rows in 1 process, got {rank_and_size()[1]}: fit it in one")

    def _start(self, data, generator):
        return Flats(torch.cat(list(data)))

    def _learn(self, joint, data, history):
        history.append(self._objective(joint, data))

    def _rising(self):
        return False

    def _finish(self, data):
        pass
