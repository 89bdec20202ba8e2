"""Tables and batches as a fit reads them: validated rows on one device."""

from functools import cached_property

import numpy as np
import torch
from sklearn.utils.validation import validate_data

from .solvers.eigen import sum_rows

__all__ = ["Rows"]

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
    return hasattr(X, "__iter__") and not any(hasattr(X, name) for name in ("shape", "__array__", "__dataframe__"))


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
                    + " or, once fitted, by impute"
                    * hasattr(self.estimator, "impute")
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
            return self._tensor(self.X[index.to(self.kind.device) if self.kind is not None else index.numpy()])
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
