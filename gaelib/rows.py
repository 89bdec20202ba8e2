"""Tables and batches as a fit reads them: validated rows on one device."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain, islice
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data
from torch import Tensor, nn
from torch.utils.data import RandomSampler

from .aside import aside
from .hyper import is_word
from .limits import farthest, in_step, need_room
from .remedies import remedies
from .solvers.threads import each, pools, shared

__all__ = ["Array", "Rows", "Table"]

Array: TypeAlias = np.ndarray | Tensor  # what a model gives back: of the kind of what it was given
Table: TypeAlias = ArrayLike | Tensor | Iterable[Any]  # rows, or batches of rows

CACHED, VIEWED, MOVED = 2**22, 2**26, 2**26  # entries at a time: what a CPU's cache holds; views of them; on a GPU
STAY = 2**27  # entries of a fit that stay on a GPU between its passes: half a gigabyte in float32


def is_batches(X: Any) -> bool:
    """Whether X is a re-iterable of batches rather than one table of rows."""
    if isinstance(X, (str, os.PathLike)):
        raise TypeError(
            f"X is the {type(X).__name__} {str(X)!r}, which names a file and is no table: pass gaelib.data.parquet(X), "
            "np.load(X, mmap_mode='r'), or what pandas reads from it"
        )
    if hasattr(X, "__next__"):
        raise TypeError(
            f"a {type(X).__name__} can be read only once and fitting reads the data many times: pass a list of "
            "arrays, or an object whose __iter__ starts afresh"
        )
    if isinstance(X, (list, tuple)):
        axes = [len(getattr(part, "shape", ())) for part in X]
        if min(axes, default=0) > 1 and max(axes) > 2:
            shape = tuple(X[axes.index(max(axes))].shape)
            raise ValueError(
                f"a {type(X).__name__} holds an array of {max(axes)} axes, {shape}, and a batch has 2, rows and "
                "columns: pass [part.reshape(len(part), -1) for part in X] if X holds batches, "
                "np.reshape(X, (len(X), -1)) if each is one sample"
            )
        return min(axes, default=0) == 2
    if isinstance(getattr(X, "sampler", None), RandomSampler):
        raise ValueError(
            f"a {type(X).__name__} that shuffles gives row 0 another place in every pass, and fitting makes many: "
            "pass shuffle=False"
        )
    return hasattr(X, "__iter__") and not any(hasattr(X, name) for name in ("shape", "__array__", "__dataframe__"))


def alone(part: Any) -> Any:
    """The rows of a batch: a DataLoader over a TensorDataset of one table gives them in a list."""
    if not isinstance(part, (list, tuple)) or not any(hasattr(each, "shape") for each in part):
        return part
    if len(part) > 1 or np.ndim(part[0]) < 2:
        raise TypeError(
            f"a batch is a {type(part).__name__} of {len(part)} arrays, as of a TensorDataset: yield its rows alone"
        )
    return part[0]


def holds_rows(part: Any) -> bool:
    """Whether a batch is not empty; what has no length is refused later, by name."""
    if hasattr(part, "shape"):
        return len(part.shape) == 0 or part.shape[0] > 0
    return not hasattr(part, "__len__") or len(part) > 0


def honest(X: Any, what: str) -> Any:
    """X, where NumPy would not make other numbers of it without a word; a tensor detached and of floating point.

    Refused are dates, records, sparse and complex tensors.  What an array masks becomes NaN, which is refused later.
    """
    if torch.is_tensor(X):
        if X.layout != torch.strided:
            raise TypeError(
                f"Sparse data was passed for {what} ({X.layout}), but dense data is required: use .to_dense()"
            )
        if X.is_meta:
            raise ValueError(f"{what} lies on the device 'meta' and holds no numbers: pass a tensor that does")
        if X.is_complex():
            raise ValueError(f"Complex data not supported for {what}, got {X.dtype}")
        X = X.detach().resolve_neg()  # NumPy has no views that are still to be negated
        if X.is_floating_point():
            return X.float() if X.itemsize == 1 else X  # torch has next to no arithmetic in 8 bits
        return X.double()
    if np.ma.isMaskedArray(X):
        return X.astype(np.float64).filled(np.nan)
    X = in_step(X, what) if isinstance(X, (list, tuple)) else X
    kinds = [X.dtype] if hasattr(X, "dtype") else list(getattr(X, "dtypes", ()))  # a frame has one for each column
    if kinds == [np.dtype(object)]:
        kinds = {entry.dtype for entry in np.ravel(X) if isinstance(entry, np.generic)}
    if alien := [kind for kind in kinds if getattr(kind, "kind", "f") in "mMV" or getattr(kind, "is_temporal", bool)()]:
        raise TypeError(
            f"{what} holds {alien[0]}, which is no number: pass numbers, such as the days since a first date"
        )
    return X


def real(X: Any, what: str) -> Any:
    """Anything as a finite array or tensor of floating-point numbers, of any number of axes; or a refusal."""
    with remedies():
        X = honest(X, what)
        if not torch.is_tensor(X):
            any_form = {"ensure_2d": False, "allow_nd": True, "ensure_min_samples": 0, "ensure_min_features": 0}
            X = check_array(X, dtype=[np.float64, np.float32], ensure_all_finite=False, input_name=what, **any_form)
    bad = ~view(X).isfinite()
    if bad.any():
        raise ValueError(f"{what} has {int(bad.sum())} non-finite of {bad.numel()} entries: pass finite numbers")
    return X


def view(part: Any) -> Tensor:
    """An array as a tensor: the same memory, read-only or not; a copy of what is reversed."""
    if torch.is_tensor(part):
        return part
    part = np.require(part, requirements=["C"])
    part = part.copy() if min(part.strides, default=0) < 0 else part  # one reversed row counts as contiguous
    if part.flags.writeable:
        return torch.from_numpy(part)
    with warnings.catch_warnings():  # nothing here writes into what it is given
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(part)


def as_numpy(X: Any) -> np.ndarray:
    """A table or a tensor of any layout as a NumPy array; of dtypes that NumPy lacks, in float32."""
    if not torch.is_tensor(X):
        return np.asarray(X)
    X = X.detach().resolve_neg().cpu()
    return (X.float() if X.is_floating_point() and X.itemsize < 4 else X).numpy()


@contextmanager
def at(device: torch.device, joint: nn.Module) -> Iterator[None]:
    """The joint on this device for a while, and then where it was."""
    home = next(chain(joint.buffers(), joint.parameters())).device
    try:
        joint.to(device)
        yield
    finally:
        joint.to(home)


class Rows:
    """Validated data as re-iterable batches: tensors (n_b, D) on one device.

    ``kind`` is what the caller passed (NumPy or torch, device and dtype), so that answers can be given alike.
    What a fit reads, ``reset``, is checked whole before any work; batches of a later question are checked as they come,
    and each reading must have as many rows as the first, and begin with the same.
    With ``holes`` entries may be NaN.
    """

    def __init__(self, X: Any, estimator: BaseEstimator, reset: bool, holes: bool = False):
        self.estimator, self.streamed, self.holes = estimator, is_batches(X), holes
        self.largest = 0.0  # size of an entry, of those read so far
        self.fitted = None if reset else estimator._like.dtype
        self.X = X if self.streamed else self._table(X, reset)
        tables = self._tables(reset) if self.streamed else iter([self.X])
        first = next(tables, None)
        if first is None:
            raise ValueError(f"got 0 rows in {sum(1 for _ in X)} batches: pass at least one array of rows")
        self.kind = first[:1] if torch.is_tensor(first) else None
        self.home = torch.device("cpu") if self.kind is None else self.kind.device
        self.device = pick_device(estimator.device, self.kind)
        self.width = first.shape[1]
        self.first = view(first[:1]).detach().cpu().clone()  # an origin near all rows, without a reading
        self.memo = {}  # what a model remembers of these rows during a fit
        forms = [(len(part), str(part.dtype)[-2:]) for part in chain([first], tables if reset else ())]
        self.dtype = torch.float64 if any(bits == "64" for _, bits in forms) else torch.float32
        self.n = None if self.streamed and not reset else sum(length for length, _ in forms)

    def _tables(self, reset: bool = False) -> Iterator[Any]:
        """The batches that hold rows, each one checked."""
        for part in map(alone, self.X):
            if holds_rows(part):
                yield self._table(part, reset)
                reset = False

    def _table(self, X: Any, reset: bool) -> Any:
        """One table of rows, refused before any work if it cannot be used."""
        with remedies():
            X = honest(X, "X")
            if torch.is_tensor(X):  # only its form is checked here: the data may live on another device
                validate_data(self.estimator, np.broadcast_to(np.float32(0), X.shape), reset=reset)
            else:
                dtype = [np.float64, np.float32]
                X = validate_data(self.estimator, X, reset=reset, dtype=dtype, ensure_all_finite=False)
        self._refuse_entries(X)
        return X

    def _refuse_entries(self, X: Any) -> None:
        """Where the first entry is that is not finite, or too large; of data with holes, the first infinite one."""
        name, step = type(self.estimator).__name__, max(1, CACHED // X.shape[1])
        dtype = self.fitted or (torch.float64 if str(X.dtype).endswith("64") else torch.float32)
        most = farthest(dtype, X.shape[1])
        starts = range(0, len(X), step)
        with shared():
            ends = each(lambda start: view(X[start : start + step]).aminmax(), starts)
        for start, (low, high) in zip(starts, ends):
            self.largest = max(self.largest, -float(low), float(high))
            if -most <= low and high <= most:  # most often; NaN compares as False
                continue
            part = view(X[start : start + step])
            bad = (part.isinf() if self.holes else ~part.isfinite()).nonzero()
            if len(bad):
                row, column = bad[0].tolist()
                what, instead = "NaN or infinity", "drop or fill those entries, for example with SimpleImputer"
                if self.holes:
                    what, instead = "infinity", "mark what is missing by NaN"
                elif hasattr(self.estimator, "impute"):
                    instead += " or, once fitted, by impute"
                raise ValueError(
                    f"Input X contains {what}: {name} found the first of them at row {start + row}, column "
                    f"{column} (value {float(part[row, column])}): {instead}"
                )
            need_room(part, dtype, "Input X", start)

    def __len__(self) -> int:
        if self.n is None:
            self.n = sum(len(alone(part)) for part in self.X)
        return self.n

    def __iter__(self) -> Iterator[Tensor]:
        if self.streamed:
            yield from map(self._tensor, self._again())
        else:
            yield from self._cut(CACHED if self.device.type == "cpu" else MOVED)

    def _again(self) -> Iterator[Any]:
        """The batches once more; refused where they are not those of the first reading."""
        count = 0
        for part in self._tables():
            if not count and not torch.equal(view(part[:1]).detach().cpu(), self.first):
                self._refuse_reading("another first row")
            count += len(part)
            yield part
        if self.n is not None and count != self.n:
            self._refuse_reading(f"{count} rows, and {self.n}")

    def _refuse_reading(self, gave: str) -> None:
        raise ValueError(
            f"X gave {gave} in an earlier reading: pass batches that stay as they are, in their order; an object whose "
            "__iter__ starts afresh"
        )

    def lists(self) -> Iterator[Sequence[Tensor]]:
        """Batches in lists that threads may share out: one for each, or the blocks of one batch of a stream.

        For a stream's next batch may stand in memory where its last one did.
        """
        batches = iter(self)
        if self.streamed and pools.small and self.device.type == "cpu":
            yield from (x.split(max(1, CACHED // self.width)) for x in batches)
        some = 1 + pools.helpers * (self.device.type == "cpu")
        while found := list(islice(batches, some)):
            yield found

    def _cut(self, entries: int) -> Iterator[Tensor]:
        step, table = max(1, entries // self.width), self.X if self.moved is None else self.moved
        for start in range(0, len(table), step):
            yield self._tensor(table[start : start + step])

    @cached_property
    def moved(self) -> Tensor | None:
        """The rows of a fit on another device than theirs, moved once for all passes; None if they are too many."""
        if self.streamed or self.fitted is not None or self.device.type == self.home.type:
            return None
        return self._tensor(self.X) if self.width * len(self.X) <= STAY else None

    @cached_property
    def views(self) -> list[Tensor] | None:
        """Batches that are the same tensors in every pass, views of what the caller holds; None if there are none."""
        if self.streamed or self.device.type != "cpu":
            return None
        theirs = self.X.data_ptr() if torch.is_tensor(self.X) else self.X.ctypes.data
        return list(self._cut(VIEWED)) if self._tensor(self.X[:1]).data_ptr() == theirs else None

    def _tensor(self, part: Any) -> Tensor:
        return view(part).to(self.device, self.dtype)

    def take(self, index: Tensor) -> Tensor:
        """Rows by their number in this process's data: (len(index), D)."""
        if not self.streamed:
            return self._tensor(self.X[index.to(self.home) if self.kind is not None else index.numpy()])
        rows, start = torch.empty(len(index), self.width, dtype=self.dtype, device=self.device), 0
        for part in self:
            here = (index >= start) & (index < start + len(part))
            rows[here.to(self.device)] = part[(index[here] - start).to(self.device)]
            start += len(part)
        return rows

    def like(self, value: Tensor) -> Array:
        """A tensor as the caller's kind: NumPy, or torch on the caller's device."""
        return value.cpu().numpy() if self.kind is None else value.to(self.home)

    def map(self, f: Callable[[Tensor], Tensor]) -> Array:
        """``f`` of every batch, put together again as the caller's kind; the model stands where the batches are."""
        with aside(grad=False), at(self.device, self.estimator.joint_):
            return self.like(torch.cat([f(x) for x in self]))


def pick_device(device: str | torch.device, kind: Tensor | None = None) -> torch.device:
    """The torch device named by ``"auto"`` (the data's own GPU, else CUDA, else the CPU) or by its torch name."""
    if not is_word(device, "auto"):
        try:
            device = torch.device(device)
            torch.empty(0, device=device)
            return device
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            raise ValueError(
                f"device={device!r} is not to be had here ({str(error).splitlines()[0]}): use 'auto' or 'cpu'"
            ) from None
    if kind is not None and kind.device.type != "cpu":
        return kind.device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
