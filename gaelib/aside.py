"""What a caller has set of torch, set aside for a while."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

__all__ = ["aside"]


@contextmanager
def aside(grad: bool) -> Iterator[None]:
    """torch as it comes: no inference mode, no autocast, gradients on or off, new tensors on the CPU unless told.

    Examples
    --------
    >>> with torch.device("meta"), aside(grad=False):
    ...     torch.zeros(1)
    tensor([0.])
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(grad))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":  # a mode costs time in every call of torch
            stack.enter_context(torch.device("cpu"))
        yield
