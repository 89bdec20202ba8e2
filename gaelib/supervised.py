"""Two tables in step: what regressions learn from.  X is given, y is scored (ledger G9)."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Self

import numpy as np
import torch
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d
from torch import Tensor

from .aside import aside
from .core import Given, objective
from .limits import need_digits, need_room
from .parallel import all_sum, gather
from .remedies import remedies
from .rows import Array, Rows, Table, as_numpy, at, honest, is_batches, view
from .solvers.sums import added, in_order

KEPT = 2**26  # entries of a table that is kept beside the caller's own
BLOCK = 2**18  # entries of rows that a thread works on at a time: its cache holds them for the second product


def array(y: Any, batches: bool = False) -> Any:
    """A tensor, or a list of batches, as one NumPy array; anything else as it is.

    With ``batches``, what stands beside batches of X, a list of arrays is their join, even if each has one axis.
    """
    if torch.is_tensor(y):
        honest(y, "y")
        return as_numpy(y)
    if batches and isinstance(y, (list, tuple)):
        batches = all(len(getattr(part, "shape", ())) > 0 for part in y)
    else:
        batches = is_batches(y)
    return np.concatenate([np.asarray(array(part)) for part in y]) if batches else y


def pairs(data: Rows) -> Iterator[tuple[Tensor, Tensor]]:
    """Both tables in step, as `log_joint` takes them: (rows of y, rows of X)."""
    start = 0
    for z in data:
        x = data.y[start : start + len(z)].to(z.device)
        yield x.to(z.dtype) if x.is_floating_point() else x, z
        start += len(z)


def total(batches: Iterable[tuple[Tensor, Tensor]], sums_of: Callable[..., dict[str, Tensor]]) -> dict[str, Tensor]:
    """The sums of all batches (x, z) and processes, added in float64; threads share out the blocks of `Centred`."""
    return all_sum(added(in_order(lambda _, pair: sums_of(*pair), batches)))


class Halves:
    """The first tables, or the second, of batches that are pairs; read again whenever they are asked for."""

    def __init__(self, batches: Iterable[Any], which: int):
        self.batches, self.which = batches, which

    def __iter__(self) -> Iterator[Any]:
        return (pair[self.which] for pair in self.batches)


def parted(X: Table, y: Table | None) -> tuple[Table, Table | None]:
    """Both tables, where X alone is batches of pairs, as a DataLoader over a TensorDataset of two gives them."""
    if y is None and is_batches(X):
        first = next(iter(X), None)
        if isinstance(first, (list, tuple)) and len(first) == 2:
            return Halves(X, 0), list(Halves(X, 1))
    return X, y


class Centred:
    """Pairs (y, X - centre) of all batches; of a table of moderate size they are kept, in blocks."""

    def __init__(self, data: Rows, centre: Tensor):
        self.data, self.centre = data, centre
        few = not data.streamed and len(data) * data.width <= KEPT
        self.rows = max(1, BLOCK // data.width) if data.device.type == "cpu" else len(data)
        self.kept = list(chain(*self._blocks())) if few else None

    def _blocks(self) -> Iterator[Iterable[tuple[Tensor, Tensor]]]:
        return (zip(x.split(self.rows), (z - self.centre).split(self.rows)) for x, z in pairs(self.data))

    def lists(self) -> Iterable[Iterable[tuple[Tensor, Tensor]]]:
        """Blocks that threads may share out: all that are kept, or those of one batch."""
        return self._blocks() if self.kept is None else [self.kept]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return chain(*self.lists())


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b; of thin float64 matrices on a CPU by NumPy, whose BLAS takes half of torch's time."""
    return torch.from_numpy(a.numpy() @ b.numpy()) if a.device.type == "cpu" else a @ b


def least_squares(zz: Tensor, zr: Tensor, varies: Tensor, W: Tensor) -> Tensor:
    """W (p, D) and the solution of ``zz step = zr`` added; where the data do not vary, the smallest such sum.

    ``varies`` (p,) names the columns that are not constant.
    """
    scale = torch.where(varies, zz.diagonal(), 1.0).sqrt()  # units must not decide what counts as rounding
    values, axes = torch.linalg.eigh(zz / torch.outer(scale, scale) * torch.outer(varies, varies))
    seen = values > 1e-14 * len(values) * values[-1]
    W = W + axes[:, seen] / values[seen] @ (axes[:, seen].T @ (zr / scale[:, None])) / scale[:, None]
    blind = torch.linalg.qr(axes[:, ~seen] / scale[:, None]).Q
    return W - blind @ (blind.T @ W)


