"""Blocks of rows are shared out among threads, whose number changes no digit; afterwards all is as the caller set it."""

import os
import threading
import time

import numpy as np
import pytest
import torch
from gaelib import (
    LGAE,
    LLGAE,
    PPCA,
    Autoencoder,
    GaussianMixture,
    KMeans,
    LogisticRegression,
    data,
    deep_image_prior,
    rows,
    training,
)
from gaelib.joints.flats import Flats
from gaelib.models import regression
from gaelib.pictures import image_prior
from gaelib.solvers import pruning
from gaelib.solvers.pruning import Known
from gaelib.solvers.sums import by_code
from gaelib.solvers.threads import blas, each, pools, shared

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def threads():
    """Sets torch's number and that of the BLAS, and finds them as they were set."""
    before = torch.get_num_threads()
    with blas().limit(limits=2):

        def use(count):
            torch.set_num_threads(count)

        use(2)
        yield use
        assert {info["num_threads"] for info in blas().info()} == {2} and not pools.users
    torch.set_num_threads(before)


def seen(_):
    """Who works, and the numbers of torch and the BLAS there."""
    time.sleep(0.02)
    return threading.current_thread().name, torch.get_num_threads(), max(info["num_threads"] for info in blas().info())


def test_each_has_one_thread_and_the_caller_gets_the_numbers_back(threads):
    with shared():
        names, *numbers = zip(*each(seen, range(6)))
        assert len(set(names)) == 2 and set(sum(numbers, ())) == {1}
        with shared():  # within is within
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with shared(1):
        assert {name for name, *_ in each(seen, range(3))} == {threading.current_thread().name}
    assert {number for _, number, _ in each(seen, range(3))} == {2}  # outside nothing is touched


def test_in_order_and_with_the_callers_gradients(threads):
    with shared(), torch.no_grad():
        found = each(lambda i: (time.sleep(0.001 * (i % 3)), i, torch.is_grad_enabled())[1:], range(30))
    assert found == [(i, False) for i in range(30)]


@pytest.mark.parametrize("who", ["the caller", "a helper"])
def test_an_error_ends_the_work(threads, who):
    done, caller = [], threading.current_thread()

    def work(i):
        time.sleep(0.005)
        if (threading.current_thread() is caller) == (who == "the caller"):
            raise KeyboardInterrupt
        done.append(i)

    with pytest.raises(KeyboardInterrupt), shared():
        each(work, range(200))
    count = len(done)
    time.sleep(0.03)
    assert len(done) == count and count < 20 and torch.get_num_threads() == 2


def test_who_comes_in_beside_another_gets_the_callers_number_back(threads):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with shared():
            inside.set()
            leave.wait()
        numbers.append(torch.get_num_threads())

    numbers, thread = [], threading.Thread(target=other)
    with shared():
        thread.start()
        inside.wait()
    assert torch.get_num_threads() == 2
    leave.set()
    thread.join()
    assert numbers == [2]


def test_who_leaves_last_leaves_the_blas_as_it_was():
    """Whose number all threads share; one who came in beside another has not seen the caller's."""

    def run(*works):
        workers = [threading.Thread(target=work) for work in works]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()

    def first():
        with shared():
            inside.set()
            beside.wait()
        outside.set()

    def second():
        inside.wait()
        with shared():
            beside.set()
            outside.wait()

    inside, beside, outside, was = threading.Event(), threading.Event(), threading.Event(), []
    run(lambda: was.append(blas().limit(limits=2)))  # of a thread that has ended: nobody holds the number
    run(first, second)
    found = {info["num_threads"] for info in blas().info()}
    run(was[0].restore_original_limits)
    assert found == {2} and not pools.users and not pools.limited


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_a_crew_of_its_own(threads):
    with shared():
        each(seen, range(4))
    child = os.fork()
    if not child:
        with shared():
            os._exit(len({name for name, *_ in each(seen, range(6))}))
    deadline = time.monotonic() + 20
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if found == (0, 0):
        os.kill(child, 9)
    assert os.waitstatus_to_exitcode(found[1]) == 2


