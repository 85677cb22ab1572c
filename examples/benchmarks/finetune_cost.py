"""A step of fine-tuning ViT-B beside the same step in PyTorch: time and peak memory.

    python -m examples.benchmarks.finetune_cost
    python -m examples.benchmarks.finetune_cost --only decoder

Each side and level is a process of its own, with the same random weights' sizes, one picture of
1024 x 1024 pixels and 8 objects, a click on each, without corrections; AdamW. PyTorch runs Meta's
package, for LoRA with peft. Memory is the largest resident size of the process, libraries and
weights included. A process that asks for more than ``--limit`` GB is ended.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from examples.benchmarks.instances import resident

SIDE, OBJECTS, GB = 1024, 8, 1e9


def discs() -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) and its objects (N, H, W)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    masks = np.stack([(x - 110 * i - 100) ** 2 + (y - 500) ** 2 < 2500 for i in range(OBJECTS)])
    noise = np.random.default_rng(0).integers(0, 90, (SIDE, SIDE, 3))
    return (noise + 150 * masks.any(axis=0)[..., None]).astype(np.uint8), masks


def ours(level: str) -> Callable[[], object]:
    import sam_mlx  # noqa: F401, I001  before mlx.core

    import mlx.core as mx

    from sam_mlx import sam_model_registry
    from sam_mlx.masks import encode_rle
    from sam_mlx.tuner.data import LabelledPicture
    from sam_mlx.tuner.examples import examples_of
    from sam_mlx.tuner.options import TrainingOptions
    from sam_mlx.tuner.trainer import Trainer

    pixels, masks = discs()
    one = LabelledPicture("discs", Path(), lambda **_: pixels, lambda: encode_rle(masks))
    examples = examples_of([one], 25, None)
    folder = TemporaryDirectory()
    options = TrainingOptions(train=level, clicks=0, views=1)
    trainer = Trainer(sam_model_registry["vit_b"](), examples, examples, options, Path(folder.name))
    if level == "decoder":
        trainer.embeddings.of(examples[0])

    def step() -> None:
        folder.name  # noqa: B018  is there as long as the function is
        trainer.step(lambda **line: None)
        mx.synchronize()

    return step


def theirs(level: str) -> Callable[[], object]:
    import torch

    from convert.reference import import_peft, import_segment_anything

    sam: Any = import_segment_anything().sam_model_registry["vit_b"]()
    pixels, masks = discs()
    points = torch.tensor([[[100.0 + 110 * i, 500.0]] for i in range(OBJECTS)])
    prompts = points, torch.ones(OBJECTS, 1, dtype=torch.int)
    image = sam.preprocess(torch.tensor(pixels).permute(2, 0, 1)[None].float())
    sam.image_encoder.requires_grad_(level == "full")
    if level == "lora":
        peft = import_peft()
        config = peft.LoraConfig(target_modules=["qkv"], r=8, lora_alpha=8)
        sam.image_encoder = peft.get_peft_model(sam.image_encoder, config)
    optimizer = torch.optim.AdamW([p for p in sam.parameters() if p.requires_grad], 1e-4)
    with torch.no_grad():
        cached = sam.image_encoder(image) if level == "decoder" else None

    def step() -> None:
        features = sam.image_encoder(image) if cached is None else cached
        sparse, dense = sam.prompt_encoder(points=prompts, boxes=None, masks=None)
        logits, predicted = sam.mask_decoder(
            image_embeddings=features, image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense, multimask_output=True,
        )  # fmt: skip
        optimizer.zero_grad()
        torch_loss(logits, predicted, torch.tensor(masks)).backward()
        optimizer.step()

    return step


def torch_loss(logits: Any, predicted: Any, truth: Any) -> Any:
    """What ``sam_mlx.tuner.step.round_loss`` computes for one click."""
    import torch
    from torch.nn import functional as F

    def dice(x: Any, y: Any) -> Any:
        p = x.sigmoid()
        return 1 - (2 * (p * y).sum(-1) + 1) / (p.sum(-1) + y.sum(-1) + 1)

    cells = F.interpolate(truth[:, None].float(), logits.shape[-2:], mode="area").flatten(2)
    x = logits.flatten(2)
    p, y = x.sigmoid(), cells.expand_as(x)
    focal = y * F.softplus(-x) * (1 - p) ** 2 + (1 - y) * F.softplus(x) * p**2
    losses = 20 * 0.5 * focal.mean(-1) + dice(x, y)
    best = losses.detach().argmin(1)
    each = torch.arange(len(x))
    large = F.interpolate(logits, truth.shape[-2:], mode="bilinear")
    fine = dice(large[each, best].flatten(1), truth.flatten(1).float())
    with torch.no_grad():
        found = (large > 0).flatten(2)
        inside = truth.flatten(1)[:, None]
        actual = (found & inside).sum(-1) / (found | inside).sum(-1)
    return (losses[each, best] + fine + ((predicted - actual) ** 2).mean(1)).mean()


SIDES = {"sam_mlx": ours, "PyTorch": theirs}


def measured(side: str, level: str, steps: int) -> dict[str, float]:
    step = SIDES[side](level)
    clock, used = [], []
    for _ in range(steps):
        start, cpu = time.perf_counter(), time.process_time()
        step()
        clock.append(time.perf_counter() - start)
        used.append(time.process_time() - cpu)
    return {"clock": min(clock), "cpu": min(used), "memory": resident() / GB}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=("decoder", "lora", "full"), nargs="+")
    parser.add_argument("--steps", type=int, default=2, help="of which the fastest counts")
    parser.add_argument("--limit", type=float, default=14, help="GB of a process's memory")
    parser.add_argument("--side", choices=SIDES, help="only measure, and print JSON")
    args = parser.parse_args()
    levels = args.only or ("decoder", "lora", "full")
    resource.setrlimit(resource.RLIMIT_DATA, (int(args.limit * GB),) * 2)
    if args.side:
        print(json.dumps(measured(args.side, levels[0], args.steps)))
        return
    print("| trained | sam_mlx | PyTorch |\n|---|---|---|")
    for level in levels:
        print(f"| {level} | {' | '.join(run(side, level, args) for side in SIDES)} |", flush=True)


def run(side: str, level: str, args: argparse.Namespace) -> str:
    command = [sys.executable, "-m", "examples.benchmarks.finetune_cost", "--side", side]
    command += ["--only", level, "--steps", str(args.steps), "--limit", str(args.limit)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        return f"did not end within {args.limit:g} GB ({reason[0][:60]})"
    found = json.loads(done.stdout.splitlines()[-1])
    return f"{found['clock']:.1f} s, {found['cpu']:.1f} s of CPU, {found['memory']:.2f} GB"


if __name__ == "__main__":
    main()
