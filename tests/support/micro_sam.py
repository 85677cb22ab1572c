"""torch-em's decoder, and micro-sam's functions that make instances of its maps.

Both packages import all that they have, windows and trainers included. Here only the modules that
are compared are run, and what those import beyond torch, scikit-image, elf and bioimage-cpp is
hollow. If one of the packages is missing, the file or test that imports this is skipped.
"""

import contextlib
import importlib
import importlib.util
import io
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

torch = pytest.importorskip("torch", reason="the originals are missing: install the extra test")

from convert.reference import Hollow, import_segment_anything

NEEDED = ("torch_em", "micro_sam", "elf", "bioimage_cpp")
PARENTS = ("torch_em", "torch_em.model", "torch_em.util", "micro_sam", "elf", "elf.segmentation")
HOLLOW = (
    "elf.io", "elf.segmentation.mutex_watershed", "elf.segmentation.utils", "imageio", "imageio.v3",
    "micro_sam.models", "napari", "napari.utils", "pooch", "xxhash", "zarr",
)  # fmt: skip


def place_of(name: str) -> str:
    """The folder of a package. Skips the caller if it is missing."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        pytest.skip(
            f"{name} is missing: pip install --no-deps -r tests/compat/clients.txt",
            allow_module_level=True,
        )
    return spec.submodule_search_locations[0]


PLACES = {name: place_of(name) for name in NEEDED}


@contextmanager
def bare() -> Iterator[None]:
    """Packages whose own ``__init__`` is not run, and hollow ones; gone afterwards."""
    before = dict(sys.modules)
    for name in PARENTS:
        root, *rest = name.split(".")
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = ["/".join([PLACES[root], *rest])]
    for name in HOLLOW:
        sys.modules.setdefault(name, Hollow(name))
    try:
        yield
    finally:
        names = {name.split(".")[0] for name in (*PARENTS, *HOLLOW)}
        for name in [n for n in sys.modules if n.split(".")[0] in names and n not in before]:
            del sys.modules[name]


import_segment_anything()
with bare():
    unetr = importlib.import_module("torch_em.model.unetr")
    sys.modules["torch_em.model"].UNETR = unetr.UNETR
    segmentation = importlib.import_module("micro_sam.instance_segmentation")
    micro_sam_util = segmentation.util


class Encoder(torch.nn.Module):
    """What ``UNETR`` asks of an image encoder."""

    in_chans = 3

    def __init__(self, channels: int, image_size: int):
        super().__init__()
        self.embed_dim, self.img_size = channels, image_size


def original_decoder(config, width: int = 64, transposed: bool = False, seed: int = 0):
    """torch-em's network as micro-sam builds it, with random weights, for a model's embeddings."""
    torch.manual_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        network = unetr.UNETR(
            encoder=Encoder(config.prompt_dim, config.image_size),
            out_channels=3,
            use_sam_stats=True,
            final_activation="Sigmoid",
            use_skip_connection=False,
            use_conv_transpose=transposed,
            initial_features=width,
        ).eval()
    for name, buffer in network.named_buffers():  # as if it had been trained
        if name.endswith("running_mean"):
            buffer.normal_(std=0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network


def decoder_state(network) -> dict[str, torch.Tensor]:
    """What micro-sam stores of it."""
    return {n: x for n, x in network.state_dict().items() if not n.startswith("encoder")}
