"""The core against finite differences, enumeration and closed forms; the contract that every joint keeps."""

import itertools
import math
from pathlib import Path

import pytest
import registry
import torch
from gaelib import core, noise
from gaelib.core import Climb, Exact, Joint, Soft, alternate, ascend, climb, objective
from gaelib.joints.flats import Flats
from gaelib.joints.mixture import Mixture


def data(n=40, D=3, seed=0):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Shift(Joint):
    """A toy special case: a code near m, data near the code: log q_w = -(z - m)^2, log q_r = -(x - z)^2."""

    def __init__(self, m=1.5):
        super().__init__()
        self.m = torch.nn.Parameter(torch.tensor([m], dtype=torch.float64))

    def decode(self, z):
        return z

    def log_joint(self, x, z):
        return noise.gaussian(x, z) + noise.gaussian(z, self.m)

    def argmax(self, x):
        return (x + self.m) / 2

    def stats(self, x, z):
        return {"z": z.sum(), "n": torch.tensor(len(z))}

    def update(self, sums):
        self.m.data.fill_(float(sums["z"] / sums["n"]))


def start_at_zero(joint, x):
    return torch.zeros_like(x)


JOINTS = {  # every model: a joint, data for it, and who answers its max exactly
    "points": (lambda: Flats(data(4, 3, 1)), lambda: data(), [Exact(), Soft(1.0), Soft(0.1)]),
    "one flat": (
        lambda: Flats(data(1, 3, 1), torch.linalg.qr(data(3, 2, 2)).Q[None]),
        lambda: data(),
        [Exact()],
    ),
    "flats": (
        lambda: Flats(data(3, 4, 1), torch.linalg.qr(data(12, 2, 2).view(3, 4, 2)).Q),
        lambda: data(D=4),
        [Exact()],
    ),
    "mixture": (
        lambda: Mixture(data(3, 4, 1), torch.linalg.qr(data(12, 2, 2).view(3, 4, 2)).Q, variance=0.3, shared=False),
        lambda: data(D=4),
        [Exact(), Soft(1.0), Soft(0.3)],
    ),
    "gaussians": (lambda: Mixture(data(4, 3, 1)), lambda: data(), [Exact(), Soft(1.0)]),
    "shift": (Shift, lambda: data(D=1), [Exact(), Climb(start_at_zero, 400, 0.1)]),
} | registry.gather("JOINTS")
CASES = [
    pytest.param(make, x, infer, id=f"{name}-{type(infer).__name__}{i}")
    for name, (make, x, infers) in JOINTS.items()
    for i, infer in enumerate(infers)
]


@pytest.mark.parametrize(("make", "x", "infer"), CASES)
class TestContract:
    def test_one_number_per_sample(self, make, x, infer):
        values = objective(make(), x(), infer)
        assert values.shape == (len(x()),) and values.isfinite().all()

    def test_rows_do_not_depend_on_each_other(self, make, x, infer):
        joint, x = make(), x()
        alone = torch.cat([objective(joint, row, infer) for row in x.split(1)])
        assert torch.allclose(alone, objective(joint, x, infer), rtol=0, atol=1e-12)

    def test_no_other_code_does_better(self, make, x, infer):
        joint, x = make(), x()
        best, (z, _) = objective(joint, x, infer), infer(joint, x)
        generator = torch.Generator().manual_seed(5)
        for _ in range(20):
            if not isinstance(infer, Soft):
                other = shake(z, joint, generator)
                bonus = 0
            else:
                r = torch.rand(z[0].shape, generator=generator, dtype=torch.float64)
                other = (r / r.sum(1, keepdim=True),)
                bonus = infer.T * torch.special.entr(other[0]).sum(1)
            assert (joint.log_joint(x, other) + bonus <= best + 1e-9).all()

    def test_alternate_never_lowers_the_objective(self, make, x, infer):
        history = alternate(make(), [x()], infer, steps=15)
        assert all(b >= a - 1e-12 * abs(a) for a, b in itertools.pairwise(history))

    def test_history_is_the_mean_objective(self, make, x, infer):
        expected = float(objective(make(), x(), infer).detach().mean())
        for batches in ([x()], x().split(7)):
            assert alternate(make(), batches, infer, 1)[0] == pytest.approx(expected, rel=1e-10, abs=1e-10)

    def test_batches_equal_the_whole(self, make, x, infer):
        whole, batched, x = make(), make(), x()
        a = alternate(whole, [x], infer, steps=5)
        b = alternate(batched, x.split(7), infer, steps=5)
        assert max(abs(s - t) for s, t in zip(a, b)) < 1e-10
        for one, other in zip(whole.state_dict().values(), batched.state_dict().values()):
            assert torch.allclose(one, other, rtol=0, atol=1e-10)

    def test_save_and_load(self, make, x, infer, tmp_path):
        joint, other = make(), make()
        alternate(joint, [x()], infer, steps=3)
        torch.save(joint.state_dict(), tmp_path / "m.pt")
        other.load_state_dict(torch.load(tmp_path / "m.pt"))
        assert torch.equal(objective(joint, x(), infer), objective(other, x(), infer))


