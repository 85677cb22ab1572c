"""The original implementations, importable on machines without a torchvision that fits torch.

``segment_anything`` (Meta's code), ``transformers`` (Hugging Face's ``SamModel``).
"""

import sys
import types

from convert.reference import ensure_torchvision, import_segment_anything

ensure_torchvision()
if not hasattr(sys.modules["torchvision"], "__version__"):
    # transformers believes the installed package's metadata, not what can be imported.
    import transformers.utils
    import transformers.utils.import_utils

    for module in (transformers.utils, transformers.utils.import_utils):
        module.is_torchvision_available = lambda: False


class _Anything(types.ModuleType):
    """timm imports many names from torchvision and calls none of them for TinyViT."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def import_tiny_vit() -> types.ModuleType:
    """``timm.models.tiny_vit``."""
    if not hasattr(sys.modules["torchvision"], "__version__"):
        for name in ("ops.misc", "transforms", "transforms.functional", "datasets"):
            sys.modules.setdefault(f"torchvision.{name}", _Anything(f"torchvision.{name}"))
        old = sys.modules["torchvision.transforms"]
        if not isinstance(old, _Anything):
            anything = _Anything("torchvision.transforms")
            anything.functional = _Anything("torchvision.transforms.functional")
            sys.modules["torchvision.transforms"] = anything
            sys.modules["torchvision.transforms.functional"] = anything.functional
    import timm.models.tiny_vit

    return timm.models.tiny_vit


segment_anything = import_segment_anything()
