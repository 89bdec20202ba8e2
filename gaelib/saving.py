"""Fits that outlive the machine: the model as it stands, kept in a file after every pass or so, and gone on from."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .estimator import Model
from .hyper import need_integer, plain, settings
from .parallel import from_first, rank_and_size

__all__ = ["checkpoint", "resume"]

M = TypeVar("M", bound=Model)


def checkpoint(path: str | Path, every: int = 1) -> Callable[[Model], None]:
    """What ``fit(X, on_step=checkpoint(path))`` does after every so many passes: it keeps the model in a file.

    The file is written beside its name and then moved there, so that it is always whole.  Of many processes, which all
    hold the same model, the first writes.

    Parameters
    ----------
    path : str or Path
        A pickle; its folder must be there.
    every : int
        Passes between two writings.

    Raises
    ------
    FileNotFoundError
        Where there is no folder for the file, before any work.

    Examples
    --------
    >>> import tempfile
    >>> from gaelib import KMeans
    >>> file = Path(tempfile.mkdtemp()) / "fit.pickle"
    >>> X = [[0.0], [1.0], [2.0], [7.0], [8.0], [9.0]]
    >>> whole = KMeans(2, random_state=0).fit(X, on_step=checkpoint(file))
    >>> bool((resume(file, KMeans(2)).fit(X).cluster_centers_ == whole.cluster_centers_).all())
    True
    """
    need_integer("every", every)
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} for {path.name}: make it, or pass another path")

    def write(model: Model) -> None:
        if model.n_iter_ % every == 0 and rank_and_size()[0] == 0:
            beside = path.with_name(path.name + ".new")
            beside.write_bytes(pickle.dumps(model))
            os.replace(beside, path)

    return write


def resume(path: str | Path, model: M) -> M:
    """The model of the file, ready to go on by ``fit``; ``model`` itself where there is no file yet.

    One line serves the first start and every further one: ``resume(path, KMeans(9)).fit(X, on_step=checkpoint(path))``.
    The fit that goes on from batches or files ends as an undisturbed one does, to the last digit; on an array `KMeans`
    and `LLGAE` add up in another order, on a card all models do, and agree to rounding.  Of many processes the first
    reads, so that all go on from one pass.  Unpickling runs code: open only files of your own.

    Raises
    ------
    ValueError
        For a file that holds another model than ``model``, or other hyperparameters that shape it.
    """
    path = Path(path)
    written = from_first(path.read_bytes() if rank_and_size()[0] == 0 and path.exists() else None)
    if written is None:
        return model
    kept = pickle.loads(written)
    if type(kept) is not type(model):
        raise ValueError(
            f"{path.name} holds a {type(kept).__name__}, not a {type(model).__name__}: remove it, or pass another path"
        )
    held, asked = settings(kept), plain(model)
    for name, value in settings(model).items():
        if name not in model._movable and (was := held.get(name)) != (now := asked.get(name, value)):
            raise ValueError(f"{path.name} holds a fit with {name}={was}, not {now}: remove it, or pass another path")
    return kept.set_params(warm_start=True, max_iter=model.max_iter, tol=model.tol, verbose=model.verbose)