def shake(z, joint, generator):
    """Another code of the same form."""
    if isinstance(z, tuple):
        return tuple(shake(part, joint, generator) for part in z)
    if z.dtype == torch.int64:
        return torch.randint(len(joint.means), z.shape, generator=generator)
    return z + torch.randn(z.shape, generator=generator, dtype=z.dtype)


@pytest.mark.parametrize("name", ["points", "mixture", "gaussians"])
def test_soft_is_the_temperature_identity(name):
    make, x, _ = JOINTS[name]
    joint, x = make(), x()
    for T in (0.3, 1.0, 2.0):
        closed = T * torch.logsumexp(joint.log_joints(x) / T, 1)
        assert torch.allclose(objective(joint, x, Soft(T)), closed, rtol=0, atol=1e-12)


def test_soft_tends_to_exact():
    joint, x = Flats(data(4, 3, 1)), data()
    gap = objective(joint, x, Soft(1e-3)) - objective(joint, x, Exact())
    assert gap.min() >= -1e-12 and gap.max() <= 1e-3 * math.log(4)


def test_climb_slope_equals_finite_differences():
    f = lambda z: -(z**4).sum(1)
    z0 = torch.tensor([[0.7]], dtype=torch.float64)
    moved = (climb(f, z0, 1, 0.01) - z0) / 0.01
    h = 1e-6
    assert abs(float(moved) - float((f(z0 + h) - f(z0 - h)) / (2 * h))) < 1e-6


def test_climb_takes_tuples_and_projects():
    f = lambda z: -(z[0] - 2).square().sum(1) - (z[1] + 1).square().sum(1)
    z = climb(f, (torch.zeros(3, 2), torch.zeros(3, 1)), 200, 0.1, project=lambda z: (z[0].clamp(max=1), z[1]))
    assert torch.allclose(z[0], torch.ones(3, 2)) and torch.allclose(z[1], -torch.ones(3, 1))


def test_a_climb_of_which_one_part_leaves_is_refused():
    with pytest.raises(FloatingPointError, match="lower lr"):
        climb(lambda z: (z[0] ** 4).sum(1) - z[1].square().sum(1), (torch.ones(1, 1), torch.ones(1, 1)), 99, 0.5)


def gradient(infer, x):
    joint = Shift()
    return torch.autograd.grad(objective(joint, x, infer).sum(), joint.m)[0]


def test_unrolled_equals_detached_at_convergence_and_differs_before():
    x = data(D=1)
    exact = gradient(Exact(), x)
    assert abs(float(exact) - float((x - 1.5).sum())) < 1e-10  # by hand: dF/dm = sum of 2 (z - m) = sum of (x - m)
    for unroll in (False, True):
        converged = gradient(Climb(start_at_zero, 300, 0.1, unroll=unroll), x)
        assert torch.allclose(converged, exact, rtol=1e-10)
    early = [abs(gradient(Climb(start_at_zero, 3, 0.1, unroll=unroll), x) - exact) for unroll in (False, True)]
    assert early[1] < early[0] / 2  # unrolling brings the gradient nearer (ledger R7)


def test_unrolled_gradient_equals_finite_differences():
    x, infer, h = data(D=1), Climb(start_at_zero, 3, 0.1, unroll=True), 1e-6
    up, down = (objective(Shift(1.5 + s), x, infer).sum().item() for s in (h, -h))
    assert abs(float(gradient(infer, x)) - (up - down) / (2 * h)) < 1e-5


def test_ascend_reaches_what_alternate_reaches():
    x, byhand, adam = data(D=1), Shift(), Shift()
    alternate(byhand, [x], Exact(), 100)
    ascend(lambda: objective(adam, x, Exact()).mean(), adam.parameters(), 600, 0.02)
    best = objective(byhand, x, Exact()).mean().item()
    assert abs(objective(adam, x, Exact()).mean().item() - best) < 1e-3 * abs(best)


