"""The scikit-learn face of a joint: validation, batches, seeds, devices and interruptions, in one place."""

import numbers
import warnings
from functools import cached_property, partial

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm import tqdm

from .core import Exact, alternate, ascend, objective
from .eigen import sum_rows
from .parallel import all_sum

__all__ = ["Estimator", "Model", "Rows"]

CACHED, MOVED = 2**22, 2**24  # entries worked on at a time: what a CPU's cache holds; what is worth moving to a GPU

REMEDIES = (  # of scikit-learn's refusals, which name the cause but not always what to do
    ("sample(s)", "pass at least one row"),
    ("feature(s)", "pass at least one column"),
    ("features, but", "pass the columns that fit saw, or fit again"),
    ("feature names", "pass the columns that fit saw, in their order"),
    ("Expected 2D array", "pass one row per sample and one column per feature"),
    ("dim", "flatten each sample to one row"),
    ("omplex", "pass real numbers, for example the real and imaginary parts as columns"),
    ("parse", "load the data as real arrays first"),
    ("1d array", "pass one label per row"),
    ("label type", "pass classes, or use LinearRegression"),
    ("convert", "encode what is not a number, for example with OneHotEncoder"),
)


def with_remedy(error):
    """scikit-learn's refusal, with what to do instead."""
    remedy = next((remedy for sign, remedy in REMEDIES if sign in str(error)), None)
    return type(error)(f"{error}".rstrip(".") + (f": {remedy}" if remedy else ""))


def is_batches(X):
    """Whether X is a re-iterable of batches rather than one table of rows."""
    if hasattr(X, "__next__"):
        raise TypeError(
            f"a {type(X).__name__} can be read only once and fitting reads the data many times: pass a list of "
            "arrays, or an object whose __iter__ starts afresh"
        )
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and all(getattr(part, "ndim", 0) == 2 for part in X)
    return hasattr(X, "__iter__") and not any(
        hasattr(X, name) for name in ("shape", "__array__", "__dataframe__")
    )


def view(part):
    """An array as a tensor: the same memory where torch can, a copy of what is read-only or reversed."""
    if torch.is_tensor(part):
        return part
    part = np.require(part, requirements=["C", "W"])
    return torch.from_numpy(part.copy() if min(part.strides) < 0 else part)  # one reversed row counts as contiguous


