"""What is for images alone: how pictures climb, are measured, restored and made to excite a network."""

from .parametrisations import Fourier, Pixels, hartley
from .transforms import jitter, pad, rotate, scale

__all__ = ["Fourier", "Pixels", "hartley", "jitter", "pad", "rotate", "scale"]
