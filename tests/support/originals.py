"""The original implementations: Meta's ``segment_anything``, and Hugging Face's ``transformers``.

timm's TinyViT: ``convert.reference.import_tiny_vit``. Where torch is missing, importing this skips
the file or the test that does it.
"""

import pytest

torch = pytest.importorskip(
    "torch", reason="the originals are missing, which the extra test brings"
)

from convert.reference import import_segment_anything, import_transformers

segment_anything = import_segment_anything()
transformers = import_transformers()


def meta_predictor(model, image):
    """Meta's predictor with a picture, for models of any size."""
    predictor = segment_anything.SamPredictor(model)
    predictor.transform.target_length = model.image_encoder.img_size
    predictor.set_image(image)
    return predictor
