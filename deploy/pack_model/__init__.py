"""Turns a trained model into a package folder for probity, and checks the package against the model."""

from .trees import Refused

__all__ = ["Refused", "pack"]


def __getattr__(name):
    """`pack` needs onnx and onnxruntime; the parts that need numpy only can be had without them."""
    if name == "pack":
        from .package import pack

        return pack
    raise AttributeError(name)
