"""How large and how small the entries of a table may be, so that their squares keep their digits."""

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
