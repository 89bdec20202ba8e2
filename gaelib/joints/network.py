"""A decoder that is a network, with noise in the data's own units (ledger L6, L8)."""

import itertools
import math
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from ..core import Joint

WIDEST = 2.0  # log scale of an answer: 7 times as wide as the prior, where no code is expected
FAST = 10  # Adam moves every parameter alike, and log sigma^2 has farther to go than a weight
NOISES = ("gaussian", "bernoulli", "poisson")


class Network(Joint):
    """``log q_w(z) + log q_r(x|z)``: the prior normal or flat, the noise around what a network decodes.

    Data are measured from ``centre`` in units of ``scale``, a single number, so that training does not see their units;
    densities are those of the data themselves.

    Parameters
    ----------
    decoder : Module
        (n, E) -> (n, *X): the mean (gaussian, from the centre in units of ``scale``), logits
        (bernoulli) or log rates (poisson).
    encoder : Module, optional
        Kept beside the decoder, so that one ``state_dict`` holds both; it sees ``(x - centre) / scale``.
    noise : "gaussian", "bernoulli" or "poisson"
    variance : float
        sigma^2 of the Gaussian noise, in the data's units squared.
    learn : bool
        Whether sigma^2 is a parameter.
    prior : "normal", "ball" (uniform on the unit ball, where codes must stay) or "flat"
    centre : Tensor (*X), optional
    scale : float

    Examples
    --------
    >>> joint = Network(nn.Identity(), variance=0.5, prior="flat")
    >>> joint
    Network(
      noise=gaussian, prior=flat
      (decoder): Identity()
    )
    >>> joint.log_joint(torch.zeros(1, 2), torch.ones(1, 2))  # -2 - log pi
    tensor([-3.1447])
    """

    def __init__(
        self, decoder, encoder=None, noise="gaussian", variance=0.5, learn=False, prior="normal", centre=None, scale=1.0
    ):
        super().__init__()
        self.decoder, self.encoder, self.noise, self.prior = decoder, encoder, noise, prior
        self.register_buffer("centre", torch.zeros(()) if centre is None else centre.clone())
        self.register_buffer("scale", torch.tensor(float(scale), dtype=self.centre.dtype))
        start = torch.tensor((math.log(variance) - 2 * math.log(scale)) / FAST, dtype=self.centre.dtype)
        self.tenth = nn.Parameter(start, requires_grad=learn)  # of log sigma^2, in units of the scale
        self.log_unit = math.log(2 * math.pi) + 2 * math.log(scale)
        self.as_is = centre is None and scale == 1.0  # data are in these units already
        self.bfloat16 = False  # the layers, while they learn; densities never

    def extra_repr(self):
        return f"noise={self.noise}, prior={self.prior}"

    def terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        size = sum(part.numel() for part in self.decoder.parameters())
        around = f"variance {float(self.variance.detach()):.4g}" if self.noise == "gaussian" else "no further parameter"
        words = {"normal": "N(z; 0, I)", "ball": "uniform on the unit ball"}
        prior = words.get(self.prior, "flat: every code is as likely")
        return "z, a point", prior, f"a network of {size:,} parameters and {self.noise} noise, {around}"

    @property
    def log_variance(self) -> Tensor:
        """log sigma^2, in units of the scale."""
        return FAST * self.tenth

    @property
    def variance(self) -> Tensor:
        """sigma^2 of the Gaussian noise, in the data's units squared."""
        return self.log_variance.exp() * self.scale**2

    def standard(self, x: Tensor) -> Tensor:
        """Data from the centre, in units of the scale."""
        return x if self.as_is else (x - self.centre.to(x)).div_(self.scale)

    def encode(self, x: Tensor) -> Tensor:
        """What the encoder says of data from the centre, in units of the scale: (n, *X) -> (n, outputs)."""
        return run(self.encoder, like(self.encoder, self.standard(x)), self.bfloat16)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of q_r(x|z): (n, E) -> (n, *X), in the data's units."""
        out = self.decoder(z)
        if self.noise == "bernoulli":
            return out.sigmoid()
        return out.exp() if self.noise == "poisson" else self.centre + self.scale * out

    def around(self, mean: Tensor, generator: Generator | None = None) -> Tensor:
        """A draw of q_r(x|z) from its mean (n, *X)."""
        if self.noise == "gaussian":
            noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
            return mean + self.variance.sqrt().to(mean) * noise
        return (torch.bernoulli if self.noise == "bernoulli" else torch.poisson)(mean, generator=generator)

    def log_joint(self, x: Tensor, z: Tensor, there: Tensor | None = None) -> Tensor:
        """(n,) nats; with ``there`` (n, *X), of the entries where it is true alone."""
        value = getattr(self, f"_{self.noise}")(x, run(self.decoder, z, self.bfloat16), there)
        return value + PRIORS[self.prior](z) if self.prior in PRIORS else value

    def log_joints(self, x: Tensor, z: Tensor) -> Tensor:
        """``log_joint`` of every row with every code: (n, *X), (m, E) -> (n, m), by one product of matrices."""
        out, x = run(self.decoder, z, self.bfloat16).flatten(1), x.flatten(1)
        if self.noise == "gaussian":
            far = torch.cdist(self.standard(x).to(out), out).square() / (2 * self.log_variance.exp())
            value = -far - out.shape[1] * (0.5 * (math.log(2 * math.pi) + self.log_variance) + self.scale.log())
        elif self.noise == "bernoulli":
            value = x.to(out) @ out.T - nn.functional.softplus(out).sum(1)
        else:
            value = x.to(out) @ out.T - out.exp().sum(1) - torch.lgamma(x.to(out) + 1).sum(1, keepdim=True)
        return value + PRIORS[self.prior](z) if self.prior in PRIORS else value

    def _gaussian(self, x, out, there):
        squares = nn.functional.mse_loss(out, self.standard(x).to(out), reduction="none")  # one pass, and one back
        squares, log_variance = added(squares, there), self.log_variance
        count = out[0].numel() if there is None else there.flatten(1).sum(1)
        return torch.addcmul(-0.5 * count * (log_variance + self.log_unit), squares, -0.5 * (-log_variance).exp())

    def _bernoulli(self, x, out, there):
        return added(x.to(out) * out - nn.functional.softplus(out), there)

    def _poisson(self, x, out, there):
        return added(x.to(out) * out - out.exp() - torch.lgamma(x.to(out) + 1), there)