def test_reducers_bracket_each_other():
    v = data(50, 1)[:, 0]
    soft = [float(core.soft_floor(beta)(v)) for beta in (1e-6, 0.1, 1.0, 10.0, 1e6)]
    assert abs(soft[0] - float(core.mean(v))) < 1e-5 and abs(soft[-1] - float(core.floor(v))) < 1e-5
    assert soft == sorted(soft, reverse=True)


@pytest.mark.parametrize(("log_density", "mean"), [(noise.gaussian, 0.3)])
def test_gaussian_integrates_to_one(log_density, mean):
    x = torch.linspace(-12, 12, 40001, dtype=torch.float64)[:, None]
    for variance in (0.05, 0.5, 2.0):
        total = torch.trapezoid(log_density(x, torch.full_like(x, mean), variance).exp(), x[:, 0])
        assert abs(float(total) - 1) < 1e-10


def test_gaussian_has_a_variance_for_every_entry():
    x, variance = data(5, 3), torch.tensor([0.1, 1.0, 4.0], dtype=torch.float64)
    apart = sum(noise.gaussian(x[:, [i]], x[:, [i]] + 1, float(variance[i])) for i in range(3))
    assert torch.allclose(noise.gaussian(x, x + 1, variance), apart, rtol=1e-14)


def test_counts_and_bits_sum_to_one():
    counts = torch.arange(60, dtype=torch.float64)[:, None]
    assert abs(float(noise.poisson(counts, torch.full_like(counts, 1.2)).exp().sum()) - 1) < 1e-12
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).double()
    assert (
        abs(float(noise.bernoulli(bits, torch.tensor([0.3, -1.0, 2.0]).double().expand(8, 3)).exp().sum()) - 1) < 1e-12
    )


def test_half_variance_is_the_squared_error():
    x, y = data(5, 4), data(5, 4, 1)
    assert torch.allclose(noise.gaussian(x, y), -(x - y).square().sum(1) - 2 * math.log(math.pi))


def test_the_core_is_one_short_file():
    assert len(Path(core.__file__).read_text().splitlines()) <= 250


def test_a_special_case_is_short():
    import inspect

    assert len(inspect.getsource(Shift).splitlines()) <= 25
    code = [line for line in inspect.getsource(Shift).splitlines() if line.strip() and '"""' not in line]
    assert len(code) <= 20


# --- Stopping ---


@pytest.mark.parametrize("unit", [1e-12, 1e-4, 1 / 255, 1.0, 1e6])
def test_stopping_does_not_see_units(unit):
    x = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def passes(unit, tol):
        return alternate(joint := Flats(x[:8] * unit), [x * unit], Exact(), 300, tol), joint

    here, joint = passes(unit, 1e-4)
    there, _ = passes(1.0, 1e-4)
    assert len(here) == len(there) and here.settled and len(here) < 300
    end = passes(unit, 0.0)[1]
    left = float(joint.log_joints(x * unit).amax(1).sum() - end.log_joints(x * unit).amax(1).sum())
    all_of_it = float(((x * unit - end.means[end.argmax(x * unit)]) ** 2).sum())
    assert -left < 3e-3 * all_of_it  # within .3 % of the end


class Lifted(Shift):
    """The same, measured from elsewhere, as densities are in other units."""

    def log_joint(self, x, z):
        return super().log_joint(x, z) + 1e4


def test_stopping_does_not_see_a_constant():
    low, high = (alternate(joint(9.0), [data(D=1)], Exact(), 99, 1e-3) for joint in (Shift, Lifted))
    assert len(low) == len(high) > 5 and low.settled


class Forgetful(Shift):
    """Its second update is wrong."""

    moves = 0

    def update(self, sums):
        super().update(sums)
        self.moves += 1
        if self.moves == 2:
            self.m.data.add_(3.0)


def test_a_fall_is_said_and_is_no_convergence():
    with pytest.warns(RuntimeWarning, match=r"fell by \S+ nats at step 2, from .* to .*not exact"):
        history = alternate(Forgetful(5.0), [data(D=1)], Exact(), 40, 1e-6)
    assert history[2] < history[1] and history.settled and len(history) > 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_no_fall(dtype, recwarn):
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).to(dtype) + 30
    alternate(Flats(x[:5]), [x], Exact(), 100, 0.0)
    assert not recwarn.list


def test_steps_that_run_out_are_not_settled():
    assert not alternate(Shift(9.0), [data(D=1)], Exact(), 3).settled
    assert alternate(Shift(9.0), [data(D=1)], Exact(), 99, 1e-3).settled


