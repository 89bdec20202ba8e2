"""The ledger's checks of attention: a posterior over keys, and what a Hopfield network reads (L17, L18)."""

import torch
from gaelib.models.attention import key_mixture


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def l17():
    """The read of attention: the statement is a rule (z, keys, values) -> read, the judge torch's own attention."""
    z, keys, values = normal(50, 16, seed=0), normal(9, 16, seed=1), normal(9, 5, seed=2)
    judge = torch.nn.functional.scaled_dot_product_attention(z[None], keys[None], values[None])[0]

    def rule(**options):
        return lambda z, keys, values: key_mixture(keys, **options).posterior(z, 1.0)[0][0] @ values

    def residual(statement):
        return (statement(z, keys, values) - judge).abs().max()

    wrong = {
        "a uniform prior": rule(prior=torch.zeros(9)),
        "unit variance": rule(variance=1.0),
        "variance d": rule(variance=16.0),
        "the value of the likeliest key": lambda z, keys, values: values[key_mixture(keys).argmax(z)],
    }
    return residual, rule(), wrong, 1e-12


def signs():
    """Twenty random patterns of 64 signs (20, 64), and the first with 14 signs turned over (1, 64)."""
    generator = torch.Generator().manual_seed(0)
    keys = (torch.randint(0, 2, (20, 64), generator=generator) * 2 - 1).double()
    z = keys[:1].clone()
    z[:, torch.randperm(64, generator=generator)[:14]] *= -1
    return keys, z


def read(z, keys, beta):
    return (beta * z @ keys.T).softmax(1) @ keys


def l18():
    """One read of a modern Hopfield network: the statement is a rule (z, keys, beta) -> the next z.

    The judge counts what the log density of equally weighted Gaussians of variance 1/beta falls along ten steps, how
    far each step is from the mean shift, 1/beta times that density's slope, and, where beta is large enough, how far
    from the stored pattern the last step ends.
    """
    keys, start = signs()

    def judge(z, beta):
        z = z.clone().requires_grad_()
        value = (-beta / 2 * (z[:, None] - keys).square().sum(2)).logsumexp(1)
        return value.detach(), torch.autograd.grad(value.sum(), z)[0] / beta

    def residual(statement):
        off = 0.0
        for beta in (0.05, 0.2, 1.0):
            z = start
            for _ in range(10):
                after = statement(z, keys, beta)
                (before, shift), (value, _) = judge(z, beta), judge(after, beta)
                off = max(off, float(before - value), float((after - z - shift).abs().max()))
                z = after
            off = max(off, float((z - keys[0]).norm()) if beta == 1.0 else 0.0)
        return off

    wrong = {
        "without beta": lambda z, keys, beta: read(z, keys, 1.0),
        "twice as far": lambda z, keys, beta: 2 * read(z, keys, beta) - z,
        "the classical rule, signs of a sum": lambda z, keys, beta: (z @ keys.T @ keys).sign(),
        "beta over sqrt(d)": lambda z, keys, beta: read(z, keys, beta / 8),
    }
    return residual, read, wrong, 1e-7


CHECKS = {"L17": l17, "L18": l18}
