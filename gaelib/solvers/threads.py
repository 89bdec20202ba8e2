"""The processor's threads: blocks of rows are shared out, and whoever has one works on it alone.

torch and NumPy's BLAS have pools of their own, whose idle threads go on waiting in a loop for some time and keep those
of another pool from the processor; and to hand a small tensor over costs more than the work on it.  So within `shared`
each pool has one thread, and `each` hands blocks of rows to Python's threads, as many as torch was given.  Python lets
them run side by side while they are in a call of torch or NumPy.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController

A, B = TypeVar("A"), TypeVar("B")


@cache
def blas() -> Any:
    """The BLAS libraries of NumPy and SciPy; torch's own is not among them and follows torch."""
    return ThreadpoolController().select(user_api="blas")


@cache
def crew() -> ThreadPoolExecutor:
    """Threads that stay for the next time."""
    return ThreadPoolExecutor(thread_name_prefix="gaelib")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=crew.cache_clear)  # a child inherits no threads


class Pools:
    """Who wants the pools small.  torch's number is each thread's own, but a new thread takes what another set last."""

    def __init__(self):
        self.lock, self.own, self.users, self.threads = threading.Lock(), threading.local(), 0, 1
        self.limited = False

    @property
    def small(self) -> bool:
        """Whether this thread is within `shared`."""
        return hasattr(self.own, "helpers")

    @property
    def helpers(self) -> int:
        """How many more threads may help this one."""
        return getattr(self.own, "helpers", 0)

    @contextmanager
    def shared(self, most: int | None = None) -> Iterator[None]:
        """Within, one thread for each pool, and `each` may use as many as torch had, at most ``most``."""
        if self.small:  # within already
            yield
            return
        with self.lock:  # the first one in sees what the caller has set
            if not self.users:
                self.threads = torch.get_num_threads()
            self.users += 1
            threads = self.threads
            # The BLAS has one number for all: who read it while another holds it down would later put that back.
            mine, self.limited = not self.limited, True
        try:
            with blas().limit(limits=1) if mine else nullcontext():
                self.own.helpers = (threads if most is None else min(threads, most)) - 1
                torch.set_num_threads(1)
                yield
        finally:
            torch.set_num_threads(threads)
            vars(self.own).clear()
            with self.lock:
                self.users -= 1
                self.limited &= not mine

    def help(self, work: Callable[[], None]) -> None:
        """Of a thread of the crew, whose numbers stay at one."""
        self.own.helpers = 0
        if torch.get_num_threads() > 1:
            torch.set_num_threads(1)  # whoever wants the pools small puts back what others see
        work()


pools = Pools()
shared = pools.shared


def each(f: Callable[[A], B], parts: Iterable[A]) -> list[B]:
    """``f`` of every part, in their order; within `shared` by several threads, so ``f`` must write to its part alone.

    Examples
    --------
    >>> with shared():
    ...     each(lambda x: float(x.sum()), torch.arange(6.0).split(2))
    [1.0, 5.0, 9.0]
    """
    parts = list(parts)
    count = min(pools.helpers, len(parts) - 1)
    if count < 1:
        return [f(part) for part in parts]
    found: list[Any] = [None] * len(parts)
    grad, left = torch.is_grad_enabled(), enumerate(parts)

    def work() -> None:  # takes the next part until none is left
        try:
            with torch.set_grad_enabled(grad):
                for i, part in left:
                    found[i] = f(part)
        except BaseException:  # after which nobody goes on
            found.extend(left)
            raise

    helpers = [crew().submit(pools.help, work) for _ in range(count)]
    try:
        work()
    finally:
        wait([helper for helper in helpers if not helper.cancel()])
    for helper in helpers:
        if not helper.cancelled():
            helper.result()  # its error, if any
    return found
