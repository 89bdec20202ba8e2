"""The scikit-learn face of a joint: validation, batches, seeds, devices and interruptions, in one place."""

import copy
import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import KW_ONLY
from functools import cache, partial
from importlib.metadata import metadata
from typing import TYPE_CHECKING, Any, Self

import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from .aside import aside
from .core import Exact, Joint, alternate, ascend, objective
from .hyper import Seed, count, draw_seed, fitted, hyper, number, plain, settings, switch, validate
from .limits import need_digits
from .parallel import all_sum, from_first, gather, rank_and_size
from .progress import progress
from .rows import Array, Rows, Table, real, view
from .solvers.sums import total
from .solvers.threads import shared

__all__ = ["Estimator", "Model"]


@cache
def documentation() -> str:
    """The book's address, as the package's metadata give it; empty where they give none."""
    urls = metadata("generative-autoencoders").get_all("Project-URL", [])
    return dict(url.split(", ", 1) for url in urls).get("Documentation", "")


def reached(found: tuple[Joint, list[float], bool]) -> float:
    """The last objective of a joint and its history."""
    return found[1][-1]


@hyper
class Fitting(BaseEstimator):
    """What every model's scikit-learn face shares, new rows answered or not.  It holds a `Joint` as ``joint_``.

    A subclass is decorated with `hyper`, writes its hyperparameters as fields with their bounds, and defines

    - ``_check(n, width)``: refuse what cannot work, before any work
    - ``_start(data, generator) -> Joint``
    - ``_finish(data)``: the fitted attributes beyond ``joint_``, ``history_`` and ``n_iter_``
    """

    infer = Exact()

    _: KW_ONLY
    device: str | torch.device = "auto"
    joint_: Any = fitted()
    history_: list[float] = fitted()
    n_iter_: int = fitted()

    _doc_link_module = "gaelib"
    _moves = "closed forms, a pass over the data at a time"  # who moves the parameters, for `explain`
    _answers = ""  # who answers the max, where `infer` does not say it
    _chapter = "index"  # of the book, which derives the model
    _on_step = None  # who hears of each step, during a fit
    _small = 0  # entries of a table, up to which a fit is faster on one thread
    _in_blocks = False  # whether blocks of rows are handed to threads
    _wide = False  # whether squares of the data are in float64 whatever their dtype
    _movable = frozenset(  # what may be another where a fit goes on
        [
            "max_iter",
            "tol",
            "n_init",
            "init",
            "solver",
            "extrapolate",
            "warm_start",
            "random_state",
            "device",
            "verbose",
        ]
    )
    _goes_on = False  # whether a fit is made of passes, of which it tells and after which it can go on

    def _terms(self) -> tuple[str, str, str]:
        """Code, prior and decoder in words, for `explain`."""
        return self.joint_.terms()

    @property
    def _doc_link_template(self):  # where scikit-learn's picture of an estimator sends who wants to read on
        return documentation() and f"{documentation()}api.html#api-{type(self).__name__.lower()}"

    def fit(self, X: Table, y: Any = None, on_step: Callable[[Self], Any] | None = None) -> Self:
        """Learn from X.

        Parameters
        ----------
        X : array, memmap, DataFrame or tensor (n, D), or a re-iterable of such batches
            Under ``torchrun``, this process's shard.  Sparse input is refused.
        y : ignored
        on_step : callable, optional
            Hears of each pass of a fit by passes: it gets a model with ``joint_``, ``history_`` and ``n_iter_`` as they
            stand, which the next pass moves on, so look at once or keep a copy, as `checkpoint` does.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For hyperparameters or data that cannot work, before any work.
        FloatingPointError
            At the first non-finite objective, naming the step.

        Whatever is raised, the estimator is afterwards what it was before; but Ctrl-C keeps the best so far.
        """
        before = dict(vars(self))
        try:
            if on_step is not None and not self._goes_on:
                raise TypeError(f"{type(self).__name__} makes no passes that on_step could hear of: leave it out")
            self._on_step, given = on_step, plain(self)
            vars(self).update(given)
            settled, interrupt = self._fit(X, y)
            vars(self).update((name, before[name]) for name in given)
        except BaseException as error:
            vars(self).clear()
            vars(self).update(before)
            rank, size = rank_and_size()
            if size > 1:  # whose rows it was: each process has others
                error.add_note(f"in process {rank} of {size}, counted from 0")
            raise
        finally:
            vars(self).pop("_on_step", None)
        if interrupt is not None:
            raise interrupt
        if not settled:
            warnings.warn(
                f"{type(self).__name__} stopped after max_iter={self.max_iter} steps while the objective still rose: "
                "raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @aside(grad=True)
    def _fit(self, X: Table, y: Any) -> tuple[bool, KeyboardInterrupt | None]:
        """Check, learn and keep the best start: whether it settled, and what interrupted it then."""
        was = getattr(self, "n_features_in_", None), getattr(self, "_settings", {})
        data = self._rows(X, y)
        with self._threads(data):
            return self._best(data, was)

    def _threads(self, data):
        """One thread for a small table; for another as many as torch has, where the model works on blocks of rows."""
        small = len(data) * data.width <= self._small
        return shared(1 if small else None) if small or self._in_blocks else nullcontext()

    def _best(self, data, was):
        validate(self)
        self._settings = settings(self)
        need_digits(max(gather(data.largest)), torch.float64 if self._wide else data.dtype)
        self._check(int(all_sum({"n": torch.tensor(float(len(data)), dtype=torch.float64)})["n"]), data.width)
        generator = torch.Generator().manual_seed(from_first(draw_seed(self.random_state)))
        found, before, history = [], [], []
        starts = self._starts(data, generator)
        if self._goes_on and self.warm_start and hasattr(self, "joint_"):
            starts, before = self._gone_on(data, was)
        try:
            for joint in starts:
                history = list(before)
                settled = self._learn(joint, data, history)
                if not math.isfinite(history[-1]):
                    raise FloatingPointError(f"the objective is {history[-1]}: bring the data to moderate units")
                found = [max([*found, (joint, history, settled)], key=reached)]
            self._keep(data, *found[0][:2])
        except KeyboardInterrupt as interrupt:
            found += [(joint, history, False)] if history else []
            if not found:
                raise
            self._keep(data, *max(found, key=reached)[:2])
            return False, interrupt
        return found[0][2], None

    def _rows(self, X, y):
        """The training data, refused before any work if they cannot be used."""
        return Rows(X, self, reset=True)

    def _learn(self, joint, data, history):
        """Move the joint's parameters; append the objective of every step to ``history``.

        Returns whether the tolerance was met before the steps ran out.
        """
        with progress(total=self.max_iter, verbose=self.verbose) as bar:

            def on_step(step, value):
                history.append(value)
                bar.update()
                self._tell(joint, history)

            (infer, batches), before = self._reading(joint, data), tuple(history)
            return alternate(joint, batches, infer, self.max_iter, self.tol, all_sum, on_step, before).settled

    def _tell(self, joint, history):
        """Whoever listens hears of this step: a model as `fit` would leave it, without what `fit` adds at its end."""
        if self._on_step is not None:
            now = copy.copy(self)
            for name in vars(self):
                if name == "_on_step" or (name.endswith("_") and "feature" not in name):
                    delattr(now, name)
            now.joint_, now.history_, now.n_iter_ = joint, list(history), len(history)
            self._on_step(now)

    def _gone_on(self, data, was):
        """Copies of the joint and history to go on from, of a fit with ``was``: its columns and settings."""
        width, given = was
        if width != data.width:
            raise ValueError(
                f"warm_start goes on with a fit to {width} features, got {data.width}: pass the same columns, "
                "or warm_start=False"
            )
        for name, value in given.items():
            if name not in self._movable and (now := self._settings.get(name)) != value:
                raise ValueError(
                    f"warm_start goes on with a fit at {name}={value!r}, got {now!r}: pass that, or warm_start=False"
                )
        return [copy.deepcopy(self.joint_).to(data.device, data.dtype)], list(self.history_)

    def _of_fit(self, name):
        """A hyperparameter as the fit had it; before a fit, as it stands."""
        return getattr(self, "_settings", {}).get(name, getattr(self, name))

    def _reading(self, joint, data):
        """Who answers the max during a fit, and the batches."""
        return self.infer, data

    def _ascend(self, f, params, history):
        """Climb f by L-BFGS until a step raises f by no more than ``tol`` of all since the second."""

        params = list(params)
        best = [param.detach().clone() for param in params]

        def settled(step, value):
            history.append(value)
            best[:] = [param.detach().clone() for param in params]
            return step and value - history[-2] <= self.tol * (value - history[1])

        lbfgs = partial(torch.optim.LBFGS, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=0)
        try:
            return ascend(f, params, self.max_iter, 1.0, lbfgs, settled).settled
        except KeyboardInterrupt:  # in a line search, which stands wherever it looked last
            for param, value in zip(params, best):
                param.data.copy_(value)
            raise

    def _starts(self, data, generator):
        """The joints to learn from, one after the other, of which the best is kept."""
        return (self._start(data, generator) for _ in range(getattr(self, "n_init", 1)))

    def _keep(self, data, joint, history):
        self.joint_, self.history_, self.n_iter_ = joint, list(history), len(history)
        self._finish(data)
        joint.to(data.home)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "joint_")


