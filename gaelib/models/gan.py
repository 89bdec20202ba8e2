"""Generative adversarial networks: no code, no likelihood; a critic compares the crowds (ledger L16, L16b).

    the critic's best:  D = p / (p + q),  worth  E_p log D + E_q log(1 - D) = -log 4 + 2 JS(p, q)

It is no case of the objective, and the one model of this package with a loop of its own.
"""

__all__ = ["GAN"]

import math
from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..estimator import Model
from ..hyper import Seed, checked, choice, count, hyper, number
from ..joints.network import dropping, like, seeded
from ..networks import _Pictures, _Samples, need_network, need_size, need_sizes, say
from ..parallel import average, gather, rank_and_size
from ..progress import progress
from ..training import Shuffled, centre_and_scale, one_cycle

KEPT = 0.999  # how much of the averaged generator stays at each step


class Crowds(nn.Module):
    """A generator and its critic.  No joint: nothing here says how likely a row is."""

    def __init__(self, decoder: nn.Module, critic: nn.Module, centre: Tensor, scale: float):
        super().__init__()
        self.decoder, self.critic = decoder, critic
        self.register_buffer("centre", centre.clone())
        self.register_buffer("scale", torch.tensor(float(scale), dtype=centre.dtype))

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        sizes = (sum(part.numel() for part in net.parameters()) for net in (self.decoder, self.critic))
        made = "a network of {:,} parameters and no noise, judged by one of {:,}".format(*sizes)
        return "z, a point that nobody looks for", "N(z; 0, I)", made

    def standard(self, x: Tensor) -> Tensor:
        """Data from the centre, in units of the scale, as the critic sees them."""
        return like(self.critic, (x - self.centre.to(x)) / self.scale)

    def decode(self, z: Tensor) -> Tensor:
        """(n, E) -> (n, D), in the data's units."""
        return self.centre + self.scale * self.decoder(z)


def critic_value(loss: str, real: Tensor, fake: Tensor) -> Tensor:
    """What the critic raises, of its logits on data and on samples: ``log D(x) + log(1 - D(x'))``, or the hinge.

    The highest is ``2 JS - log 4`` for "non-saturating" and ``2 TV - 2`` for "hinge" (ledger L16).

    Examples
    --------
    >>> critic_value("hinge", torch.ones(3), -torch.ones(3))
    tensor(-0.)
    """
    f = nn.functional.softplus if loss == "non-saturating" else lambda t: torch.relu(1 + t)
    return -f(-real).mean() - f(fake).mean()


def generator_value(loss: str, fake: Tensor) -> Tensor:
    """What the generator raises, of the critic's logits on samples: its slope is not that of -JS (ledger L16b)."""
    return -nn.functional.softplus(-fake).mean() if loss == "non-saturating" else fake.mean()


def duel(joint: Crowds, batches: Iterable[tuple[Tensor, Tensor]], movers, loss: str, penalty: float) -> Iterator[float]:
    """A step of the critic and one of the generator for each batch (x, z); yields the critic's value.

    `core.ascend` takes steps up one function.  Here two players climb two, each while the other moves, and neither
    function rises for long: there is no best state to keep and no rule to stop.
    """
    for x, z in batches:
        x, fake = x.requires_grad_(), joint.decoder(z)
        real = joint.critic(x)
        value = critic_value(loss, real, joint.critic(fake.detach()))
        steep = (
            torch.autograd.grad(real.sum(), x, create_graph=True)[0].square().flatten(1).sum(1) if penalty else x[:1]
        )
        step(movers[0], value - penalty / 2 * steep.mean())
        step(movers[1], generator_value(loss, joint.critic(fake)))
        yield float(value.detach())


def step(mover: torch.optim.Optimizer, value: Tensor) -> None:
    """Move the optimiser's parameters, and no others, up the slope of a value."""
    parts = mover.param_groups[0]["params"]
    for part, slope in zip(parts, average(torch.autograd.grad(-value, parts))):
        part.grad = slope
    mover.step()


def _no_likelihood(self) -> NoReturn:
    raise AttributeError("a GAN has no likelihood, and so no score: judge its samples")


