"""Label Studio's protocol of a machine learning backend."""

from .protocol import TOOL

__all__ = ["TOOL"]
