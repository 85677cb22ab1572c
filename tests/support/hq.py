"""SAM-HQ on small models: nano with SAM-HQ's decoder, whose own tensors are random."""

from dataclasses import replace

import mlx.core as mx
from mlx.utils import tree_flatten

from sam_mlx import Sam
from sam_mlx.config import SamConfig
from sam_mlx.modeling.hq_decoder import HQDecoderConfig
from sam_mlx.modeling.layers import weights_of
from sam_mlx.registry import VARIANTS


def with_hq(config: SamConfig) -> SamConfig:
    return replace(config, decoders=(HQDecoderConfig(),))


def hq_nano(seed: int = 0) -> Sam:
    """SAM-HQ's masks differ from nano's at the edges and in noise, by logits of up to 20 or so."""
    mx.random.seed(seed)
    model = Sam(with_hq(VARIANTS["nano"]))
    own = weights_of(Sam.from_pretrained("nano"))
    random = {n: w for n, w in tree_flatten(model.parameters()) if n not in own}
    louder = {n: 4 * w if "hf_mlp.layers.2" in n else w for n, w in random.items()}
    louder |= {n: 0.1 * mx.random.normal(w.shape) for n, w in random.items() if n.endswith("bias")}
    model.load_weights([*own.items(), *louder.items()])
    mx.eval(model.parameters())
    return model