class Rows:
    """Validated data as re-iterable batches: tensors (n_b, D) on one device.

    ``kind`` is what the caller passed (NumPy or torch, device and dtype), so that answers can be given alike.
    With ``holes`` entries may be NaN.
    """

    def __init__(self, X, estimator, reset, holes=False):
        self.estimator, self.streamed, self.holes = estimator, is_batches(X), holes
        self.X = X if self.streamed else self._table(X, reset)
        first = next(iter(X), None) if self.streamed else self.X
        if first is None:
            raise ValueError("got 0 batches: pass at least one array of rows")
        first = self._table(first, reset) if self.streamed else first
        self.kind = first[:1] if torch.is_tensor(first) else None
        self.device = pick_device(estimator.device, self.kind)
        self.dtype = torch.float32 if str(first.dtype)[-2:] in ("32", "16") else torch.float64
        self.width = first.shape[1]
        self.n = len(self.X) if not self.streamed else sum(len(part) for part in X)

    def _table(self, X, reset):
        """One table of rows, refused before any work if it cannot be used."""
        name = type(self.estimator).__name__
        try:
            if torch.is_tensor(X):  # only its form is checked here: the data may live on another device
                if X.is_complex():
                    raise ValueError(f"Complex data not supported by {name}, got {X.dtype}")
                validate_data(self.estimator, np.broadcast_to(np.float32(0), X.shape), reset=reset)
                X = X.detach() if X.is_floating_point() else X.detach().double()
            else:
                dtype = [np.float64, np.float32]
                X = validate_data(self.estimator, X, reset=reset, dtype=dtype, ensure_all_finite=False)
        except (ValueError, TypeError) as error:
            raise with_remedy(error) from None
        step = max(1, CACHED // X.shape[1])
        for start in () if self.holes else range(0, len(X), step):
            part = X[start : start + step]
            with np.errstate(over="ignore", invalid="ignore"):
                if torch.as_tensor(sum_rows(part)).isfinite().all():  # most often; a sum can also overflow
                    continue
            part = view(part)
            bad = (~part.isfinite()).nonzero()
            if len(bad):
                row, column = bad[0].tolist()
                raise ValueError(
                    f"Input X contains NaN or infinity: {name} found the first of them at row {start + row}, column "
                    f"{column} (value {float(part[row, column])}): drop or fill those entries, for example with SimpleImputer"
                    + " or, once fitted, by impute" * hasattr(self.estimator, "impute")
                )
        return X

    def __len__(self):
        return self.n

    def __iter__(self):
        if self.streamed:
            for part in self.X:
                yield self._tensor(self._table(part, reset=False))
        else:
            yield from self._cut(CACHED if self.device.type == "cpu" else MOVED)

    def _cut(self, entries):
        step = max(1, entries // self.width)
        for start in range(0, len(self.X), step):
            yield self._tensor(self.X[start : start + step])

    @cached_property
    def views(self):
        """Batches that are the same tensors in every pass, views of what the caller holds; None if there are none."""
        if self.streamed or self.device.type != "cpu":
            return None
        theirs = self.X.data_ptr() if torch.is_tensor(self.X) else self.X.ctypes.data
        return list(self._cut(MOVED)) if self._tensor(self.X[:1]).data_ptr() == theirs else None

    def _tensor(self, part):
        return view(part).to(self.device, self.dtype)

    def take(self, index):
        """Rows by their number in this process's data: (len(index), D)."""
        if not self.streamed:
            return self._tensor(
                self.X[index.to(self.kind.device) if self.kind is not None else index.numpy()]
            )
        rows, start = torch.empty(len(index), self.width, dtype=self.dtype, device=self.device), 0
        for part in self:
            here = (index >= start) & (index < start + len(part))
            rows[here.to(self.device)] = part[(index[here] - start).to(self.device)]
            start += len(part)
        return rows

    def like(self, value):
        """A tensor as the caller's kind: NumPy, or torch on the caller's device."""
        return value.cpu().numpy() if self.kind is None else value.to(self.kind.device)

    def map(self, f):
        """``f`` of every batch, put together again as the caller's kind."""
        with torch.no_grad():
            return self.like(torch.cat([f(x) for x in self]))


def pick_device(device, kind=None):
    """The torch device named by ``"auto"`` (the data's own GPU, else CUDA, else the CPU) or by its torch name."""
    if device != "auto":
        try:
            device = torch.device(device)
            torch.empty(0, device=device)
            return device
        except (RuntimeError, AssertionError, TypeError) as error:
            raise ValueError(
                f"device={device!r} is not to be had here ({str(error).splitlines()[0]}): use 'auto' or 'cpu'"
            ) from None
    if kind is not None and kind.device.type != "cpu":
        return kind.device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def draw_seed(random_state):
    """A seed for a local torch.Generator, from None, an int, a RandomState or a Generator; nothing global is touched."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, numbers.Integral):
        if random_state < 0:
            raise ValueError(f"random_state={random_state} is below 0: pass a non-negative integer")
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    raise ValueError(
        f"random_state={random_state!r} is no seed: pass None, an integer, a RandomState or a Generator"
    )


def need_integer(name, value, at_least=1):
    """Refuse a hyperparameter that is not an integer of at least so much."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < at_least:
        raise ValueError(
            f"{name}={value!r} must be an integer of at least {at_least}: pass {name}={at_least} or more"
        )


class Model(BaseEstimator):
    """What every model's scikit-learn face shares.  It holds a `Joint` as ``joint_``; it is not one.

    A subclass stores its hyperparameters in ``__init__`` (``n_init``, ``max_iter``, ``tol``, ``random_state``,
    ``device`` and ``verbose`` among them) and defines

    - ``_check(n, width)``: refuse what cannot work, before any work
    - ``_start(data, generator) -> Joint``
    - ``_finish(data)``: the fitted attributes beyond ``joint_``, ``history_`` and ``n_iter_``
    """

    infer = Exact()

    def fit(self, X, y=None):
        """Learn from X.

        Parameters
        ----------
        X : array, memmap, DataFrame or tensor (n, D), or a re-iterable of such batches
            Under ``torchrun``, this process's shard.  Sparse input is refused.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For hyperparameters or data that cannot work, before any work.
        FloatingPointError
            At the first non-finite objective, naming the step.
        """
        data = self._rows(X, y)
        for name in ("n_init", "max_iter"):
            if hasattr(self, name):
                need_integer(name, getattr(self, name))
        if hasattr(self, "tol") and not (isinstance(self.tol, numbers.Real) and self.tol >= 0):
            raise ValueError(f"tol={self.tol!r} must be a number of at least 0: pass tol=0 to run to the end")
        self._check(int(all_sum({"n": torch.tensor(float(len(data)), dtype=torch.float64)})["n"]), data.width)
        generator = torch.Generator().manual_seed(draw_seed(self.random_state))
        best, joint, history = None, None, []
        try:
            for _ in range(self._starts()):
                joint, history = self._start(data, generator), []
                self._learn(joint, data, history)
                if best is None or history[-1] > best[1][-1]:
                    best = joint, history
        except KeyboardInterrupt:  # keep the best so far, then let the caller know
            if best or history:
                self._keep(data, *(best or (joint, history)))
            raise
        self._keep(data, *best)
        if self._rising():
            warnings.warn(
                f"{type(self).__name__} stopped after max_iter={self.max_iter} steps while the objective still rose: "
                "raise max_iter or tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _rows(self, X, y):
        """The training data, refused before any work if they cannot be used."""
        return Rows(X, self, reset=True)

    def _rising(self):
        """Whether the steps ran out before the tolerance was met."""
        last = self.history_[-2:]
        return len(self.history_) == self.max_iter and (
            len(last) == 1 or last[1] - last[0] > self.tol * abs(last[0])
        )

    def _learn(self, joint, data, history):
        """Move the joint's parameters; append the objective of every step to ``history``."""
        with tqdm(total=self.max_iter, disable=None if self.verbose else True, leave=False) as bar:

            def on_step(step, value):
                history.append(value)
                bar.update()

            joint, batches = self._reading(joint, data)
            alternate(joint, batches, self.infer, self.max_iter, self.tol, all_sum, on_step)

    def _reading(self, joint, data):
        """The joint as a fit reads it, and the batches."""
        return joint, data

    def _ascend(self, f, params, history):
        """Climb f by L-BFGS until a step of it raises f by no more than ``tol``."""

        def settled(step, value):
            history.append(value)
            return step and value - history[-2] <= self.tol * abs(value)

        lbfgs = partial(
            torch.optim.LBFGS, line_search_fn="strong_wolfe", tolerance_grad=1e-10, tolerance_change=0
        )
        ascend(f, params, self.max_iter, 1.0, lbfgs, settled)

    def _starts(self):
        return getattr(self, "n_init", 1)

    def _keep(self, data, joint, history):
        self.joint_, self.history_, self.n_iter_ = joint, list(history), len(history)
        self._finish(data)

    def _open(self, X, holes=False):
        """X as batches for a fitted estimator."""
        check_is_fitted(self)
        data = Rows(X, self, reset=False, holes=holes)
        self.joint_.to(data.device)
        data.dtype = self._like.dtype
        return data

    @property
    def _like(self):
        """A tensor of the joint's dtype and device."""
        return next(self.joint_.buffers())

    def _codes(self, Z, width):
        """Codes (n, width) as a tensor like the joint's parameters, or a refusal with both numbers."""
        check_is_fitted(self)
        codes = Z if torch.is_tensor(Z) else torch.as_tensor(np.asarray(Z))
        if codes.ndim != 2 or codes.shape[1] != width:
            raise ValueError(
                f"{type(self).__name__} decodes codes of shape (n, {width}), got {tuple(codes.shape)}: pass what transform returns"
            )
        return codes.to(self._like)

    def _decode(self, Z, width, decode):
        """Codes (n, width) through ``decode``, as the caller's kind."""
        decoded = decode(self._codes(Z, width))
        return decoded.to(Z.device) if torch.is_tensor(Z) else decoded.cpu().numpy()

    def _objective(self, joint, data):
        """The mean objective over all rows and processes."""
        with torch.no_grad():
            total = sum(objective(joint, x, self.infer).sum().to("cpu", torch.float64) for x in data)
        sums = all_sum({"total": total, "n": torch.tensor(float(len(data)), dtype=torch.float64)})
        return float(sums["total"] / sums["n"])

    def score_samples(self, X):
        """The objective of each sample: (n, D) -> (n,), nats.

        It is ``max_z log q_w(z) + log q_r(x|z)``; at temperature 1 (`PPCA`, `MPPCA`, `GaussianMixture`) the log
        evidence, ``log sum_z q_w(z) q_r(x|z)``.
        """
        return self._open(X).map(lambda x: objective(self.joint_, x, self.infer))

    def score(self, X, y=None):
        """The mean of `score_samples`: nats per sample; higher is better."""
        return float(self.score_samples(X).mean())


class Estimator(TransformerMixin, Model):
    """A `Model` whose code is found, not given: it adds ``fit_transform`` and ``set_output``."""
