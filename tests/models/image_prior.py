"""Deep image prior: the climb, its operators, its network, when it stops, and what it refuses."""

import numpy as np
import pytest
import registry
import torch
from gaelib.pictures.image_prior import (
    Downsample,
    Hourglass,
    Linear,
    Mask,
    WindowedVariance,
    deep_image_prior,
    psnr,
)
from scipy.stats import multivariate_normal
from skimage import data, transform
from torch import nn

from benchmarks.image_prior import Plain

PICTURE = transform.resize(data.camera() / 255, (48, 48), anti_aliasing=True)
RNG = np.random.default_rng(0)
NOISY = np.clip(PICTURE + RNG.normal(0, 25 / 255, PICTURE.shape), 0, 1)
COLOUR = transform.resize(data.astronaut()[:256, 128:384] / 255, (24, 32), anti_aliasing=True)
KNOWN = RNG.random(PICTURE.shape) < 0.5


def run(image=NOISY, *args, **options):
    return deep_image_prior(image, *args, **{"random_state": 0, "steps": 3} | options)


# --- The climb -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_denoises():
    found = run(reference=PICTURE, steps=150)
    assert psnr(found.averaged, PICTURE) >= psnr(NOISY, PICTURE) + 4.5
    assert found.history["ssim"][-1] > found.history["ssim"][0] + 0.3
    assert found.stopped == "steps" and found.step == 149


@pytest.mark.slow
def test_the_stop_that_sees_no_reference_is_within_a_decibel_of_the_peak():
    found = run(reference=PICTURE, steps=300, input_noise=0, stop=WindowedVariance())
    peak = max(found.history["psnr_averaged"])
    assert found.stopped == "variance" and len(found.history["psnr"]) == found.step + 81
    assert psnr(found.averaged, PICTURE) >= peak - 1
    assert np.isclose(psnr(found.averaged, PICTURE), found.history["psnr_averaged"][found.step], atol=1e-4)


@pytest.mark.slow
def test_it_fills_holes_better_than_their_neighbours_do():
    holes = np.where(KNOWN, PICTURE, np.nan)
    found = run(holes, Mask(KNOWN), steps=200)
    near = np.stack([np.roll(holes, shift, (0, 1)) for shift in ((0, 1), (1, 0), (0, -1), (-1, 0))])
    near = np.where(np.isnan(near).all(0), 0.5, np.nansum(near, 0) / np.maximum((~np.isnan(near)).sum(0), 1))
    gone = ~KNOWN
    assert psnr(found.averaged[gone], PICTURE[gone]) > psnr(near[gone], PICTURE[gone]) + 1


@pytest.mark.slow
def test_linear_measurements_are_inverted():
    rows = RNG.normal(size=(800, PICTURE.size)) / 48
    found = run(rows @ PICTURE.ravel(), Linear(rows, PICTURE.shape), steps=250, input_noise=0)
    least = (np.linalg.pinv(rows) @ (rows @ PICTURE.ravel())).reshape(48, 48)
    assert psnr(found.averaged, PICTURE) > psnr(least, PICTURE) + 3


@pytest.mark.parametrize("image", [NOISY, NOISY[..., None], COLOUR, torch.tensor(COLOUR)], ids=lambda x: str(x.shape))
def test_answers_are_of_the_callers_kind(image):
    found = run(image)
    for part in (found.image, found.averaged):
        assert part.shape == image.shape and type(part) is type(image)
        assert part.min() >= 0 and part.max() <= 1


def test_any_differentiable_callable_is_an_operator():
    found = run(NOISY.mean(0), lambda x: x.mean(2), shape=NOISY.shape, steps=60, input_noise=0)
    assert np.abs(found.image.mean(0) - NOISY.mean(0)).max() < 0.1 and found.image.shape == NOISY.shape


