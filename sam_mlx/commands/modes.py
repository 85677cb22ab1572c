"""How ``auto`` finds everything: by a grid of points, or by the model's instance decoder."""

from __future__ import annotations

import argparse
from typing import Any

from ..automatic.generator import SamAutomaticMaskGenerator
from ..automatic.options import GeneratorOptions, with_thresholds
from ..batch.work import Generator
from ..instances.options import MODES, InstanceOptions
from ..instances.segmenter import InstanceSegmenter, has_decoder
from ..large.readers import needed
from ..options import Flags, add_flags, from_flags, settings
from ..sam import Sam


def add_mode_flags(parser: Flags) -> None:
    parser.add_argument(
        "--mode",
        choices=(*MODES, "amg"),
        help="amg: a grid of points; ais, apg: the model's instance decoder, alone or with points "
        "of its own, as in micro-sam (default: ais where the model has one, else amg)",
    )
    add_flags(parser, InstanceOptions)


def mode_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What results depend on; None for defaults, so that older folders of results still fit."""
    usual = settings(InstanceOptions())
    given = settings(from_flags(args, InstanceOptions))
    changed = {name: None if value == usual[name] else value for name, value in given.items()}
    return {"mode": args.mode, **changed}


def generator_of(args: argparse.Namespace, model: Sam, options: GeneratorOptions) -> Generator:
    """What makes records of pictures. Raises ValueError for a mode that the model lacks, and
    ImportError where a package is missing that the options need.
    """
    mode = args.mode or ("ais" if has_decoder(model) else "amg")
    if mode == "amg":
        if options.min_mask_region_area > 0:
            needed("scipy.ndimage", "removing small regions", "regions")
        generator = SamAutomaticMaskGenerator(model)
        generator.options = with_thresholds(options, model.config, vars(args))
        return generator
    segmenter = InstanceSegmenter(model, mode)
    segmenter.options = from_flags(args, InstanceOptions, mode=mode, output_mode="coco_rle")
    return segmenter
