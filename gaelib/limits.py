"""What tables may hold: rows of one length, and entries whose squares keep their digits."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

LARGEST = 1e75  # the square of a square has room in float64


def farthest(dtype: torch.dtype, width: int) -> float:
    """How far from 0 entries may lie, so that the squared distances of a million rows have room in ``dtype``."""
    return min((torch.finfo(dtype).max / (4e6 * width)) ** 0.5, LARGEST)


def need_room(x: Tensor, dtype: torch.dtype, what: str, before: int = 0) -> None:
    """Refuse a table (n, D) with entries beyond what `farthest` allows, by the place of the first."""
    most = farthest(dtype, x.shape[1])
    if len(far := (x.abs() > most).nonzero()):
        row, column = far[0].tolist()
        where = f"{float(x[row, column]):.3g} at row {before + row}, column {column}"
        room = f"squares in {str(dtype)[6:]} have room for entries up to {most:.2g}"
        wider = ", or pass float64" if dtype == torch.float32 else ""
        raise ValueError(f"{what} has {where}; {room}: divide it by a constant{wider}")


def need_digits(largest: float, dtype: torch.dtype, what: str = "Input X") -> None:
    """Refuse data so small that their squares, or those of what differs between them, lose digits or are 0."""
    limits = torch.finfo(dtype)
    least = (limits.tiny / limits.eps) ** 0.5
    if 0 < largest < least:
        wider = ", or pass float64" if dtype == torch.float32 else ""
        raise ValueError(
            f"{what} has no entry beyond {largest:.3g}; squares in {str(dtype)[6:]} keep their digits from "
            f"{least:.2g} on: multiply it by a constant{wider}"
        )


def in_step(X: Any, what: str) -> np.ndarray:
    """A list as an array; refused with the first entry that does not fit beside the others."""
    try:
        return np.asarray(X)
    except ValueError:
        shapes = []
        for at, part in enumerate(X):
            try:
                shapes.append(tuple(np.shape(part)))
            except ValueError:
                found = f"is itself a {type(part).__name__} of {len(part)} unlike parts: pass rows of numbers"
                raise ValueError(f"entry {at} of {what} {found}") from None
            if shapes[at] != shapes[0]:
                found = f"has the shape {shapes[at]}, and entry 0 {shapes[0]}: give every row as many columns"
                raise ValueError(f"entry {at} of {what} {found}") from None
        raise