@pytest.mark.slow
def test_histories_are_those_of_the_pictures_seen():
    seen = []
    found = run(reference=PICTURE, steps=9, average=0.7, callback=lambda now: seen.append((now.image, now.averaged)))
    average = seen[0][0].astype(float)
    for t, (image, averaged) in enumerate(seen):
        average = 0.7 * average + 0.3 * image
        assert np.abs(averaged - average).max() < 1e-5
        assert np.isclose(found.history["psnr"][t], psnr(image, PICTURE), atol=1e-4)
        assert np.isclose(found.history["psnr_averaged"][t], psnr(average, PICTURE), atol=1e-4)
    log_density = multivariate_normal(seen[-1][0].ravel().astype(float), 0.5).logpdf(NOISY.ravel())
    assert np.isclose(found.history["objective"][-1], log_density, atol=0.02)  # float32, of 2000 nats
    assert {len(values) for values in found.history.values()} == {9}


def test_one_seed_one_answer_and_nothing_global_is_touched():
    answers = []
    for seed, elsewhere in ((0, 7), (0, 8), (1, 8)):
        torch.manual_seed(elsewhere)
        state = torch.get_rng_state()
        answers.append(run(random_state=seed).averaged)
        assert torch.equal(state, torch.get_rng_state())
    first, again, other = answers
    assert np.array_equal(first, again) and not np.allclose(first, other)


def test_the_reference_is_never_used():
    assert np.array_equal(run().averaged, run(reference=1 - PICTURE).averaged)


def test_an_interrupted_run_loses_nothing():
    whole = run(steps=5, reference=PICTURE)

    def interrupt(now):
        if now.step == 4:
            raise KeyboardInterrupt

    found = run(steps=50, reference=PICTURE, callback=interrupt)
    assert found.stopped == "interrupted" and found.step == 4
    assert np.array_equal(found.averaged, whole.averaged) and found.history == whole.history


def test_an_interrupted_run_keeps_the_best_that_the_rule_found():
    def interrupt(now):
        if now.step == 40:
            raise KeyboardInterrupt

    rule = WindowedVariance(5, 1000)
    found = run(steps=50, input_noise=0, stop=rule, callback=interrupt)
    assert found.step == np.nanargmin(found.history["variance"]) and len(found.history["variance"]) == 41
    assert rule.history == []  # the caller's own rule stays as it was


def test_an_interruption_before_the_first_step_is_not_swallowed():
    def broken(x):
        if x.requires_grad and not x.is_leaf:
            raise KeyboardInterrupt
        return x * 1

    with pytest.raises(KeyboardInterrupt):
        run(operator=broken)


def test_a_true_answer_of_the_callback_stops():
    found = run(steps=50, callback=lambda now: now.step == 2)
    assert (found.stopped, found.step, len(found.history["objective"])) == ("callback", 2, 3)


def test_a_network_of_ones_own_is_copied():
    mine = nn.Sequential(nn.Conv2d(32, 1, 3, padding=1), nn.Sigmoid())
    before = mine[0].weight.clone()
    assert np.array_equal(run(network=mine).image, run(network=mine).image)
    assert torch.equal(mine[0].weight, before)


def test_half_precision_layers_answer_alike():
    full, half = (run(steps=20, precision=precision).averaged for precision in ("float32", "bfloat16"))
    assert half.dtype == full.dtype == np.float32 and 0 < np.abs(half - full).mean() < 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_answers_alike():
    found = run(torch.tensor(NOISY).cuda(), reference=torch.tensor(PICTURE), steps=150)
    assert found.averaged.device.type == "cuda" and found.history["psnr_averaged"][-1] > psnr(NOISY, PICTURE) + 4


