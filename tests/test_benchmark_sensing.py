"""The benchmark of compressed sensing: its autoencoder's encoder, and the one row of several trainings."""

import torch
from gaelib import Autoencoder, data
from gaelib.joints.network import layers

from benchmarks import sensing


def test_the_second_look_mends_the_code_by_the_decoder_that_learns(monkeypatch):
    for name, size in (("D", 64), ("HIDDEN", (64,)), ("CODE", 8)):
        monkeypatch.setattr(sensing, name, size)
    X = data.digits()[0].astype("float32") / 16
    decoder, options = layers(8, 64, 64), {"batch_size": 100, "max_epochs": 20, "random_state": 0}
    torch.manual_seed(0)
    joint = Autoencoder(8, encoder=sensing.Twice(decoder), decoder=decoder, **options).fit(X[:1500]).joint_.float()
    assert joint.encoder.decoder is joint.decoder
    encoder = joint.encoder
    with torch.no_grad():
        new = torch.from_numpy(X[1500:])
        z = encoder.first(x := joint.standard(new))
        missed = x - joint.decoder(z)
        others = z + encoder.second(torch.cat([missed.roll(1, 0), z], 1))  # mended by what another row misses
        left = [float((joint.decode(code) - new).square().mean()) for code in (joint.encode(new), z, others)]
    assert left[0] < 0.9 * min(left[1:])


def test_trainings_become_one_row_with_the_longest_clock():
    rows = [
        {"set": "MNIST", "prior": "AE", "own": own, "floor": 0.002, "fit_seconds": 10.0, "clock": clock, "seed": seed}
        for seed, (own, clock) in enumerate([(0.003, 11.0), (0.005, 14.0), (0.004, 12.0)])
    ]
    plain = {"set": "MNIST", "prior": "PCA", "fit_seconds": 1.0}
    network, other = sensing.averaged([*rows, plain])
    assert (network["own"], network["clock"], network["trainings"]) == (0.004, 14.0, 3)
    assert network["owns"] == [0.003, 0.005, 0.004] and "seed" not in network and other == plain
