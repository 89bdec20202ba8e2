"""Tables in files that are read batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from pathlib import Path
from typing import Self

import numpy as np

from .hyper import need_integer

__all__ = ["parquet"]


class parquet:
    """Rows of parquet files as batches that a fit can read again and again; one batch at a time is in memory.

    A fit reads its data once per step and a few times more, at its start and end; each reading goes over the files from
    their first row to their last.  Under ``torchrun`` each process passes its own files.  Needs pyarrow:
    ``pip install 'generative-autoencoders[parquet]'``.

    Parameters
    ----------
    path : str, Path or sequence of these
        A file, a folder of files, or several files.
    columns : list of str, optional
        Which, in which order; all if left out.
    batch_rows : int
        Rows of a batch at most.

    Attributes
    ----------
    columns : list of str
        As they are read.  Of a frame, ask about ``frame[rows.columns].to_numpy()``: the files' rows have no names.
    rows : int
        Of all files.
    readings : int
        How often the files have been read from their start.

    Raises
    ------
    ImportError
        Without pyarrow.
    FileNotFoundError
        Where no file lies at ``path``.
    ValueError
        For a file of another format, a column that is not there, or one that holds no numbers, before any row is read.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from gaelib import KMeans
    >>> folder = tempfile.mkdtemp()
    >>> table = pd.DataFrame({"name": ["a", "b", "c"], "height": [1.6, 1.6, 1.9], "weight": [60, 62, 90]})
    >>> table.to_parquet(f"{folder}/people.parquet")
    >>> rows = parquet(folder, ["height", "weight"])
    >>> rows
    parquet(3 rows, 2 columns, batch_rows=65536)
    >>> KMeans(2, random_state=0).fit(rows).labels_.tolist() in ([0, 0, 1], [1, 1, 0])
    True
    """

    def __init__(
        self, path: str | Path | Iterable[str | Path], columns: list[str] | None = None, batch_rows: int = 2**16
    ) -> None:
        try:
            from pyarrow import ArrowInvalid, types
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise ImportError(
                "parquet files need pyarrow: pip install 'generative-autoencoders[parquet]', or pass NumPy memmaps"
            ) from None
        need_integer("batch_rows", batch_rows)
        if isinstance(columns, str) or (columns is not None and not len(columns)):
            raise ValueError(f"columns={columns!r} is no list of one name or more: pass a list, such as ['height']")
        self.batch_rows, self.readings, self._open, self._each = batch_rows, 0, ParquetFile, None
        paths = [Path(each) for each in ([path] if isinstance(path, (str, Path)) else path)]
        if missing := [str(each) for each in paths if not each.exists()]:
            raise FileNotFoundError(
                f"{len(missing)} of {len(paths)} paths are not there, {missing[0]} first: pass files, or their folder"
            )
        self._files = [file for each in paths for file in (sorted(each.glob("*.parquet")) if each.is_dir() else [each])]
        if not self._files:
            raise FileNotFoundError(f"{paths[0]} holds 0 files *.parquet: pass a folder that holds some")
        self.columns, self.rows = columns, 0
        for file in self._files:
            try:
                with ParquetFile(file) as opened:
                    known, self.rows = opened.schema_arrow, self.rows + opened.metadata.num_rows
            except ArrowInvalid as error:
                raise ValueError(
                    f"{file} is no whole parquet file ({error}): pass others, or of CSV the table of pandas.read_csv"
                ) from None
            self.columns = list(known.names if self.columns is None else self.columns)
            if alien := [name for name in self.columns if name not in known.names]:
                raise ValueError(
                    f"no column {alien[0]!r} among the {len(known.names)} of {file.name}: pass some of {known.names}"
                )
            fit = [field.name for field in known if types.is_integer(field.type) or types.is_floating(field.type)]
            if words := [name for name in self.columns if name not in fit]:
                raise ValueError(
                    f"column {words[0]!r} holds {known.field(words[0]).type}, no numbers: "
                    f"pass columns={[name for name in self.columns if name in fit]}, or store it as numbers"
                )

    def __repr__(self) -> str:
        return f"parquet({self.rows:,} rows, {len(self.columns)} columns, batch_rows={self.batch_rows})"

    def __iter__(self) -> Iterator[np.ndarray]:
        self.readings += 1
        for path in self._files:
            with self._open(path) as file:
                for batch in file.iter_batches(self.batch_rows, columns=self.columns, use_threads=False):
                    rows = np.stack([batch[name].to_numpy(zero_copy_only=False) for name in self.columns], 1)
                    yield rows if self._each is None else self._each(rows)

    def map(self, f: Callable[[np.ndarray], np.ndarray]) -> Self:
        """The same files, of which each batch (n, D) is read through ``f``, for example to scale its columns.

        Examples
        --------
        >>> import tempfile
        >>> import pandas as pd
        >>> file = f"{tempfile.mkdtemp()}/x.parquet"
        >>> pd.DataFrame({"x": [1.0, 3.0]}).to_parquet(file)
        >>> list(parquet(file).map(lambda rows: rows - 2))
        [array([[-1.],
               [ 1.]])]
        """
        twin, before = copy(self), self._each
        twin.readings, twin._each = 0, f if before is None else lambda rows: f(before(rows))
        return twin
