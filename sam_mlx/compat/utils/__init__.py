"""``segment_anything.utils``."""

from ..missing import unknown

__getattr__ = unknown(__name__)
