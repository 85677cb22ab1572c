"""Adjust a model to another input size, or to another way of preparing pictures."""

from dataclasses import replace

from ..config import PREPROCESSING, SamConfig
from ..registry import Weights, encoder_of
from .options import LoadOptions


def adjust(config: SamConfig, weights: Weights, options: LoadOptions) -> tuple[SamConfig, Weights]:
    """Sizes and weights as the options request; kernels in either layout.

    Raises ValueError for an image size that does not fit.
    """
    changes = dict(PREPROCESSING[options.preprocess]) if options.preprocess else {}
    usual = changes.pop("image_size", config.image_size)
    image_size = options.image_size or usual
    if changes:
        config = replace(config, **changes)
    if image_size != config.image_size:
        check_size(image_size, config)
        config = replace(config, image_size=image_size)
        weights = encoder_of(config).resize(weights, config)
    return config, weights


def check_size(image_size: int, config: SamConfig) -> None:
    patch = config.patch_size
    if image_size % patch:
        below = max(image_size // patch, 1) * patch
        raise ValueError(
            f"image_size is {image_size}; expected a multiple of {patch}, the model's patch size, "
            f"such as {below} or {below + patch}"
        )
