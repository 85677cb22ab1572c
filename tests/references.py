"""The original implementations, importable on machines without a torchvision that fits torch.

``segment_anything`` (Meta's code), ``transformers`` (Hugging Face's ``SamModel``). timm's TinyViT:
``convert.reference.import_tiny_vit``.
"""

import sys

from convert.reference import ensure_torchvision, import_segment_anything

ensure_torchvision()
if not hasattr(sys.modules["torchvision"], "__version__"):
    # transformers believes the installed package's metadata, not what can be imported.
    import transformers.utils
    import transformers.utils.import_utils

    for module in (transformers.utils, transformers.utils.import_utils):
        module.is_torchvision_available = lambda: False


segment_anything = import_segment_anything()
