"""Runs a client on Meta's package, whose builders make nano: ``original_client.py client.py ...``.

The client is unchanged. The registry knows only three sizes, so its builders are replaced, as
are those of SAM-HQ's package where a client uses it.
"""

import runpy
import sys
from functools import partial
from pathlib import Path

import torch

from convert.meta import build_meta
from convert.reference import import_segment_anything, import_segment_anything_hq
from sam_mlx.registry import VARIANTS
from tests.support.hq import with_hq


def build(with_decoders, checkpoint=None, **sizes):
    config = with_decoders(VARIANTS["nano"])  # which a client may have changed
    return build_meta(config, None if checkpoint is None else torch.load(checkpoint))


import_segment_anything()
sys.modules["segment_anything.build_sam"]._build_sam = partial(build, lambda config: config)
if "_hq_" in sys.argv[1]:
    import_segment_anything_hq()
    builders = sys.modules["segment_anything_hq.build_sam"]
    builders._build_sam = partial(build, with_hq)
sys.argv = sys.argv[1:]
sys.path[0] = str(Path(sys.argv[0]).parent)
runpy.run_path(sys.argv[0], run_name="__main__")
