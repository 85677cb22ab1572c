"""Where ViT-B's image encoder spends its time, as a Markdown table.

    python -m examples.benchmarks.encoder_profile

Each part is timed alone, on random weights. The last column is the time that its matrix products
would take at the rate of one large product, which is measured first.
"""

import sam_mlx  # noqa: F401  first: on Linux it must come before mlx.core

# isort: split
import mlx.core as mx

from examples.benchmarks.optimisations import measure
from sam_mlx.modeling.image_encoder import ImageEncoderViT
from sam_mlx.modeling.layers import apply_neck
from sam_mlx.modeling.ops import tokenwise
from sam_mlx.registry import VARIANTS


def main() -> None:
    config = VARIANTS["vit_b"]
    vit, G, C, S = config.encoder, config.grid, config.prompt_dim, config.image_size
    encoder = ImageEncoderViT(config)
    image, x = mx.random.normal((1, S, S, 3)), mx.random.normal((1, G, G, vit.dim))
    weight = mx.random.normal((vit.dim, vit.mlp_dim))
    mx.eval(encoder.parameters(), image, x, weight)

    class Product:
        @tokenwise
        def __call__(self, x: mx.array) -> mx.array:
            return x @ weight

    product = measure(lambda: Product()(x), 5)[0]
    rate = 2 * G * G * vit.dim * vit.mlp_dim / product
    print(f"Products: {rate / 1e9:.0f} GFLOP/s.\n")
    print("| part | times | each | together | products alone |\n| --- | --- | --- | --- | --- |")

    T, D, window = G * G, vit.dim, vit.window
    padded = (-(-G // window) * window) ** 2
    local, whole = encoder.blocks[0], encoder.blocks[vit.global_blocks[0]]
    n_whole = len(vit.global_blocks)
    linear = 2 * T * D * 4 * D  # qkv, proj
    mlp = 2 * 2 * T * D * vit.mlp_dim
    # Attention: q k^T, weights v, and the products with the two tables of relative positions.
    parts = [
        ("patch embedding", 1, lambda: encoder.patch_embed(image), 2 * S * S * 3 * D),
        ("norm before attention", vit.depth, lambda: local.norm1(x), 0),
        (
            "attention in windows",
            vit.depth - n_whole,
            lambda: local.attn(x, window),
            linear + 4 * padded * D * (window**2 + window),
        ),
        ("global attention", n_whole, lambda: whole.attn(x, 0), linear + 4 * T * D * (T + G)),
        ("norm, MLP, sum", vit.depth, lambda: local.feed_forward(x), mlp),
        (
            "neck",
            1,
            lambda: apply_neck(encoder.neck, x),
            2 * T * C * (D + 9 * C),
        ),
        ("all", 1, lambda: encoder(image), 0),
    ]
    total = 0
    for name, times, work, flop in parts:
        seconds, alone = measure(work, 3)[0], times * flop / rate
        total += alone
        alone = total if name == "all" else alone
        each, together = f"{1e3 * seconds:.0f} ms", f"{times * seconds:.2f} s"
        print(f"| {name} | {times} | {each} | {together} | {alone:.2f} s |")


if __name__ == "__main__":
    main()
