"""The original implementations: Meta's ``segment_anything``, and Hugging Face's ``transformers``.

timm's TinyViT: ``convert.reference.import_tiny_vit``.
"""

from convert.reference import import_segment_anything, import_transformers

segment_anything = import_segment_anything()
transformers = import_transformers()
