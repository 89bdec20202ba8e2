"""What to do instead, where scikit-learn refuses a table."""

from collections.abc import Iterator
from contextlib import contextmanager

REMEDIES = (  # of scikit-learn's refusals, which name the cause but not always what to do
    ("sample(s)", "pass at least one row"),
    ("feature(s)", "pass at least one column"),
    ("features, but", "pass the columns that fit saw, or fit again"),
    ("feature names", "pass the columns that fit saw, in their order"),
    ("Expected 2D array", "pass one row per sample and one column per feature"),
    ("with a sequence", "give every entry one number, and collect what is lazy"),
    ("dim", "flatten each sample to one row"),
    ("omplex", "pass real numbers, for example the real and imaginary parts as columns"),
    ("parse", "load the data as real arrays first"),
    ("1d array", "pass one label per row"),
    ("label type", "pass classes, or use LinearRegression"),
    ("too large to convert", "pass numbers that a float can hold"),
    ("convert", "encode what is not a number, for example with OneHotEncoder"),
    ("float() argument", "encode what is not a number, for example with OneHotEncoder"),
)


@contextmanager
def remedies() -> Iterator[None]:
    """scikit-learn's refusals, with what to do instead."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        remedy = next((remedy for sign, remedy in REMEDIES if sign in str(error)), None)
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(str(error).rstrip(".") + (f": {remedy}" if remedy else "")) from None
