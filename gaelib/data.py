"""Real data, and the stored results of the benchmarks."""

import json
from importlib import resources

from sklearn.datasets import load_digits


def digits():
    """The 1797 handwritten digits bundled with scikit-learn.

    Returns
    -------
    X : array (1797, 64), float64
        8 x 8 images, flattened; grey levels 0 to 16.
    y : array (1797,), int
        The digit.

    Examples
    --------
    >>> X, y = digits()
    >>> X.shape, float(X.max())
    ((1797, 64), 16.0)
    """
    return load_digits(return_X_y=True)


def results(name):
    """A benchmark's stored result, as ``benchmarks/`` wrote it: a dict.

    Raises
    ------
    FileNotFoundError
        When there is none of that name; the message lists those there are.
    """
    folder = resources.files("gaelib") / "results"
    stored = sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".json"))
    if name not in stored:
        raise FileNotFoundError(
            f"no stored result {name!r} among {stored}: run `make bench`, or pass one of them"
        )
    return json.loads((folder / f"{name}.json").read_text())