ONE = threading.Lock()  # torch's own generator and default dtype are every thread's


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What torch draws by itself, such as a layer's first weights, comes from this seed, in float32; and from nothing
    that the caller or another thread has set, which is afterwards as it was.
    """
    with ONE, torch.random.fork_rng(devices=[]):
        dtype = torch.get_default_dtype()
        torch.default_generator.manual_seed(seed)
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def dropping(module: nn.Module, seed: int) -> AbstractContextManager[None]:
    """`seeded`, where a CPU's network has layers that draw while they learn; so fits of such wait for each other."""
    return seeded(seed) if any(isinstance(part, _DropoutNd) for part in module.modules()) else nullcontext()


def like(module: nn.Module, x: Tensor) -> Tensor:
    """x in the dtype of the module's parameters."""
    return x.to(next(module.parameters(), x).dtype)


def run(module: nn.Module, x: Tensor, bfloat16: bool = False) -> Tensor:
    """The module's answer in x's dtype, its layers in bfloat16 if asked."""
    if not bfloat16:
        return module(x)
    with torch.autocast(x.device.type, torch.bfloat16):
        return module(x).to(x.dtype)


def centre_and_width(answer: Tensor) -> tuple[Tensor, Tensor]:
    """An encoder's answer (n, 2 E) as centre and log scale (n, E), the second at most `WIDEST`, with its slope kept.

    A step too long may throw an encoder off for some rows; the next then ask for e^70, whose square has no room in
    float32, and the fit ends.  So bounded, the prior pulls them back.

    Examples
    --------
    >>> centre_and_width(torch.tensor([[1.0, -2.0], [1.0, 50.0]]))[1].T
    tensor([[-2.,  2.]])
    """
    centre, log_scale = answer.chunk(2, 1)
    return centre, log_scale - (log_scale.detach() - WIDEST).clamp_(min=0)


def added(entries: Tensor, there: Tensor | None) -> Tensor:
    """The sum of each row's entries, or of those that are there: (n, *X) -> (n,)."""
    return (entries if there is None else torch.where(there, entries, 0.0)).flatten(1).sum(1)


def normal(z: Tensor) -> Tensor:
    """log N(z; 0, I): (n, E) -> (n,), nats."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1)


def ball(z: Tensor) -> Tensor:
    """log of the uniform density on the unit ball: (n, E) -> (n,), nats; that z is in it is the caller's care."""
    volume = 0.5 * z.shape[1] * math.log(math.pi) - math.lgamma(0.5 * z.shape[1] + 1)
    return z.new_full((len(z),), -volume)


PRIORS = {"normal": normal, "ball": ball}


def decode_mean(decoder: nn.Module, noise: str, mean: Tensor) -> None:
    """Set the bias of a last linear layer so that a code of no effect decodes to the data's mean (*X)."""
    last = list(decoder.modules())[-1]
    if isinstance(last, nn.Linear) and noise != "gaussian":  # whose outputs start at the mean
        mean = mean.clamp(1e-3, 1 - 1e-3).logit() if noise == "bernoulli" else mean.clamp(min=1e-3).log()
        last.bias.data.copy_(mean)


def layers(*sizes: int, activation: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """Linear layers of these sizes with an activation between two.

    Examples
    --------
    >>> layers(4, 8, 2)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """
    parts: list[nn.Module] = []
    for into, out in itertools.pairwise(sizes):
        parts += [nn.Linear(into, out), activation()]
    return nn.Sequential(*parts[:-1])


class Transposed(nn.Module):
    """The way back through a linear layer by its own weights, from an offset of its own: (n, E) -> (n, D)."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear, self.offset = linear, nn.Parameter(linear.weight.new_zeros(linear.in_features))

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.linear.weight + self.offset


def tied(*sizes: int, activation: type[nn.Module] = nn.Tanh) -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder with an activation at its end, and the decoder that goes back by the same weights.

    Examples
    --------
    >>> encoder, decoder = tied(4, 8, 2)
    >>> decoder(encoder(torch.zeros(3, 4))).shape, decoder[0].linear is encoder[2]
    (torch.Size([3, 4]), True)
    """
    encoder = nn.Sequential(*layers(*sizes, activation=activation), activation())
    back: list[nn.Module] = []
    for part in reversed(encoder):
        back += [Transposed(part), activation()] if isinstance(part, nn.Linear) else []
    return encoder, nn.Sequential(*back[:-1])
