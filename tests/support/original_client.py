"""Runs a client on Meta's package, whose builders make nano: ``original_client.py client.py ...``.

The client is unchanged. The registry knows only three sizes, so its builders are replaced.
"""

import runpy
import sys
from pathlib import Path

import torch

from convert.meta import build_meta
from convert.reference import import_segment_anything
from sam_mlx.registry import VARIANTS


def build_nano(checkpoint=None, **sizes):
    return build_meta(VARIANTS["nano"], torch.load(checkpoint))


import_segment_anything()
sys.modules["segment_anything.build_sam"]._build_sam = build_nano
sys.argv = sys.argv[1:]
sys.path[0] = str(Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name="__main__")
