"""Memory: as many codes as data points, the limit of k-means that learns nothing (ledger E3-E5, L18)."""

__all__ = ["Memory"]

from math import log, pi

import torch

from ..core import Exact, Soft
from ..hyper import hyper, number
from ..joints.flats import Flats
from ..parallel import rank_and_size
from ..rows import Array, Table
from .kmeans import Codebook


@hyper
class Memory(Codebook):
    """The autoencoder that stores every training row and decodes a new one as its nearest neighbour.

    Parameters
    ----------
    temperature : float
        T, in nats.  Above 0 the code is the whole posterior, ``softmax(-||x - x_n||^2 / T)``, and decodes to its mean:
        one read of a modern Hopfield network with beta = 2 / T, if the rows are equally long (Ramsauer et al., 2021).
    device : str
        As in `KMeans`.

    Attributes
    ----------
    joint_ : Flats
        ``joint_.means`` are the training rows, (N, D).
    history_, n_iter_
        As in `KMeans`: the score of the rows themselves, once.

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

    _chapter = "cases/memory"
    _moves = "nothing: the rows are the parameters"

    temperature: float = number(0.0, "temperature=0 for the nearest row", closed=True)
    random_state, verbose = 0, 0  # nothing is drawn, nothing is waited for

    @property
    def infer(self) -> Exact | Soft:
        """The nearest row, or at T > 0 all of them."""
        return Soft(T) if (T := self._T) else Exact()

    @property
    def _T(self):  # of the fit
        return self._of_fit("temperature")

    def _check(self, n, width):
        if rank_and_size()[1] > 1:
            raise ValueError(f"Memory keeps all rows in 1 process, got {rank_and_size()[1]}: fit it in one")

    def _start(self, data, generator):
        return Flats(torch.cat(list(data)))

    def _learn(self, joint, data, history):
        if self._T:
            history.append(self._objective(joint, data))
            return True
        # Every stored row finds itself at distance 0: looking for it would cost N^2 D operations.
        N, D = joint.means.shape
        history.append(-log(N) - 0.5 * D * log(2 * pi * joint.variance))
        return True

    def _finish(self, data):
        pass

    def transform(self, X: Table) -> Array:
        """The code: (n, D) -> (n, N), one-hot, or at T > 0 weights of sum 1."""
        if not self._T:
            return super().transform(X)
        return self._open(X).map(lambda x: self.infer(self.joint_, x)[0][0].to(self.joint_.means))