@hyper
class GAN(_Pictures, _Samples, Model):
    """Generative adversarial network: a generator learns until a critic cannot tell its samples from the data.

    Parameters
    ----------
    n_components, hidden, batch_size
        As in `Autoencoder`; the critic's layers are those of its encoder.
    decoder, critic : Module, optional
        Networks of your own, of which copies are trained: (n, E) -> (n, *X), and (n, *X) -> (n, 1), logits.  Data are
        from their mean in units of one standard deviation.
    loss : "non-saturating" or "hinge"
    penalty : float
        Of R1: half of it times the critic's mean squared slope at the data.  With 0 the two may circle for ever.
    max_epochs, lr
        Epochs, all of which are taken, and the largest step size of Adam's one cycle.
    random_state, device, verbose
        As in `KMeans`.

    Attributes
    ----------
    joint_ : Crowds
        The generator, averaged over the last steps, and the critic.
    history_ : list of float
        The critic's mean value of every epoch: -log 4, or -2 for "hinge", where it can tell nothing.
    n_iter_ : int
        Epochs.

    Notes
    -----
    There is no code to find and no likelihood to score, so `transform`, `score` and `score_samples` are absent; and
    ``history_`` does not say which epoch was best, so the last is kept.  Goodfellow et al. (2014); the penalty is
    Mescheder, Geiger and Nowozin's (2018).  Ledger L16, L16b.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) @ [[3.0, 3.0], [0.1, -0.1]]
    >>> GAN(1, hidden=(8,), max_epochs=5, random_state=0).fit(X).sample(3, random_state=0).shape
    (3, 2)
    """

    _chapter = "family/generators"
    _moves = "Adam, the critic and the generator in turn"
    _answers = "nobody: a critic compares samples and data"

    n_components: int = count(2)
    _: KW_ONLY
    hidden: tuple[int, ...] = checked((256, 128), need_sizes)
    decoder: nn.Module | None = checked(None, need_network)
    critic: nn.Module | None = checked(None, need_network)
    loss: str = choice("non-saturating", "hinge")
    penalty: float = number(0.1, "penalty=0.1", closed=True)
    max_epochs: int = count(200)
    batch_size: int | str = checked("auto", need_size)
    lr: float = number(1e-3, "lr=0.001")
    random_state: Seed = None
    verbose: int = 0

    score_samples = score = property(_no_likelihood)  # type: ignore[assignment]

    def _check(self, n, width):
        if n < 2:
            raise ValueError(f"n_samples={n} is no crowd, and 2 are needed: pass more rows")

    def _start(self, data, generator):
        centre, scale = centre_and_scale(data)
        with seeded(int(torch.randint(2**31, (), generator=generator))):
            decoder, critic = self._outward(data.width), self._inward(self.critic, data.width, *self.hidden, 1)
        data.memo["seed"] = int(torch.randint(2**31, (), generator=generator))
        joint = Crowds(decoder, critic, centre.to("cpu", data.dtype), scale).eval()
        x = data.take(torch.arange(min(len(data), 2))).cpu()
        self._check_decoder(decoder, x)
        said = tuple(say("critic", critic, joint.standard(x)).shape)
        if said != (len(x), 1):
            raise ValueError(f"the critic answers {said}, but a logit a row is (n, 1): change its last layer")
        return joint.to(data.device)

    def _learn(self, joint, data, history):
        draw = torch.Generator().manual_seed(data.memo["seed"] + rank_and_size()[0])
        rows, take = torch.arange(min(gather(len(data)))), self._taker(data)
        batches = Shuffled(lambda i: joint.standard(take(i)), rows, self._size(len(rows)), draw)
        rate = one_cycle(self.lr, self.max_epochs * len(batches))
        parts = joint.critic, joint.decoder
        movers = [torch.optim.Adam(part.parameters(), lr=rate(0), betas=(0.5, 0.99)) for part in parts]
        mean = AveragedModel(joint.decoder, avg_fn=lambda a, b, n: a + (b - a) * max(1 - KEPT, 1 / (n + 1)))

        def pairs():
            for x in batches:
                for mover in movers:
                    mover.param_groups[0]["lr"] = rate(int(mean.n_averaged))
                yield x, like(joint.decoder, self._draw(len(x), draw).to(x.device))
                mean.update_parameters(joint.decoder)

        joint.train()
        try:
            for epoch in progress(range(self.max_epochs), verbose=self.verbose, unit="epoch"):
                with dropping(joint, data.memo["seed"] + epoch):
                    values = list(duel(joint, pairs(), movers, self.loss, self.penalty))
                history.append(sum(values) / len(values))
                if not math.isfinite(history[-1]):
                    raise FloatingPointError(f"the critic's value became {history[-1]} in epoch {epoch}: lower lr")
        finally:  # interrupted or not
            joint.decoder = mean.module
        return True

    def _keep(self, data, joint, history):
        super()._keep(data, joint.eval().to(data.dtype), history)

    def _finish(self, data):
        pass

    def sample(self, n_samples: int = 1, random_state: Seed = None) -> np.ndarray:  # type: ignore[override]
        """What the generator makes of drawn codes: (n_samples, D) or pictures as fit saw them."""
        return super().sample(n_samples, random_state, noise=False)
