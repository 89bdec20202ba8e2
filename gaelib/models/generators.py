"""Generators without an encoder: three answers to the max over one network (ledger L7).

GLO               each row keeps its code and climbs          max_z log q_r(x|z), z in the unit ball
gradient origin   one step from 0, differentiated through     z = s d/dz log q_r(x|z) at 0
IMLE              the best of n draws of the prior            max_i log q_r(x|z_i) - log n
"""

__all__ = ["GLO", "IMLE", "GradientOrigin"]

import math
from collections.abc import Callable
from dataclasses import KW_ONLY

import torch
from torch import Tensor, nn

from ..core import Climb, Given, Joint, climb
from ..hyper import checked, count, hyper, is_word, need_number
from ..joints.network import FAST, like, normal
from ..networks import _Neural, _Samples
from ..parallel import all_sum, rank_and_size

SEARCH = ((200, 0.05), (50, 0.01))  # steps of Adam and their size, for a code that nobody remembers
VISIT = (3, 0.03)  # and for a code that is kept, at each visit
STEP = 1.0  # where a step that is learned starts


class BestOf:
    """The best of n draws: ``draw(n) -> (z, log q(z))``, and of these the z of the largest weight p(x, z) / q(z).

    Its objective, the log of that weight over n, is below the log of the mean weight: below the evidence on average.
    """

    def __init__(self, draw: Callable[[int], tuple[Tensor, Tensor]], n: int):
        self.draw, self.n = draw, n

    def __call__(self, joint: Joint, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_q = self.draw(self.n)
        with torch.no_grad():
            best = (joint.log_joints(x, z) - log_q).argmax(1)
        return z[best], -log_q[best] - math.log(self.n)


def into_ball(z: Tensor) -> Tensor:
    """The nearest point of the unit ball: (n, E) -> (n, E)."""
    return z / z.norm(dim=1, keepdim=True).clamp(min=1)


class _Cloud(_Samples):
    """Samples codes from the normal distribution that the training rows' codes have."""

    def _finish(self, data):
        super()._finish(data)
        z = torch.cat([self._kept(self.joint_, x, at) for at, x in numbered(data)]).double().cpu()
        sums = all_sum({"n": torch.tensor(float(len(z)), dtype=torch.float64), "z": z.sum(0)})
        self._centre = sums["z"] / sums["n"]
        spread = all_sum({"zz": (z - self._centre).T @ (z - self._centre)})["zz"] / sums["n"]
        size, axes = torch.linalg.eigh(spread)
        self._root = (axes * size.clamp(min=0).sqrt()).T

    def _kept(self, joint, x, at):
        """The codes of training rows from number ``at`` on."""
        return self._code(joint, x)

    def _draw(self, n, generator):
        z = self._centre + torch.randn(n, len(self._root), generator=generator, dtype=torch.float64) @ self._root
        return self._project(z) if self._project else z


def numbered(data):
    """Batches, each with the number of its first row."""
    at = 0
    for x in data:
        yield at, x
        at += len(x)


@hyper
class GLO(_Cloud, _Neural):
    """Generative latent optimisation: no encoder; every training row keeps a code, which climbs as the decoder learns.

    Parameters
    ----------
    n_components, hidden, decoder, noise, variance, max_epochs, batch_size, lr, validation, patience, precision
        As in `Autoencoder`.  Rows held out keep codes too; they do not move the decoder.
    restarts : int
        Climbs for a row that fit did not see, from as many codes; the best is kept.  May be changed after a fit.
    random_state, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    codes_ : array (n, n_components)
        The training rows' codes.
    joint_, variance_, history_, n_iter_
        As in `Autoencoder`.

    Notes
    -----
    The prior is uniform on the unit ball: without a bound codes and weights trade their scales for ever.  `sample`
    draws codes by the mean and covariance of the training codes, back into the ball where they leave it.  A linear
    decoder finds the principal subspace.  Under ``torchrun`` every process keeps its own rows' codes.  Bojanowski et
    al. (2018).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 2)) @ [[3.0, 3.0], [0.1, -0.1]]
    >>> model = GLO(1, hidden=(8,), random_state=0).fit(X)
    >>> model.transform(X[:5]).shape, model.sample(3, random_state=0).shape
    ((5, 1), (3, 2))
    """

    _chapter = "family/generators"
    _answers = "a code kept for every row, which climbs"

    _: KW_ONLY
    restarts: int = count(4)

    prior = "ball"
    _project = staticmethod(into_ball)

    def _start(self, data, generator):
        joint = super()._start(data, generator)
        draw = torch.Generator().manual_seed(data.memo["seed"] + rank_and_size()[0])
        codes = into_ball(torch.randn(len(data), self._length, generator=draw, dtype=torch.float32))
        joint.register_buffer("codes", like(joint.decoder, codes.to(data.device)))
        return joint

    def _answer(self, joint, generator=None, shared=False, rows=None):
        if rows is None:
            return lambda joint, x: Given(self._code(joint, x))(joint, x)
        rows = rows.to(joint.codes.device)

        def visit(joint, x):
            joint.codes[rows] = z = self._climb(joint, x, joint.codes[rows], *VISIT)
            return Given(z)(joint, x)

        return visit

    def _climb(self, joint, x, z, steps, lr):
        return climb(lambda z: joint.log_joint(x, z), z, steps, lr, project=into_ball, optimiser=torch.optim.Adam)

    def _code(self, joint, x):
        """The best of several climbs, whose starts are the same for every row."""
        draw = torch.Generator().manual_seed(0)
        found = []
        for _ in range(self.restarts):
            z = into_ball(torch.randn(1, self._length, generator=draw, dtype=torch.float32))
            z = z.to(x.device).expand(len(x), -1)
            z = like(joint.decoder, z)
            for steps, lr in SEARCH:
                z = self._climb(joint, x, z, steps, lr)
            found.append(z)
        with torch.no_grad():
            best = torch.stack([joint.log_joint(x, z) for z in found]).argmax(0)
        return torch.stack(found)[best, torch.arange(len(x), device=x.device)]

    def _kept(self, joint, x, at):
        z = joint.codes[at : at + len(x)]
        joint.codes[at : at + len(x)] = self._climb(joint, x, z, *SEARCH[-1])
        return joint.codes[at : at + len(x)]

    def _finish(self, data):
        super()._finish(data)
        self.codes_ = self.joint_.codes.cpu().numpy().copy()


def need_step(name, value):
    """Refuse what is neither "learn" nor a finite number above 0."""
    if not is_word(value, "learn"):
        need_number(name, value, 0.0, False, True, f"{name}='learn' or such a number")


@hyper
class GradientOrigin(_Cloud, _Neural):
    """Gradient-origin network: the code is one gradient step from zero, and learning differentiates through it.

    Parameters
    ----------
    n_components, hidden, decoder, noise, variance, max_epochs, batch_size, lr, validation, patience, precision
        As in `Autoencoder`.
    step : "learn" or float above 0
        s, the size of the step up minus the squared error of data in units of their standard deviation; or, with other
        noise, up the log likelihood.
    random_state, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    step_ : float
    joint_, variance_, history_, n_iter_
        As in `Autoencoder`.

    Notes
    -----
    The decoder must bend smoothly, for its slope is the encoder.  If it is linear, z = 2 s W'x, and the best W spans
    the principal subspace with W'W = I / (2s): it learns its step (ledger L7).  `sample` is `GLO`'s, without a ball.
    Bond-Taylor and Willcocks (2021).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) @ [[3.0, 3.0], [0.1, -0.1]]
    >>> model = GradientOrigin(1, hidden=(8,), random_state=0).fit(X)
    >>> bool(((model.inverse_transform(model.transform(X)) - X) ** 2).mean() < 0.1)
    True
    """

    _chapter = "family/generators"
    _answers = "one gradient step from zero"

    _: KW_ONLY
    step: float | str = checked("learn", need_step)

    def _start(self, data, generator):
        joint = super()._start(data, generator)
        learn = is_word(self.step, "learn")
        start = math.log(STEP if learn else self.step) / FAST
        joint.tenth_step = nn.Parameter(torch.full_like(joint.tenth.detach(), start), requires_grad=learn)
        return joint

    def _answer(self, joint, generator=None, shared=False, rows=None):
        def origin(joint, x):
            return like(joint.decoder, x.new_zeros(len(x), self._length))

        # Of the squared error, whatever sigma is.
        unit = 2 * joint.log_variance.exp() if joint.noise == "gaussian" else 1.0
        return Climb(origin, 1, (FAST * joint.tenth_step).exp() * unit, unroll=True)

    def _code(self, joint, x):
        return self._answer(joint)(joint, x)[0].detach()

    def _finish(self, data):
        super()._finish(data)
        self.step_ = math.exp(FAST * float(self.joint_.tenth_step.detach()))


@hyper
class IMLE(_Samples, _Neural):
    """Implicit maximum likelihood: draw many codes, and let every row pull what the nearest of them decodes to.

    Parameters
    ----------
    n_components, hidden, decoder, noise, variance, max_epochs, batch_size, lr, validation, patience, precision
        As in `Autoencoder`.
    candidates : int
        n, codes drawn from the prior at every step, of which each row takes the best.
    random_state, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    joint_, variance_, history_, n_iter_
        As in `Autoencoder`.

    Notes
    -----
    Every row finds a sample, so no mode is left out; that every sample has a row nearby, nobody asks.  The objective,
    the best log likelihood minus log n, is on average below the log evidence.  `transform` starts from the best of n
    draws and climbs on.  Li and Malik (2018).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) @ [[3.0, 3.0], [0.1, -0.1]]
    >>> IMLE(1, hidden=(8,), random_state=0).fit(X).sample(3, random_state=0).shape
    (3, 2)
    """

    _chapter = "family/generators"
    _answers = "the best of many draws"

    _: KW_ONLY
    candidates: int = count(1024)

    prior = "normal"

    def _answer(self, joint, generator=None, shared=False, rows=None):
        def draw(n):
            device = joint.scale.device
            z = torch.randn(n, self._length, generator=generator, device=device, dtype=torch.float32)
            return (z := like(joint.decoder, z)), normal(z)

        return BestOf(draw, self._of_fit("candidates"))

    def _code(self, joint, x):
        z, _ = self._answer(joint, torch.Generator(x.device).manual_seed(0))(joint, x)
        for steps, lr in SEARCH:
            z = climb(lambda z: joint.log_joint(x, z), z, steps, lr, optimiser=torch.optim.Adam)
        return z
