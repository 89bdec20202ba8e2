"""Attention against torch's own, by enumeration, and against what stored patterns promise."""

import math
import pickle

import ledger_attention as hopfield
import numpy as np
import pytest
import registry
import torch
from gaelib import AttentionAutoencoder, Memory, data
from gaelib.core import Soft, objective
from gaelib.joints.kernels import KernelMixture
from gaelib.models.attention import Heads, key_mixture
from sklearn.decomposition import PCA

F = torch.nn.functional
N, D, V, H = 12, 16, 5, 4  # keys, their width, the values' width, heads
ROOT = math.sqrt(D)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


q, k, v = normal(7, D, seed=1), normal(N, D, seed=2), normal(N, V, seed=3)
bias, tokens = normal(7, N, seed=4), normal(N, D, seed=5)
later = torch.ones(N, N).triu(1).bool()  # what a causal mask forbids


def posterior(z, keys=k, variance=None, prior=None, bias=0.0, T=1.0):
    return ((key_mixture(keys, variance, prior).log_joints(z) + bias) / T).softmax(1)


def torchs(z=q, keys=k, values=v, **options):
    return F.scaled_dot_product_attention(z[None], keys[None], values[None], **options)[0]


def forbid(mask):
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(mask, -math.inf)


def slope(z):
    z = z.clone().requires_grad_()
    return torch.autograd.grad(key_mixture(k).log_joints(z).logsumexp(1).sum(), z)[0]


def energy(z, square=0.5):
    """Of a modern Hopfield network with beta = 1 / sqrt(d), up to a constant."""
    return -ROOT * (z @ k.T / ROOT).logsumexp(1) + square * z.square().sum(1)


def evidence(z):
    return objective(key_mixture(k), z, Soft(1.0))


def level(values):
    return values - values.mean()


