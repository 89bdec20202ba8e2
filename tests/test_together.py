"""Small tables: every row beside every point finds what residuals in float64 find, and the sums of all rows."""

import pytest
import torch
from gaelib.joints.flats import Flats
from gaelib.solvers.pruning import Known
from gaelib.solvers.together import TABLE, Runners, Together, remembering

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def table(n=400, K=9, D=5, dtype=torch.float64, seed=0):
    """Rows, some of them all but halfway between two points, and the points."""
    generator = torch.Generator().manual_seed(seed)
    means = 3 * torch.randn(K, D, generator=generator, dtype=torch.float64)
    x = means[torch.randint(K, (n,), generator=generator)] + torch.randn(n, D, generator=generator, dtype=torch.float64)
    halfway = (means + means.roll(1, 0)) / 2
    return torch.cat([x, halfway + 1e-7 * x[:K], halfway - 1e-7 * x[:K]]).to(dtype), means.to(dtype)


def brute(x, means):
    return (x.double()[:, None] - means.double()).square().sum(2).argmin(1)


@DTYPES
@pytest.mark.parametrize("unit", [1e-30, 1e-22, 1e-12, 1.0, 1e12, 1e25])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_is_the_nearest_pass_after_pass(dtype, unit, offset):
    x, means = (unit * (part + offset) for part in table(dtype=dtype))
    joint, step = Flats(means), torch.randn(means.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    together = Together(x)
    for _ in range(4):
        k, bonus = together(joint, x)
        assert torch.equal(k, brute(x, joint.means)) and not bonus.any()
        joint.means += 0.3 * unit * step


def test_a_long_row_has_a_wide_doubt():
    """Far rows as near to one point as to the other, but for less than the rounding of their products."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    apart = means[1] - means[0]
    across = torch.randn(300, 5, generator=generator, dtype=torch.float64)
    across -= (across @ apart / apart.square().sum())[:, None] * apart
    x, means = (means.mean(0) + 1e5 * across).float(), means.float()
    assert torch.equal(Together(x)(Flats(means), x)[0], brute(x, means))


@DTYPES
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_sums_are_those_of_all_rows(dtype, offset):
    x, means = (part + offset for part in table(dtype=dtype))
    joint = Flats(means)
    together = Together(x)
    k = together(joint, x)[0]
    for z in (k, k.roll(1)):
        found, expected = together.stats(x, z), joint.stats(x, z)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            away = (found[name].double() - value.double()).abs().max()
            assert away <= (1e-4 if dtype == torch.float32 else 1e-11) * value.double().abs().max(), name


@DTYPES
def test_sums_take_in_what_changed_sides_alone(dtype):
    """Rows that stay are not read again, a point that all leave keeps nothing, and other points begin anew."""
    x, means = table(dtype=dtype)
    joint, together = Flats(means), Together(x)
    k = together(joint, x)[0]
    together.stats(x, k)
    z = torch.where(k == 2, 5, k)
    together.summed[k != 2] = torch.nan
    found, expected = together.stats(x, z), joint.stats(x, z)
    for name in ("n", "x", "error"):
        away = (found[name] - expected[name]).abs().max()
        assert away <= (1e-4 if dtype == torch.float32 else 1e-11) * expected[name].abs().max(), name
    assert not found["x"][2].any() and not found["error"][2]
    fewer, together = Flats(means[:5]), Together(x)
    for points in (joint, fewer):
        z = together(points, x)[0].clamp(max=4)
        assert torch.equal(together.stats(x, z)["n"], points.stats(x, z)["n"])


def test_sums_after_an_interrupt(monkeypatch):
    """Who is interrupted between two sums goes on from those before."""
    x, means = table()
    joint, together, add = Flats(means), Together(x), torch.Tensor.index_add_
    k = together(joint, x)[0]
    together.stats(x, k)
    z = torch.where(k == 2, 5, k)

    def interrupted(*args, **options):
        add(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.Tensor, "index_add_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        together.stats(x, z)
    monkeypatch.undo()
    assert torch.allclose(together.stats(x, z)["x"], joint.stats(x, z)["x"])


@DTYPES
def test_of_equals_the_first(dtype):
    x, means = table(dtype=dtype)
    assert torch.equal(Together(x)(Flats(torch.cat([means, means])), x)[0], brute(x, means))


@DTYPES
def test_at_its_points_the_error_is_nothing(dtype):
    _, means = table(dtype=dtype)
    x, joint = means.repeat(5, 1) + 100, Flats(means + 100)
    together = Together(x)
    assert together.stats(x, together(joint, x)[0])["error"].sum() == 0


def test_rows_that_it_does_not_know():
    x, means = table()
    joint, together, other = Flats(means), Together(x), x.flip(0)
    k = together(joint, other)[0]
    assert torch.equal(k, brute(other, means))
    assert torch.equal(together.stats(other, k)["x"], joint.stats(other, k)["x"])


@pytest.mark.parametrize(("n", "K", "D", "kind"), [(100, 5, 7, Together), (TABLE // 8, 8, 8, Together),
                                                   (TABLE // 8, 9, 8, Known), (TABLE // 8, 8, 9, Known)])  # fmt: skip
def test_what_a_cache_holds_is_small(n, K, D, kind):
    x = torch.zeros(n, D)
    assert type(remembering(Flats(torch.zeros(K, D)), [x])) is kind
    assert type(remembering(Flats(torch.zeros(K, D)), [x[:50], x[50:]])) is Known


@DTYPES
def test_runners_give_back_what_went_over(dtype):
    """The sums of three starts, one of which drops out, are those of the rows that each point holds now."""
    x, means = table(dtype=dtype)
    x = x[:400]  # none halfway: a race does not settle what rounding leaves open
    starts = torch.stack([means, means.flip(0), means.roll(1, 1)])
    runners = Runners(x, 3, len(means))
    for turn in range(4):
        found = runners(starts)
        for start, sums, error in zip(starts, found["x"], found["error"], strict=True):
            k = brute(x, start)
            expected = torch.zeros(len(means), 6, dtype=torch.float64)
            expected.index_add_(0, k, torch.cat([torch.ones_like(x[:, :1]), x], 1).double())
            assert (sums - expected).abs().max() < 1e-3 * expected.abs().max()
            assert torch.isclose(error, (x - start[k]).double().square().sum(), rtol=1e-4)
        if turn == 1:
            runners.keep(torch.tensor([True, False, True]))
            starts = starts[[0, 2]]
        starts = starts + 0.1 * (turn + 1)
