"""Two tables in step: what regressions learn from.  X is given, y is scored (ledger G9)."""

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d

from .core import Given, objective
from .parallel import all_sum, rank_and_size
from .rows import Rows, is_batches, with_remedy


def array(y):
    """A tensor, or a list of batches, as one NumPy array; anything else as it is."""
    if not torch.is_tensor(y) and is_batches(y):
        y = torch.cat([torch.as_tensor(part).cpu() for part in y])
    return y.detach().cpu().numpy() if torch.is_tensor(y) else y


def pairs(data):
    """Both tables in step, as `log_joint` takes them: (rows of y, rows of X)."""
    start = 0
    for z in data:
        x = data.y[start : start + len(z)].to(z.device)
        yield x.to(z.dtype) if x.is_floating_point() else x, z
        start += len(z)


def total(data, sums_of):
    """The sums of all batches and processes, added in float64."""
    sums = {}
    for x, z in pairs(data):
        for name, value in sums_of(x, z).items():
            sums[name] = sums.get(name, 0) + value.detach().to("cpu", torch.float64)
    return all_sum(sums)


def least_squares(zz, zr, varies, W):
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

    random_state = 0  # nothing is drawn

    def fit(self, X, y):
        """Learn from pairs: X (n, p) is what is given, y is what is scored.

        Raises ValueError for hyperparameters, X or y that cannot work, before any work.
        """
        return super().fit(X, y)

    def score_samples(self, X, y=None):
        """log q_r(y|X) of each pair: (n,), nats.  Without y, of the best y: the max over what is not given."""
        data = self._open(X)
        data.y = self._targets(self._read(self.predict(X) if y is None else y, len(data)), data, fitted=True)
        with torch.no_grad():
            return data.like(torch.cat([objective(self.joint_, x, Given(z)) for x, z in pairs(data)]))

    def score(self, X, y):
        """As in scikit-learn: R squared of a regression, accuracy of a classification."""
        return super().score(array(X), array(y))

    def _check(self, n, width):
        pass

    def _rows(self, X, y):
        data = Rows(X, self, reset=True)
        data.y = self._targets(self._read(y, len(data)), data)
        data.given, data.dtype = data.dtype, torch.float64  # the fit needs the digits
        return data

    def _read(self, y, n):
        """y as a finite NumPy array of n entries or rows."""
        name = type(self).__name__
        if y is None:
            raise ValueError(f"{name} requires y to be passed, but the target y is None: call fit(X, y)")
        try:
            y = self._table(array(y))
        except (ValueError, TypeError) as error:
            raise with_remedy(error) from None
        if len(y) != n:
            raise ValueError(f"X has {n} rows, but y has {len(y)}: pass one y for each row of X")
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            place = tuple(np.argwhere(~np.isfinite(y))[0])
            raise ValueError(
                f"Input y contains NaN or infinity: {name} found the first of them at row {place[0]} "
                f"(value {y[place]}): drop the rows whose y is missing"
            )
        return y

    def _table(self, y):
        return check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite=False, input_name="y")

    def _targets(self, y, data, fitted=False):
        data.single, y = y.ndim == 1, torch.tensor(y.reshape(len(y), -1))
        if fitted and y.shape[1] != len(self.joint_.bias):
            raise ValueError(
                f"y has {y.shape[1]} columns, but fit saw {len(self.joint_.bias)}: pass the columns that fit saw"
            )
        return y

    def _finish(self, data):
        with torch.no_grad():
            intercept = self.joint_.decode(torch.zeros_like(self.joint_.centre)).to(data.given)
        self.joint_.to(data.given)
        self.coef_, self.intercept_ = data.like(self.joint_.weights.detach()), data.like(intercept)


class Labelled(Observed):
    """`Observed` where y holds labels; ``data.y`` are their numbers.  All rows at once, in one process."""

    def _rows(self, X, y):
        if is_batches(X) or rank_and_size()[1] > 1:
            got = f"{sum(1 for _ in X)} batches" if is_batches(X) else f"{rank_and_size()[1]} processes"
            raise ValueError(
                f"{type(self).__name__} reads all rows at every step, as 1 array in 1 process, got {got}: join them"
            )
        return super()._rows(X, y)

    def _table(self, y):
        y = column_or_1d(y, warn=True)
        if y.dtype.kind != "f" or np.isfinite(y).all():  # `_read` refuses what is not finite, by its place
            check_classification_targets(y)
        return y

    def _targets(self, y, data, fitted=False):
        data.classes = self.classes_ if fitted else np.unique(y)
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
