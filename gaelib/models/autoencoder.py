"""Neural autoencoders: a network answers the max, and a network decodes (ledger L6, L8-L15).

    autoencoder   T = 0   z = e(x)                  log q_r(x|z)
    VAE           T = 1   z ~ N(m(x), s(x)^2)       log q_r(x|z) + log N(z; 0, I), and H[q]

The encoder gives up a little of every max (the amortisation gap) and answers at once.
"""

__all__ = ["VAE", "Autoencoder"]

from dataclasses import KW_ONLY

from ..hyper import checked, count, hyper, is_word, switch
from ..networks import _Encoded, _Samples, need_share


@hyper
class Autoencoder(_Encoded):
    """Autoencoder: a network that answers ``max_z`` with one code, and one that decodes it.

    Parameters
    ----------
    n_components : int
        E, the length of the code.
    hidden : tuple of int
        Sizes of the encoder's hidden layers, in reverse the decoder's; ``()`` makes both linear.
    encoder, decoder : Module, optional
        Networks of your own, of which copies are trained: (n, *X) -> (n, E), and (n, E) -> (n, *X).  They see data from
        their mean in units of one standard deviation, and may share weights.  For the VAE the encoder gives 2 E
        numbers: means and log scales.
    noise : "gaussian", "bernoulli" or "poisson"
        For real numbers; for numbers in [0, 1], the decoder giving logits; for counts, the decoder giving log rates.
    variance : "learn" or float
        sigma^2 of the Gaussian noise, in the data's units squared.
    max_epochs, lr
        Epochs at most, and the largest step size of Adam's one cycle.
    batch_size : int or "auto"
        Rows a step; "auto" takes a 64th of the rows, at least 16 and at most 256.
    validation : float
        The share of rows held out; the state that is best on them is kept.  With 0 the last one is.
    patience : int
        Epochs without a better state after which the fit ends.
    precision : "auto", "float32" or "bfloat16"
        Of the layers while they learn; densities are in float32, and answers in the data's dtype.  "auto" takes
        bfloat16 where it pays: for rows of at least 256 columns, on a CPU that multiplies bfloat16 itself.
    random_state, device, verbose
        As in `KMeans`; ``verbose=1`` shows the held-out objective and the time left.

    Attributes
    ----------
    joint_ : Network
        Decoder, encoder and noise.
    variance_ : float
        sigma^2, in the data's units squared; None without Gaussian noise.
    history_ : list of float
        The objective of the rows held out after every epoch (without them, of the epoch's own), nats per row.
    n_iter_ : int
        Epochs.

    Notes
    -----
    The prior is flat: codes can be decoded, not sampled; `VAE` is the probabilistic twin.  Pictures may be passed as
    (n, C, H, W).  With ``hidden=()`` the best network spans the principal axes.  Ledger L6.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) @ [[3.0, 3.0, 3.0], [0.1, -0.1, 0.0]]
    >>> model = Autoencoder(1, hidden=(), lr=0.03, random_state=0).fit(X)
    >>> bool(((model.inverse_transform(model.transform(X)) - X) ** 2).mean() < 0.02)
    True
    """

    _answers = "a network, at once"


@hyper
class VAE(_Samples, _Encoded):
    """Variational autoencoder: the encoder answers with a distribution, and the objective bounds the evidence.

    Parameters
    ----------
    n_components, hidden, encoder, decoder, noise, variance, max_epochs, batch_size, lr, validation, patience, precision
        As in `Autoencoder`.
    draws : int
        Codes drawn for a row at each step; more than one trains the importance-weighted bound.
    score_draws : int
        Codes drawn for a row's score: the bound tightens with their number.  May be changed after a fit.
    anneal : float
        The share of the epochs in which a given ``variance`` rises from a tenth of it: the cure of codes that die
        early (ledger L10).
    binarise : bool
        With Bernoulli noise: draw every pixel, black or white, anew at each step, by its grey as the probability.
        Scores take rows as they are: pass drawn ones.
    random_state, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    joint_, variance_, history_, n_iter_
        As in `Autoencoder`; the objective is a bound on the log evidence.

    Notes
    -----
    Kingma and Welling (2014); Burda, Grosse and Salakhutdinov (2016).  Scores use the same noise for every row and
    call.  Ledger L8-L12.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) @ [[3.0, 3.0], [0.1, -0.1]]
    >>> vae = VAE(1, hidden=(), random_state=0).fit(X)
    >>> vae.sample(5, random_state=0).shape
    (5, 2)
    """

    _answers = "a network, at once, with a normal distribution over codes"
    _: KW_ONLY
    draws: int = count(1)
    score_draws: int = count(64)
    anneal: float = checked(0.0, need_share)
    binarise: bool = switch(False)

    T, prior = 1.0, "normal"

    def _check(self, n, width):
        super()._check(n, width)
        if self.anneal and (is_word(self.variance, "learn") or self.noise != "gaussian"):
            raise ValueError(
                f"anneal={self.anneal} moves a variance that is given, got variance={self.variance!r}: pass a number"
            )
        if self.binarise and self.noise != "bernoulli":
            raise ValueError(f"binarise=True draws bits, got noise={self.noise!r}: pass noise='bernoulli'")