# --- Operators, network, stopping ----------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_down_sampling_keeps_what_the_small_picture_can_show_and_drops_the_rest(factor):
    down, side = Downsample(factor), 24 * factor
    centres = torch.arange(24) * factor + (factor - 1) / 2  # of the small pixels, in large ones

    def wave(at, period):
        return torch.cos(2 * torch.pi * at / period).expand(1, 1, len(at), -1).float()

    inner = slice(4, -4)  # the border repeats its last pixel
    slow = down(wave(torch.arange(side), 8.0 * factor))[..., inner]
    assert (slow - wave(centres, 8.0 * factor)[..., inner]).abs().max() < 0.1
    fast = down(wave(torch.arange(side), 1.2 * factor if factor > 2 else 2.6))[..., inner]
    assert fast.abs().max() < 0.2
    assert torch.allclose(down(torch.ones(1, 3, side, side)), torch.ones(1, 3, 24, 24), atol=1e-6)


@pytest.mark.parametrize("operator", [Mask(KNOWN), Downsample(4), Linear(RNG.normal(size=(7, 48 * 48)), (48, 48))])
def test_operators_are_linear(operator):
    a, b = torch.rand(2, 1, 1, 48, 48)
    assert torch.allclose(operator(2 * a - b), 2 * operator(a) - operator(b), atol=1e-3)


def test_the_hourglass_is_the_plain_network():
    ours, plain = Hourglass(3, channels=8, scales=3).double(), Plain(32, 3, channels=8, scales=3).double()
    convolutions = [[part for part in net.modules() if isinstance(part, nn.Conv2d)] for net in (ours, plain)]
    assert len(convolutions[0]) == len(convolutions[1])
    for mine, theirs in zip(*convolutions):
        theirs.weight.data.copy_(mine.weight)
        if mine.bias is not None:
            theirs.bias.data.copy_(mine.bias)
    z = torch.rand(1, 32, 32, 48, dtype=torch.float64)
    assert torch.allclose(ours(z), plain(z), atol=1e-10)
    weights = sum(part.weight.numel() for part in Hourglass(3).modules() if isinstance(part, nn.Conv2d))
    assert weights == sum(part.weight.numel() for part in Plain(32, 3).modules() if isinstance(part, nn.Conv2d))


@pytest.mark.parametrize("size", [(17, 23), (33, 9)])
def test_pictures_of_any_size_pass(size):
    assert Hourglass(1, channels=4, scales=3)(torch.rand(1, 32, *size)).shape == (1, 1, *size)


def test_the_windowed_variance_is_numpys():
    outputs = RNG.random((40, 1, 3, 5, 7))
    rule = WindowedVariance(6, 1000)
    better = [rule(torch.tensor(x))[0] for x in outputs]
    direct = [outputs[t - 5 : t + 1].var(0).mean() for t in range(5, 40)]
    assert np.isnan(rule.history[:5]).all() and np.allclose(rule.history[5:], direct, atol=1e-12)
    assert np.flatnonzero(better)[-1] == 5 + np.argmin(direct)


def test_the_windowed_variance_waits_for_its_patience():
    rule, outputs = WindowedVariance(2, 4), [9.0, 5.0, 3.0, 2.9, 2.5, 2.0, 1.0, 0.0]
    stops = [rule(torch.tensor([x]))[1] for x in outputs]
    assert stops == [False] * 7 + [True]  # the least variance at the fourth, four steps before


# --- What is refused -----------------------------------------------------------------------------------------

