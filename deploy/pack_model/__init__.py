"""Turns a trained model into a package folder for probity, and checks the package against the model."""

from .package import pack
from .trees import Refused

__all__ = ["Refused", "pack"]
