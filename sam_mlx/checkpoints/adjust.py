"""Adjust a model to another input size, or to another way of preparing pictures."""

from dataclasses import replace

from ..config import PREPROCESSING, SamConfig
from ..registry import Weights, encoder_of
from .options import LoadOptions


def adjust(config: SamConfig, weights: Weights, options: LoadOptions) -> tuple[SamConfig, Weights]:
    """Sizes and weights as the options request; kernels in either layout.

    Raises ValueError for an image size that does not fit.
    """
    if options.preprocess is not None:
        config = replace(config, **PREPROCESSING[options.preprocess])
    if options.image_size is not None and options.image_size != config.image_size:
        check_size(options.image_size, config)
        config = replace(config, image_size=options.image_size)
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