HOLED = np.where(KNOWN, NOISY, np.nan)
REFUSED = {  # what is done, and what the message must say
    "one axis": (lambda: run(NOISY[0]), "1 axes", "(48,)", "channels last"),
    "channels first": (lambda: run(COLOUR.transpose(2, 0, 1)), "3 axes", "(3, 24, 32)", "channels last"),
    "no pixels": (lambda: run(NOISY[:0]), "(0, 48)", "picture is (H, W)", "pass"),
    "a picture too small": (lambda: run(NOISY[:8]), "(8, 48)", "3 halvings need more than 8", "fewer scales"),
    "a hole": (lambda: run(HOLED), "non-finite of 2304", "first at (0,", "pass Mask(known)"),
    "bytes": (lambda: run((NOISY * 255).astype(np.uint8)), "to 255", "[0, 1]", "divide"),
    "below zero": (lambda: run(NOISY - 0.5), "from -0.5", "[0, 1]", "clip"),
    "an empty mask": (lambda: Mask(KNOWN & False), "0 of 2304 pixels", "mask", "mark at least one"),
    "a mask of another shape": (lambda: run(operator=Mask(KNOWN[:9])), "(9, 48)", "(48, 48)", "one entry for each pixel"),
    "a coloured mask, a grey picture": (lambda: run(operator=Mask(COLOUR > 0.5)), "(24, 32, 3)", "(48, 48)", "one entry"),
    "no down-sampling": (lambda: Downsample(1), "factor=1", "at least 2", "pass factor=2"),
    "a matrix of another width": (lambda: Linear(np.ones((3, 5)), (2, 2)), "(3, 5)", "4 pixels", "one column for each"),
    "an operator of another size": (lambda: run(operator=lambda x: x[..., :9]), "(1, 1, 48, 9)", "(1, 1, 48, 48)", "pass the image that"),
    "too few measurements": (lambda: run(NOISY[0, :5], Linear(np.ones((4, 48 * 48)), (48, 48))), "(1, 1, 4)", "(1, 1, 5)", "pass the image that"),
    "an operator without a gradient": (lambda: run(operator=lambda x: x.detach()), "0 of 2304", "gradient", "torch's functions"),
    "no steps": (lambda: run(steps=0), "steps=0", "at least 1", "pass steps=1"),
    "an average of one": (lambda: run(average=1), "average=1", "[0, 1)", "pass 0"),
    "negative input noise": (lambda: run(input_noise=-1), "input_noise=-1", "at least 0", "pass 0"),
    "a step of zero": (lambda: run(lr=0), "lr=0", "above 0", "0.01"),
    "a rule in words": (lambda: run(stop="variance"), "stop='variance'", "no rule", "WindowedVariance(window=30"),
    "a window of one": (lambda: WindowedVariance(1), "window=1", "at least 2", "pass window=2"),
    "an unknown network": (lambda: run(network="big"), "'big'", "['reference', 'small']", "a Module"),
    "an unknown precision": (lambda: run(precision="int8"), "'int8'", "unknown", "'bfloat16'"),
    "a network of other channels": (lambda: run(COLOUR, network=Hourglass(1, scales=2, channels=4)), "(1, 1, 24, 32)", "(1, 3, 24, 32)", "3 output channels"),
    "a reference of another shape": (lambda: run(reference=PICTURE[:9]), "(9, 48)", "(48, 48)", "the picture's shape"),
    "a reference in bytes": (lambda: run(reference=PICTURE * 255), "reference", "[0, 1]", "divide"),
    "an unknown device": (lambda: run(device="abacus"), "'abacus'", "not to be had", "'cpu'"),
    "a negative seed": (lambda: run(random_state=-1), "random_state=-1", "below 0", "non-negative"),
}  # fmt: skip


BAD = {case: (act, ValueError, *says) for case, (act, *says) in REFUSED.items()}
FUNCTIONS = [deep_image_prior]
ALONE = {
    "deep_image_prior": "Its authors published scripts, not a library. Known measurements are inverted, noise and holes are mended "
    "better than by neighbours, and the stopping rule is worked by hand; all are tested.",
}


def test_an_objective_that_leaves_the_finite_numbers_names_its_step():
    seen = []

    def poisoned(x):  # one call looks whether the operator fits, the others are steps
        seen.append(1)
        return x * (1 if len(seen) < 4 else float("nan"))

    with pytest.raises(FloatingPointError, match="nan at step 2: lower lr"):
        run(operator=poisoned, steps=9)


def restored(of, device):
    """A picture after three steps, without noise on the input."""
    found = deep_image_prior(of(NOISY), steps=3, input_noise=0.0, device=device, **registry.SEED)
    return {"image": found.image, "averaged": found.averaged}


DEVICES = {"deep_image_prior": restored}
