"""Run clients of ``segment_anything`` on this package, unchanged.

``python -m sam_mlx.compat client.py ...`` runs one; ``install()`` does the same inside a process.
``Sam`` gives a ``sam_mlx.Sam`` the names and tensors that clients expect.

Files are named as Meta's and hold Meta's names; ``tensors`` converts arrays, ``missing`` says what
is not here.
"""

import sys
from importlib import import_module

from .modeling.sam import Sam

__all__ = ["Sam", "install"]

MODULES = (
    "automatic_mask_generator",
    "build_sam",
    "modeling",
    "modeling.common",
    "modeling.image_encoder",
    "modeling.mask_decoder",
    "modeling.prompt_encoder",
    "modeling.sam",
    "modeling.transformer",
    "predictor",
    "utils",
    "utils.amg",
    "utils.onnx",
    "utils.transforms",
)


# Those of ``segment_anything_hq``: its own, and for the rest Meta's.
HQ_MODULES = {module: module for module in MODULES} | {
    "automatic_mask_generator": "hq.automatic_mask_generator",
    "build_sam": "hq.build_sam",
    "build_sam_baseline": "hq.build_sam",
    "modeling": "hq.modeling",
    "modeling.image_encoder": "hq.modeling",
    "modeling.mask_decoder_hq": "hq.modeling",
    "modeling.sam": "hq.modeling",
    "modeling.tiny_vit_sam": "hq.modeling",
    "predictor": "hq.predictor",
}


def install(name: str = "segment_anything") -> None:
    """Make ``import segment_anything``, ``mobile_sam`` or ``segment_anything_hq`` give this
    package's names.

    An installed original is overridden for this process: call it before the client is imported,
    which keeps what it has imported already.
    """
    for module in [m for m in sys.modules if m.startswith(f"{name}.")]:
        del sys.modules[module]
    is_hq = name == "segment_anything_hq"
    modules = HQ_MODULES if is_hq else {module: module for module in MODULES}
    root = import_module(f"{__name__}.{name if is_hq else 'segment_anything'}")
    sys.modules[name] = root
    for module, own in modules.items():
        sys.modules[f"{name}.{module}"] = import_module(f"{__name__}.{own}")
    for module in ("modeling", "utils"):  # ``build_sam`` is the function
        setattr(root, module, sys.modules[f"{name}.{module}"])