class Observed:
    """What the regressions share: a second table y beside the rows of X, numbers, checked and kept in memory."""

    coef_: Array
    intercept_: Array | float

    random_state = 0  # nothing is drawn
    judge = staticmethod(r2_score)

    def fit(self, X: Table, y: Table | None = None) -> Self:
        """Learn from pairs: X (n, p) is what is given, y is what is scored; batches of X take y whole or in batches.

        Without y the batches are pairs, such as those of a DataLoader that does not shuffle.
        Raises ValueError for hyperparameters, X or y that cannot work, before any work.
        """
        return super().fit(*parted(X, y))

    def score_samples(self, X: Table, y: Table | None = None) -> Array:
        """log q_r(y|X) of each pair: (n,), nats.  Without y, of the best y: the max over what is not given."""
        data = self._open(X)
        data.y = self._targets(self._read(self.predict(X) if y is None else y, data), data, fitted=True)
        with aside(grad=False), at(data.device, self.joint_):
            return data.like(torch.cat([objective(self.joint_, x, Given(z)) for x, z in pairs(data)]))

    def score(self, X: Table, y: Table | None = None) -> float:
        """As in scikit-learn: R squared of a regression, accuracy of a classification; X may be batches of pairs."""
        X, y = parted(X, y)
        return float(self.judge(self._read(y, self._open(X)), array(self.predict(X))))

    def _check(self, n, width):
        pass

    def _rows(self, X, y):
        data = Rows(X, self, reset=True)
        data.y = self._targets(self._read(y, data), data)
        data.given, data.dtype = data.dtype, torch.float64  # the fit needs the digits
        return data

    def _read(self, y, data):
        """y as a finite NumPy array of one entry or row for each of the data."""
        name = type(self).__name__
        if y is None:
            raise ValueError(f"{name} requires y to be passed, but the target y is None: call fit(X, y)")
        with remedies():
            y = self._table(array(y, data.streamed))
        if len(y) != len(data):
            raise ValueError(f"X has {len(data)} rows, but y has {len(y)}: pass one y for each row of X")
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            place = tuple(np.argwhere(~np.isfinite(y))[0])
            raise ValueError(
                f"Input y contains NaN or infinity: {name} found the first of them at row {place[0]} "
                f"(value {y[place]}): drop the rows whose y is missing"
            )
        return y

    def _table(self, y):
        y = honest(y, "y")
        return check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite=False, input_name="y")

    def _targets(self, y, data, fitted=False):
        data.single, y = y.ndim == 1, view(y.reshape(len(y), -1))
        if fitted and y.shape[1] != len(self.joint_.bias):
            raise ValueError(
                f"y has {y.shape[1]} columns, but fit saw {len(self.joint_.bias)}: pass the columns that fit saw"
            )
        need_room(y, data.dtype, "Input y")
        if not fitted:
            need_digits(max(gather(float(y.abs().max()))), data.dtype, "Input y")
        return y

    def _finish(self, data):
        with torch.no_grad():
            joint, centre = self.joint_, self.joint_.centre.to(data.given).double()
            joint.bias.copy_(joint.decode(centre))  # what rounding moves the centre by, b has to follow
            joint.centre.copy_(centre)
            intercept = joint.decode(torch.zeros_like(centre)).to(data.given)
        joint.to(data.given)
        self.coef_, self.intercept_ = data.like(self.joint_.weights.detach()), data.like(intercept)


def need_order(labels: np.ndarray, what: str) -> None:
    """Refuse labels (n,) that cannot be put in order: of several kinds, or missing."""
    try:
        ordered = bool((labels == labels).all()) and len(np.unique(labels)) > 0
    except TypeError:
        ordered = False
    if not ordered:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
        raise ValueError(
            f"{what} holds labels of the kinds {kinds} that cannot be put in order: pass labels of one kind, "
            "and drop the rows that have none"
        )


class Labelled(Observed):
    """`Observed` where y holds labels; ``data.y`` are their numbers."""

    classes_: np.ndarray

    judge = staticmethod(accuracy_score)

    def _table(self, y):
        if getattr(getattr(y, "dtype", None), "kind", "f") == "c":
            raise ValueError(f"Complex data not supported for y, got {y.dtype}")
        if isinstance(y, (list, tuple)) and len({isinstance(label, str) for label in y}) == 2:
            y = np.array(y, dtype=object)  # else NumPy makes words of the numbers
        y = column_or_1d(honest(y, "y") if np.ma.isMaskedArray(y) else y, warn=True)
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            return y  # `_read` refuses what is not finite, by its place
        need_order(y, "y")
        check_classification_targets(y)
        return y

    def _targets(self, y, data, fitted=False):
        data.classes = self.classes_ if fitted else np.unique(np.concatenate(gather(np.unique(y))))
        if len(data.classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes, got 1 class ({data.classes[0]}): "
                "pass rows of another class too"
            )
        index = np.searchsorted(data.classes, y).clip(max=len(data.classes) - 1)
        unseen = y[data.classes[index] != y]
        if len(unseen):
            raise ValueError(
                f"y has the label {unseen[0]}, which is none of the {len(data.classes)} that fit saw: "
                "drop its rows, or fit again"
            )
        return torch.from_numpy(index)

    def _labels(self, index):
        """The labels with these numbers: a tensor for a tensor, if they are numbers themselves."""
        if torch.is_tensor(index) and self.classes_.dtype.kind in "biuf":
            return torch.as_tensor(self.classes_, device=index.device)[index]
        return self.classes_[array(index)]

    def _finish(self, data):
        super()._finish(data)
        self.classes_ = data.classes
