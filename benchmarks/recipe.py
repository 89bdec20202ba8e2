"""The document's training recipe for locally linear codes, rewritten from its description, for comparison.

Every flat k gets its own code z_k by a few steps of gradient ascent from 0 (ledger H6),

    z_k <- z_k + rate * (W_k^T (x - mu_k - W_k z_k) - z_k),

k is the flat that then fits best, and the squared error of that flat is differentiated through all the steps:
RMSprop moves mu and W, which nothing keeps orthonormal.  The author's settings: 5 steps, rate .01001, learning
rate .001, batches of 280, W and mu uniform and small at the start, each image's own mean removed.

``FORMS`` are three ways to do the same arithmetic: ``broadcast`` multiplies out every row x flat x pixel x
direction, as the published code does; ``products`` uses matrix products; ``cached`` also keeps W^T x and W^T W
from step to step, so that a step never sees a pixel (ledger H7).
"""

import time
from statistics import median

import torch
from gaelib import data


def broadcast(x, mu, W):
    """(pull, squares), functions of the codes z (K, n, p): W^T (x - mu - W z) (K, n, p), its squared length (K, n)."""

    def left(z):
        return x - mu[:, None] - (z[:, :, None] * W[:, None]).sum(3)

    return lambda z: (left(z)[..., None] * W[:, None]).sum(2), lambda z: left(z).square().sum(2)


def products(x, mu, W):
    """The same, by matrix products: O(n K D p) a step."""

    def left(z):
        return x - mu[:, None] - z @ W.mT

    return lambda z: left(z) @ W, lambda z: left(z).square().sum(2)


def cached(x, mu, W):
    """The same, with what does not depend on z computed once: O(n K p^2) a step."""
    away = x - mu[:, None]
    inside, gram = away @ W, W.mT @ W
    return (
        lambda z: inside - z @ gram,
        lambda z: away.square().sum(2) + (z * (z @ gram - 2 * inside)).sum(2),
    )


FORMS = {"broadcast": broadcast, "products": products, "cached": cached}


def error(x, mu, W, form="products", steps=5, rate=0.01001):
    """Squared error of each row after unrolled inference over all flats: (n, D) -> (n,), a mean over pixels."""
    pull, squares = FORMS[form](x, mu, W)
    z = x.new_zeros(len(mu), len(x), W.shape[2])
    for _ in range(steps):
        z = z + rate * (pull(z) - z)
    with torch.no_grad():
        k = squares(z).argmin(0)
    code = z[k, torch.arange(len(x), device=x.device)]
    return (x - mu[k] - (W[k] @ code[:, :, None])[:, :, 0]).square().mean(1)


def start(K, D, p, generator):
    """mu (K, D) and W (K, D, p), uniform within 1 / sqrt of the number of what they add up."""
    mu, W = (2 * torch.rand(*shape, generator=generator) - 1 for shape in ((K, D), (K, D, p)))
    return (mu / D**0.5).requires_grad_(), (W / (K * D * p) ** 0.5).requires_grad_()


def images(train=True):
    """Fashion-MNIST as the author's loader gives it: 0-255, each image's own mean removed; (n, 784) float32."""
    X = data.fashion_mnist(train=train)[0]
    return X - X.mean(1, keepdims=True)


def recipe(X, K=11, p=20, batches=200, seed=0, *, form="products", batch=280, lr=1e-3, device="cpu"):
    """Run the recipe for so many batches and time each.

    Parameters
    ----------
    X : array (n, D)
        As from `images`.
    K, p : int
        Flats, and directions of each.
    batches : int
        At least 2: the first warms up and is not timed.
    form : "broadcast", "products" or "cached"

    Returns
    -------
    dict
        ``seconds_per_batch`` (the median) and ``seconds_per_epoch`` (n / batch of them), and ``losses``, the mean
        squared error per pixel of every batch before its step.
    """
    if batches < 2:
        raise ValueError(f"batches={batches} leaves none to time after the first: pass at least 2")
    X, generator = torch.as_tensor(X).float().to(device), torch.Generator().manual_seed(seed)
    params = [part.detach().to(device).requires_grad_() for part in start(K, X.shape[1], p, generator)]
    optimiser = torch.optim.RMSprop(params, lr=lr)
    seconds, losses, order = [], [], []
    for _ in range(batches):
        if len(order) < min(batch, len(X)):
            order = torch.randperm(len(X), generator=generator)
        begun = time.perf_counter()
        here, order = order[:batch], order[batch:]
        loss = error(X[here.to(device)], *params, form).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))  # also waits for the device
        seconds.append(time.perf_counter() - begun)
    each = median(seconds[1:])
    return {"seconds_per_batch": each, "seconds_per_epoch": each * len(X) / batch, "losses": losses}
