"""The original implementations: Meta's ``segment_anything``, and Hugging Face's ``transformers``.

timm's TinyViT: ``convert.reference.import_tiny_vit``. If torch is missing, the file or test that
imports this is skipped.
"""

import pytest

torch = pytest.importorskip("torch", reason="the originals are missing: install the extra test")

from convert.reference import import_segment_anything, import_transformers

segment_anything = import_segment_anything()
transformers = import_transformers()


def meta_predictor(model, image):
    """Meta's predictor with a picture, for models of any size."""
    predictor = segment_anything.SamPredictor(model)
    predictor.transform.target_length = model.image_encoder.img_size
    predictor.set_image(image)
    return predictor