class Scripted(Shift):
    """Its objective takes these values, one a pass."""

    def __init__(self, *script, size=0.0):
        super().__init__(size)
        self.script = iter(script)

    def stats(self, x, z):
        return {"objective": torch.tensor(len(x) * next(self.script), dtype=torch.float64)}

    def update(self, sums):
        pass


def follow(*script, tol=0.0, **kind):
    return alternate(Scripted(*script, **kind), [data(D=1)], Exact(), len(script), tol)


def test_tol_is_a_part_of_the_rise_since_the_second_value():
    """However far the first pass came: that is the start's merit."""
    for first in (-1e6, -0.1):
        history = follow(first, 0.0, 1.0, 1.5, 1.75, 1.875, 1.9375, tol=0.1)
        assert len(history) == 6 and history.settled  # .125 is the first of them that is below a tenth of 1.875


@pytest.mark.parametrize(
    ("script", "size"),
    [
        ((1e3, 1e3 + 1e-6, 1e3 + 9e-7), 0.0),  # far above the rounding of the value
        ((0.0, 1.0, 1.0 - 1e-4), 0.0),  # of what it has risen
        ((0.0, 1e-9, 9e-10), 1e6),  # of the parameters
    ],
)
def test_a_small_fall_beyond_rounding_is_said(script, size):
    with pytest.warns(RuntimeWarning, match="nats at step 2"):
        follow(*script, size=size)


def test_a_fall_within_the_rounding_of_a_large_value_is_none(recwarn):
    follow(1e6, 1e6 + 1e-6, 1e6 + 1e-6 - 4e-9)
    assert not recwarn.list


def test_what_counts_as_rounding_goes_by_the_largest_rise_even_after_a_fall():
    with pytest.warns(RuntimeWarning, match="at step 2"):
        history = follow(0.0, 1.0, 0.0, -1e-9, 2.0)
    assert history.settled and len(history) == 4


def test_the_first_fall_is_named():
    with pytest.warns(RuntimeWarning, match=r"by 0\.5 nats at step 2, from 1 to 0\.5:"):
        follow(0.0, 1.0, 0.5, 1.5, 0.25, 2.0)


# --- One pass, and who answers ---


def test_sums_of_parts_are_sums_of_all_in_float64():
    x = data(60).float()
    joint = Flats(x[:4])
    whole, parts = core.sums(joint, [x], Exact()), core.sums(joint, x.split(7), Exact())
    assert whole.keys() == parts.keys() and whole["samples"] == 60
    for name, value in parts.items():
        assert value.dtype == torch.float64
        assert torch.allclose(value, whole[name], rtol=1e-6, atol=1e-6), name


def test_nats_of_float32_are_added_in_float64():
    class Uneven(Shift):
        def log_joint(self, x, z):
            return torch.tensor([1e8, 1.0, -1e8])

    assert core.sums(Uneven(), [data(3, 1)], Exact())["objective"] == 1


def test_an_answer_may_bring_its_own_sums():
    class Counting(Exact):
        def stats(self, x, z):
            return {"z": z.sum(), "n": torch.tensor(10 * len(z))}

    assert core.sums(Shift(), [data()], Counting())["n"] == 400


class Line(torch.nn.Module):
    """mean and log scale of q(z|x): (n, 1) -> (n, 1), (n, 1)."""

    def __init__(self, mean, scale):
        super().__init__()
        self.mean, self.scale = mean, scale

    def forward(self, x):
        return torch.full_like(x, self.mean), torch.full_like(x, math.log(self.scale))


class Normal(Joint):
    """z ~ N(0, 1), x ~ N(z, .05): ledger L11's model."""

    def log_joint(self, x, z):
        return noise.gaussian(z, torch.zeros_like(z), 1.0) + noise.gaussian(x, z, 0.05)


def l11(n, q=(0.5, 0.1**0.5)):
    x = torch.full((n, 1), 0.7, dtype=torch.float64)
    return Normal(), x, core.Amortise(Line(*q), 1.0, torch.Generator().manual_seed(0))


def test_an_encoder_answers_with_the_evidence_bound():
    joint, x, infer = l11(400_000)
    evidence, elbo = -1.176667, float(objective(joint, x, infer).mean())
    assert abs(evidence - elbo - 0.470698) < 3e-3
    exact = (0.7 / 1.05, (0.05 / 1.05) ** 0.5)  # the posterior itself: every draw is the evidence
    joint, x, infer = l11(9, exact)
    assert (core.bound(joint, x, infer, 1) - evidence).abs().max() < 1e-6


@pytest.mark.parametrize(("k", "gap"), [(1, 0.4705), (2, 0.1599), (5, 0.0477), (10, 0.0221)])
def test_more_draws_raise_the_bound(k, gap):
    joint, x, infer = l11(200_000)
    assert abs(-1.176667 - float(core.bound(joint, x, infer, k).mean()) - gap) < 4e-3