IDENTITIES = {  # name -> (what we say, what must equal it, wrong twins)
    "the weights are a posterior under a key-norm prior": lambda: (
        posterior(q) @ v,
        torchs(),
        {"uniform prior": posterior(q, prior=torch.zeros(N)) @ v},
    ),
    "the noise is sqrt(d)": lambda: (
        posterior(q) @ v,
        torchs(),
        {"unit variance": posterior(q, variance=1.0) @ v, "variance d": posterior(q, variance=float(D)) @ v},
    ),
    "keys of one length need no prior": lambda: (
        posterior(q, F.normalize(k), prior=torch.zeros(N)) @ v,
        torchs(keys=F.normalize(k)),
        {"of any length": posterior(q, prior=torch.zeros(N)) @ v},
    ),
    "a causal mask is the support of the prior": lambda: (
        posterior(tokens, bias=forbid(later)) @ v,
        torchs(tokens, is_causal=True),
        {"no mask": posterior(tokens) @ v, "weights cut and not renewed": posterior(tokens).masked_fill(later, 0) @ v},
    ),
    "an additive bias is a log prior": lambda: (
        posterior(q, bias=bias) @ v,
        torchs(attn_mask=bias[None]),
        {"divided by sqrt(d) too": posterior(q, bias=bias / ROOT) @ v, "a prior, not its log": (posterior(q) * bias) @ v},
    ),
    "the scale is a temperature": lambda: (
        posterior(q, T=4.0) @ v,
        torchs(scale=1 / (4.0 * ROOT)),
        {"the other way round": posterior(q, T=0.25) @ v, "T is squared": posterior(q, T=2.0) @ v},
    ),
    "at temperature zero one key answers": lambda: (
        posterior(q, T=1e-4) @ v,
        v[key_mixture(k).argmax(q)],
        {"the nearest, whatever its norm": v[torch.cdist(q, k).argmin(1)]},
    ),
    "values = keys: one step along the score": lambda: (
        posterior(q) @ k - q,
        ROOT * slope(q),
        {"without sqrt(d)": posterior(q) @ k - q + (ROOT - 1) * slope(q), "the read alone": posterior(q) @ k},
    ),
    "Hopfield's energy is minus sqrt(d) times the evidence": lambda: (
        level(energy(q)),
        level(-ROOT * evidence(q)),
        {"without the square": level(energy(q, 0.0)), "evidence alone": level(energy(q) / ROOT)},
    ),
    "GGAE's decoder at b = 0 is a head with a uniform prior": lambda: (
        posterior(q, prior=torch.zeros(N)) @ v,
        KernelMixture(v, k / math.sqrt(2 * ROOT), 0.0).decode(q / math.sqrt(2 * ROOT)),
        {"with the key-norm prior": posterior(q) @ v, "in the keys' own units": KernelMixture(v, k, 0.0).decode(q)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity_and_its_wrong_twins(name):
    said, reference, wrong = IDENTITIES[name]()
    assert (said - reference).abs().max() <= 1e-12
    for twin, value in wrong.items():
        assert (value - reference).abs().max() >= 1e-3, twin


def test_equals_torch(parity):
    batch, keys = normal(3, 7, D), normal(3, N, D, seed=6)
    mine = torch.stack([posterior(z, w, bias=bias) @ v for z, w in zip(batch, keys)])
    theirs = F.scaled_dot_product_attention(batch, keys, v.expand(3, N, V), attn_mask=bias)
    off = (mine - theirs).abs().max()
    parity("Attention", "torch, scaled_dot_product_attention", "read of 3 batches with a bias, largest difference", off, 1e-12)  # fmt: skip


def blocks(z, width=D // H):
    return z.view(len(z), -1, width).transpose(0, 1)


def layer(mask=None, variance=None):
    """A torch layer on the tokens: its (weights, output), and ours from posteriors of its heads."""
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(D, H, batch_first=True).double()
    output, weights = theirs(*3 * [tokens[None]], attn_mask=mask, average_attn_weights=False)
    ask, keys, values = map(blocks, (tokens @ theirs.in_proj_weight.T + theirs.in_proj_bias).chunk(3, 1))
    bias = 0.0 if mask is None else forbid(mask)
    r = torch.stack([posterior(z, w, variance, bias=bias) for z, w in zip(ask, keys)])
    return (weights[0], output[0]), (r, theirs.out_proj((r @ values).transpose(0, 1).flatten(1)))


@pytest.mark.parametrize("mask", [None, later], ids=["open", "causal"])
def test_equals_torch_s_layer(parity, mask):
    with torch.no_grad():
        theirs, ours = layer(mask)
        off = max((a - b).abs().max() for a, b in zip(theirs, ours))
        parity("Attention", "torch, nn.MultiheadAttention", "weights and output of four heads, largest difference", off, 1e-12)  # fmt: skip
        assert (layer(mask, ROOT)[1][0] - theirs[0]).abs().max() > 1e-3  # the noise is that of a head, sqrt(d / H)


def heads(H=2, K=6, width=3, D=5):
    return Heads(normal(H * width, D), normal(H, K, width, seed=1), normal(H, K, D, seed=2), 0.7, normal(D, seed=3), torch.tensor(2.0))  # fmt: skip


def test_two_heads_by_enumeration():
    joint, x = heads(), normal(9, 5, seed=4)
    with torch.no_grad():
        z = joint.encode(x)
        one, two = joint.gates(z)
        pairs = joint.values[0][:, None] + joint.values[1]  # (K, K, D), what the pair of keys decodes to
        product = torch.einsum("ni,nj,ijd->nd", one, two, pairs)
        shared = F.normalize(one * two, p=1, dim=1) @ (joint.values[0] + joint.values[1])  # the same key in both
        assert (joint.origin + 2 * product - joint.decode(z)).abs().max() < 1e-12
        assert (joint.origin + 2 * shared - joint.decode(z)).abs().max() > 0.1
        prior = torch.zeros(6)
        each = torch.stack([posterior(z[:, i : i + 3], joint.keys[i // 3], 0.7, prior) for i in (0, 3)])
        assert (joint.gates(z) - each).abs().max() < 1e-12


# --- associative memory ---


def patterns(d, N=100):
    return F.normalize(normal(N, d, seed=1)) * math.sqrt(d)


@pytest.mark.parametrize(("d", "found"), [(8, 39), (16, 75), (32, 100), (64, 100)])
def test_recall_of_half_masked_patterns(d, found):
    X = patterns(d)
    seen = X * (torch.arange(d) < d // 2)
    best = Memory().fit(X).predict(seen)
    assert 100 * float((best == torch.arange(100)).double().mean()) == pytest.approx(found, abs=0.5)


@pytest.mark.parametrize("d", [32, 64, 128])
def test_retrieval_error_is_below_its_bound(d):
    """Ramsauer et al. (2021): 2 (N - 1) exp(-beta Delta) M at a stored pattern of separation Delta, norms <= M."""
    X = patterns(d)
    gram = X @ X.T
    apart = gram.diagonal() - gram.clone().fill_diagonal_(-math.inf).max(1).values
    memory = Memory(temperature=2.0).fit(X)  # beta = 1
    error = (memory.inverse_transform(memory.transform(X)) - X).norm(dim=1)
    assert (error <= 2 * 99 * (-apart).exp() * math.sqrt(d) + 1e-12).all()
    soft = Memory(temperature=2.0 * math.sqrt(d)).fit(X)  # beta = 1 / sqrt(d): the bound of beta = 1 does not hold
    error = (soft.inverse_transform(soft.transform(X)) - X).norm(dim=1)
    assert (error > 2 * 99 * (-apart).exp() * math.sqrt(d)).any()


def test_memory_at_a_temperature():
    X, new = normal(30, 4), normal(8, 4, seed=1)
    cold, warm = (Memory(temperature=T).fit(X) for T in (0.0, 1.5))
    r = (-torch.cdist(new, X).square() / 1.5).softmax(1)
    assert torch.allclose(warm.transform(new), r, rtol=0, atol=1e-12)
    assert torch.allclose(warm.score_samples(new), objective(warm.joint_, new, Soft(1.5)))
    assert warm.history_[-1] == pytest.approx(warm.score(X), abs=1e-12)
    assert torch.equal(cold.predict(new), warm.predict(new))
    frozen = Memory(temperature=1e-6).fit(X)
    assert torch.allclose(frozen.transform(new), cold.transform(new), atol=1e-12)


@pytest.fixture(scope="module")
def digits():
    """Ink from 0 to 1, (1500, 64) to keep and (297, 64) new; and the new ones under noise of 0.3."""
    X = torch.tensor(data.digits()[0], dtype=torch.float64) / 16
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(X), generator=generator)
    clean = X[order[1500:]]
    *_, noise = (torch.randn(clean.shape, generator=generator, dtype=torch.float64) for _ in range(3))
    return X[order[:1500]], clean, clean + 0.3 * noise


def test_denoising_table(digits):
    """Stored digits read by noisy ones: the noise's own variance is too little, since new digits are no stored ones."""
    stored, clean, noisy = digits

    def left(variance):
        memory = Memory(temperature=2 * variance).fit(stored)  # its own variance is 1/2
        return float((memory.inverse_transform(memory.transform(noisy)) - clean).square().mean())

    keys = key_mixture(stored, 0.09, torch.zeros(len(stored)))
    read = keys.posterior(noisy, 1.0)[0][0] @ stored
    assert left(0.09) == pytest.approx(float((read - clean).square().mean()), abs=1e-12)
    table = [float((noisy - clean).square().mean()), left(0.0), left(0.09), left(2 * 0.09)]
    assert np.allclose(table, [0.0887, 0.0271, 0.0200, 0.0165], rtol=0, atol=6e-5), table


def test_the_figures_of_l18_come_out_again():
    keys, start = hopfield.signs()
    left = [float((hopfield.read(start, keys, beta) - keys[0]).norm()) for beta in (0.1, 0.2, 0.5, 1.0)]
    assert [f"{error:.1e}" for error in left] == ["3.3e+00", "3.4e-01", "2.3e-04", "3.0e-09"]
    z = start
    for _ in range(200):
        z = hopfield.read(z, keys, 0.05)
    assert math.isclose(float((z - keys[0]).norm()), 7.4, abs_tol=0.05)


# --- the autoencoder ---
@pytest.mark.slow
def test_four_heads_leave_less_than_sixteen_directions(digits):
    train, new = (X.float() for X in digits[:2])
    model = AttentionAutoencoder(16, n_slots=64, n_heads=4, random_state=0).fit(train)
    error = float((model.inverse_transform(model.transform(new)) - new).square().mean())
    pca = PCA(16).fit(train)
    rival = float(np.square(pca.inverse_transform(pca.transform(new)) - new.numpy()).mean())
    assert error <= 0.0085 < 0.0115 < rival
    constants = 32 * math.log(math.pi)
    assert model.score(new) == pytest.approx(-64 * error - constants, rel=1e-5)


@pytest.fixture(scope="module")
def small():
    X = normal(60, 6)
    return X, AttentionAutoencoder(2, n_slots=8, n_heads=2, max_iter=60, random_state=0).fit(X)


def test_units_and_origin_do_not_matter(small):
    X, model = small
    moved = AttentionAutoencoder(2, n_slots=8, n_heads=2, max_iter=60, random_state=0).fit(1000 * X + 5000)
    there = (moved.inverse_transform(moved.transform(1000 * X + 5000)) - 5000) / 1000
    assert torch.allclose(there, model.inverse_transform(model.transform(X)), atol=1e-4)


def test_it_climbs_repeats_and_travels(small):
    X, model = small
    assert model.history_[-1] == pytest.approx(model.score(X), abs=1e-9)
    assert model.history_[-1] > np.mean(model.history_[:5])
    again = AttentionAutoencoder(2, n_slots=8, n_heads=2, max_iter=60, random_state=0).fit(X)
    assert torch.equal(again.transform(X), model.transform(X))
    assert torch.equal(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))


# --- for the tests that go over every model: tests/registry.py ---

ESTIMATORS = [AttentionAutoencoder(1, n_slots=4, n_heads=1, max_iter=20)]
ALONE = {
    "AttentionAutoencoder": "No library has it; its decoder is enumerated over all pairs of keys, its heads are held to "
    "torch's attention, and its error to that of PCA with as many numbers."
}  # fmt: skip
UNBOUND = {"Heads": "Its best code is a network's guess and no maximum, and it is learned by gradient alone."}
BAD = {
    "a code that heads cannot share": (lambda: AttentionAutoencoder(4, n_heads=3).fit(registry.X), ValueError, "n_components=4", "n_heads=3", "share evenly"),
    "a code longer than a row": (lambda: AttentionAutoencoder(6, n_heads=2).fit(registry.X), ValueError, "n_components=6", "4 feature", "fewer components"),
    "a code of another width": (lambda: AttentionAutoencoder(2, n_heads=1, n_slots=2, max_iter=1).fit(registry.X).inverse_transform(np.eye(3)), ValueError, "(n, 2)", "(3, 3)", "what transform returns"),
}  # fmt: skip
DEVICES = {
    "AttentionAutoencoder": (
        AttentionAutoencoder(1, n_slots=4, n_heads=1, max_iter=5, **registry.SEED), registry.CLOUDS)
}  # fmt: skip