@pytest.mark.parametrize(("K", "D"), [(7, 600), (140, 700)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_their_number_changes_no_digit(threads, monkeypatch, K, D, dtype):
    monkeypatch.setattr(pruning, "PART", 2**17)
    X = np.random.default_rng(0).normal(size=(2000, D)).astype(dtype) + np.arange(2000)[:, None] % 5
    fits = []
    for count in (1, 2, 3):
        threads(count)
        fits.append(KMeans(K, init=X[:K], max_iter=6, tol=0).fit(X))
    threads(2)
    for other in fits[1:]:
        assert (other.cluster_centers_ == fits[0].cluster_centers_).all() and (other.labels_ == fits[0].labels_).all()


@pytest.mark.parametrize("form", ["an array", "a stream"])
@pytest.mark.parametrize("make", [lambda: LLGAE(4, 3, max_iter=4, random_state=0), lambda: KMeans(4, random_state=0)])
def test_nor_of_a_fit_whose_batches_are_shared_out(threads, monkeypatch, make, form):
    """Those of an array side by side, or the blocks of one of a stream, whose next may stand where its last did."""
    monkeypatch.setattr(rows, "CACHED", 2**15)
    X, names, argmax = np.random.default_rng(0).normal(size=(4000, 80)).astype("f4"), set(), Flats.argmax
    X += np.arange(4000)[:, None] % 4

    def seen(joint, x):
        names.add(threading.current_thread().name)
        time.sleep(0.002)
        return argmax(joint, x)

    class Reused:  # one array for all batches
        def __iter__(self):
            kept = np.empty((2000, 80), "f4")
            for start in (0, 2000):
                kept[:] = X[start : start + 2000]
                yield kept

    fits = []
    for count in (1, 2):
        threads(count)
        names.clear()
        monkeypatch.setattr(Flats, "argmax", seen)
        fits.append(make().fit(X if form == "an array" else Reused()))
        assert (len(names) > 1) == (count > 1 and names != set())  # none are asked for rows that k-means remembers
    one, two = fits
    assert one.history_ == two.history_ and (one.cluster_centers_ == two.cluster_centers_).all()
    assert (one.labels_ == two.labels_).all() and one.inertia_ == two.inertia_
    assert abs(one.history_[-1] - make().fit(X).history_[-1]) < 1e-4 * abs(one.history_[-1])


@pytest.mark.parametrize("form", ["an array", "a stream"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nor_of_a_regression(threads, monkeypatch, dtype, form):
    names, product = set(), regression.product
    monkeypatch.setattr(regression, "product", lambda a, b: names.add(threading.current_thread().name) or product(a, b))
    X = np.random.default_rng(0).normal(size=(3000, 300)).astype(dtype)
    y, fits = X[:, :4].argmax(1), []
    for count in (1, 2, 3):
        threads(count)
        fits.append(LogisticRegression(max_iter=2).fit(X if form == "an array" else [X[:1600], X[1600:]], y))
    threads(2)
    assert len(names) > 1 and all((fit.coef_ == fits[0].coef_).all() for fit in fits)


@pytest.mark.parametrize("K", [7, 80])
def test_known_rows_are_shared_out_evenly(threads, monkeypatch, K):
    x, asked, whole = torch.randn(1001, 70, generator=torch.Generator().manual_seed(0)), [], Known._ask
    monkeypatch.setattr(
        Known, "_ask", lambda self, batch, block, first: asked.append(block) or whole(self, batch, block, first)
    )
    joint = Flats(x[:K])
    for most, sizes in ((10_000, [501, 500]), (400, [251, 251, 251, 248])):
        with shared():
            known = Known(joint, [x])
            known.rows = most
            assert torch.equal(known(joint, x)[0], joint.argmax(x))
        assert [len(x[block]) for block in sorted(asked, key=lambda block: block.start)] == sizes
        asked.clear()


def test_columns_are_shared_out(threads):
    generator = torch.Generator().manual_seed(0)
    x, k = torch.rand(5000, 900, generator=generator), torch.randint(4, (5000,), generator=generator)
    rows, was, origin = torch.arange(0, 5000, 3), k.roll(1)[::3], torch.rand(900, dtype=torch.float64)
    alone = by_code(k, 4, x), by_code(k[::3], 4, x, rows, was, origin)
    one_hot = torch.nn.functional.one_hot
    expected = (one_hot(k[::3], 4) - one_hot(was, 4)).double().T @ (x[::3].double() - origin)
    assert (alone[1] - expected).abs().max() < 1e-9
    with shared():
        assert torch.equal(by_code(k, 4, x), alone[0])
        assert torch.equal(by_code(k[::3], 4, x, rows, was, origin), alone[1])


def test_a_small_fit_uses_one_thread_and_a_large_one_all(threads, monkeypatch):
    used, whole = [], Flats.update
    monkeypatch.setattr(Flats, "update", lambda *args: used.append(1 + pools.helpers) or whole(*args))
    X = data.digits()[0]
    KMeans(10, init=X[:10], max_iter=1, tol=1).fit(X)
    KMeans(10, init=X[:10].repeat(3, 1), max_iter=1, tol=1).fit(X.repeat(3, 1))
    GaussianMixture(3, max_iter=1, tol=1, random_state=0).fit(X)
    assert used[:2] == [1, 2] and set(used[2:]) == {1}
    seen = []
    monkeypatch.setattr(
        "gaelib.models.lgae.by_eigenvectors", lambda *args: seen.append(torch.get_num_threads()) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        LGAE(2).fit(X)
    assert seen == [1] and torch.get_num_threads() == 2


@pytest.mark.parametrize("where", ["settle", "by_code"])
def test_an_interrupted_pass_leaves_no_half_sums(where, monkeypatch):
    x = torch.randn(3000, 8, generator=torch.Generator().manual_seed(0))
    joint = Flats(x[:5])
    known = Known(joint, [x])
    known.rows = 500
    joint.update(known.stats(x, known(joint, x)[0]))
    with monkeypatch.context() as patch:
        patch.setattr(pruning, where, lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            known(joint, x)
    k = known(joint, x)[0]
    assert torch.equal(k, joint.argmax(x))
    expected = joint.stats(x, k.clone())
    for name, value in known.stats(x, k).items():
        assert torch.allclose(value, expected[name], rtol=1e-5, atol=1e-2), name


def test_a_small_check_wakes_no_thread(threads, monkeypatch):
    """torch would share out what takes less time than to wake one."""
    found = []
    monkeypatch.setattr(rows, "view", lambda part, view=rows.view: found.append(torch.get_num_threads()) or view(part))
    rows.Rows(np.zeros((2000, 64)), KMeans(2), reset=True)
    assert found[0] == 1


@pytest.mark.parametrize(("make", "number"), [(LGAE(2), 1), (PPCA(2), 1), (LGAE(2, solver="alternate", max_iter=1), 2)])
def test_closed_forms_wake_no_other_pool(threads, monkeypatch, make, number):
    """Whose threads would go on waiting for work, and keep those that share out the blocks from the processor."""
    start, found = type(make)._start, []
    monkeypatch.setattr(type(make), "_start", lambda *args: found.append(torch.get_num_threads()) or start(*args))
    make.fit(np.random.default_rng(0).normal(size=(2**13 + 1, 32)))
    assert found == [number]


def test_a_small_picture_is_climbed_for_on_one_thread(threads, monkeypatch):
    def numbers():
        picture, found = np.zeros((16, 16)), []
        deep_image_prior(picture, steps=2, random_state=0, callback=lambda _: found.append(torch.get_num_threads()))
        return found

    assert numbers() == [1, 1] and torch.get_num_threads() == 2
    monkeypatch.setattr(image_prior, "SMALL", 0)
    assert numbers() == [2, 2]


def test_a_small_network_learns_on_one_thread(threads, monkeypatch):
    def numbers():
        found = []

        class Decoder(torch.nn.Linear):
            def forward(self, z):
                if self.training:
                    found.append(torch.get_num_threads())
                return super().forward(z)

        decoder = Decoder(2, 3)
        Autoencoder(2, decoder=decoder, hidden=(4,), max_epochs=1, validation=0, random_state=0).fit(np.eye(3))
        return set(found)

    assert numbers() == {1} and torch.get_num_threads() == 2
    monkeypatch.setattr(training, "SMALL", 0)
    assert numbers() == {2}