class Model(Fitting):
    """A fit that can be asked of other rows too: what they score."""

    def _open(self, X, holes=False):
        """X as batches for a fitted estimator."""
        check_is_fitted(self)
        data = Rows(X, self, reset=False, holes=holes)
        data.dtype = self._like.dtype
        return data

    @property
    def _like(self):
        """A tensor of the joint's dtype and device."""
        return next(self.joint_.buffers())

    def _codes(self, Z, width):
        """Codes (n, width) as a tensor like the joint's parameters, or a refusal with both numbers."""
        check_is_fitted(self)
        codes = view(real(Z, "Z"))
        if codes.ndim != 2 or codes.shape[1] != width:
            raise ValueError(
                f"{type(self).__name__} decodes codes of shape (n, {width}), got {tuple(codes.shape)}: "
                "pass what transform returns"
            )
        return codes.to(self._like)

    @aside(grad=False)
    def _decode(self, Z, width, decode):
        """Codes (n, width) through ``decode``, as the caller's kind."""
        decoded = decode(self._codes(Z, width))
        return decoded.detach().to(Z.device) if torch.is_tensor(Z) else decoded.detach().cpu().numpy()

    def _objective(self, joint, data):
        """The mean objective over all rows and processes."""
        with torch.no_grad():
            value = sum(total(objective(joint, x, self.infer)).cpu() for x in data)
        sums = all_sum({"value": value, "n": torch.tensor(float(len(data)), dtype=torch.float64)})
        return float(sums["value"] / sums["n"])

    def score_samples(self, X: Table) -> Array:
        """The objective of each sample: (n, D) -> (n,), nats.

        It is ``max_z log q_w(z) + log q_r(x|z)``; at temperature 1 (`PPCA`, `MPPCA`, `GaussianMixture`) the log
        evidence, ``log sum_z q_w(z) q_r(x|z)``.
        """
        return self._open(X).map(lambda x: objective(self.joint_, x, self.infer))

    def score(self, X: Table, y: Any = None) -> float:
        """The mean of `score_samples`: nats per sample; higher is better."""
        return float(self.score_samples(X).mean())


class Estimator(TransformerMixin, Model):
    """A `Model` whose code is found, not given: it adds ``fit_transform`` and ``set_output``."""

    if TYPE_CHECKING:  # scikit-learn's have no types

        def fit_transform(self, X: Table, y: Any = None) -> Array: ...


@hyper
class Iterative(Model):
    """The hyperparameters of a fit by steps from a drawn start."""

    _goes_on = True

    _: KW_ONLY
    max_iter: int = count(300)
    tol: float = number(1e-4, "tol=0 to run to the end", closed=True)
    warm_start: bool = switch(False)
    random_state: Seed = None
    verbose: int = 0