def test_an_encoder_at_temperature_zero_gives_the_code():
    infer = core.Amortise(torch.nn.Identity())
    z, bonus = infer(Shift(), data())
    assert torch.equal(z, data()) and not bonus.any()


def test_shared_noise_scores_a_row_alike_wherever_it_stands():
    joint, x, infer = l11(5)
    infer.shared = True
    assert len(set(objective(joint, x, infer).tolist())) == 1
    infer.shared = False
    assert len(set(objective(joint, x, infer).tolist())) == 5


def test_an_encoder_s_entropy_is_weighed_by_the_temperature():
    _, x, infer = l11(4)
    infer.T = 0.5
    assert torch.allclose(infer(None, x)[1], 0.5 * infer.draw(x)[1], rtol=1e-14)


def test_given_codes_are_scored_as_they_are():
    x = data()
    z = torch.nn.Parameter(torch.zeros_like(x))
    history = ascend(lambda: objective(Shift(), x, core.Given(z)).mean(), [z], 200, 0.1)
    assert (z - Shift().argmax(x)).abs().max() < 1e-2 and history[-1] > history[0]


def test_kept_codes_never_fall_where_restarts_may():
    def better(joint, x, z):
        return climb(lambda z: joint.log_joint(x, z), z, steps=1, lr=0.05)

    batches = list(data(D=1).split(15))
    joint = Shift(4.0)
    kept = core.Kept(better, start_at_zero)
    history = alternate(joint, batches, kept, 30)
    assert min(b - a for a, b in itertools.pairwise(history)) > 0
    assert [len(kept.codes[i]) for i in range(3)] == [15, 15, 10]
    again = torch.cat([kept.codes[i] for i in range(3)])
    assert (again - joint.argmax(data(D=1))).abs().max() < 0.1
    with pytest.raises(ValueError, match=r"batch 0 has 7 rows and had 15.*same order"):
        kept(joint, data(7, 1))


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, torch.optim.SGD])
def test_climb_by_an_optimiser_projects_and_does_not_average(optimiser):
    x = data(6)

    def f(z):
        return -(z - x).square().sum(1)

    whole = climb(f, torch.zeros_like(x), 300, 0.1, project=lambda z: z.clamp(max=0.5), optimiser=optimiser)
    assert (whole - x.clamp(max=0.5)).abs().max() < 1e-3
    alone = climb(lambda z: -(z - x[:1]).square().sum(1), torch.zeros(1, 3).double(), 3, 0.1, optimiser=optimiser)
    beside = climb(f, torch.zeros_like(x), 3, 0.1, optimiser=optimiser)[:1]
    assert torch.equal(alone, beside)


def test_plain_steps_are_those_of_gradient_descent():
    x, z = data(6), data(6, seed=1)
    by_hand = z + 0.1 * 2 * (x - z)
    assert torch.allclose(climb(lambda z: -(z - x).square().sum(1), z, 1, 0.1), by_hand, rtol=1e-14)


# --- Gradients ---


def test_ascend_reads_batches_again_and_again_and_moves_nothing_else():
    seen, rates = [], []
    joint, other = Shift(0.0), torch.nn.Parameter(torch.ones(()).double())

    def f(x):
        seen.append(len(x))
        return objective(joint, x, Exact()).mean() * other

    ascend(f, [joint.m], 7, lambda step: rates.append(step) or 0.1 / (1 + step), batches=data().split(15))
    assert seen == [15, 15, 10, 15, 15, 10, 15] and rates == [0, *range(7)]
    assert other.grad is None and joint.m.grad is not None


def test_a_climb_is_settled_where_it_was_ended():
    joint = Shift(0.0)
    f = lambda: objective(joint, data(), Exact()).mean()
    assert not ascend(f, [joint.m], 3, 0.1).settled
    history = ascend(f, [joint.m], 9, 0.1, on_step=lambda step, value: step == 4)
    assert history.settled and len(history) == 5


def test_slopes_can_be_averaged():
    a, b = Shift(0.0), Shift(0.0)
    ascend(lambda: objective(a, data(), Exact()).mean(), [a.m], 1, 0.5, torch.optim.SGD)
    half = lambda slopes: [slope / 2 for slope in slopes]
    ascend(lambda: objective(b, data(), Exact()).mean(), [b.m], 1, 0.5, torch.optim.SGD, average=half)
    assert torch.allclose(a.m, 2 * b.m, rtol=1e-14)
