"""Writes what Python computes to files, with which the Swift package's tests compare theirs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image

from sam_mlx import SamPredictor, transforms
from sam_mlx.export.graphs import measure
from sam_mlx.masks import compress_rle, encode_rle, rle_area

# height, width; nano's model side is 320.
SIZES = [
    (1, 1), (1, 2), (2, 1), (3, 5), (7, 320), (320, 320), (319, 321), (37, 2000), (2000, 37),
    (1, 700), (700, 1), (100, 100), (640, 640), (480, 641), (333, 120), (961, 640), (641, 1),
    (17, 272), (272, 17), (1000, 60),
]  # fmt: skip
MASK_SIZES = [(1, 1), (2, 3), (50, 1), (400, 3), (3, 400), (37, 2000), (2000, 37), *SIZES[5:7]]
MASK_SIZES += [(480, 640), (333, 500), (500, 333), (160, 160), (161, 159), (750, 2)]
NOISE = [(600, 800, 1024, 256), (300, 301, 1024, 256), (40, 700, 1024, 256), (99, 98, 64, 64)]
NOISE += [(700, 40, 1024, 256)]


def write_vectors(folder: Path, predictor: SamPredictor) -> None:
    rng = np.random.default_rng(5)
    vectors = {
        "resize": [resize(folder, rng, *size, i) for i, size in enumerate(SIZES)],
        "masks": masks(folder, rng, predictor),
        "coordinates": [coordinates(rng) for _ in range(50)],
        "runs": [runs(folder, rng, i) for i in range(12)],
        "digests": [digest(folder, rng, n) for n in (0, 1, 55, 56, 63, 64, 65, 1000)],
    }
    (folder / "vectors.json").write_text(json.dumps(vectors))


def resize(folder: Path, rng: np.random.Generator, height: int, width: int, i: int) -> dict:
    side = (320, 64, 1024)[i % 3] if max(height, width) < 400 else 320
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    if i % 2:  # extreme values, where rounding could overflow a byte
        image = image // 128 * 255
    new_height, new_width = transforms.preprocess_shape((height, width), side)
    # One axis at a time: Pillow 13 begins with the height for some tall pictures; earlier versions,
    # and SAM's training, always begin with the width.
    narrowed = transforms.resize_image(image, (height, new_width))
    resized = transforms.resize_image(narrowed, (new_height, new_width))
    Image.fromarray(image).save(folder / f"resize{i}.ppm")
    Image.fromarray(resized).save(folder / f"resized{i}.ppm")
    return {"picture": f"resize{i}.ppm", "resized": f"resized{i}.ppm", "side": side}


def masks(folder: Path, rng: np.random.Generator, predictor: SamPredictor) -> list[dict]:
    """Predictions of the model on pictures of many sizes, and noise at the sizes of ViT-B."""
    embedding, config = predictor.get_image_embedding(), predictor.model.config
    S, n = config.image_size, config.mask_size
    found = []
    for i, size in enumerate(MASK_SIZES):
        frame = transforms.preprocess_shape(size, S)
        predictor.set_image_embedding(replace(embedding, original_size=size, input_size=frame))
        point = rng.uniform((0.3, 0.3), (0.7, 0.7)) * size[::-1]
        logits, scores, low = predictor.predict([point], [1], return_logits=True)
        bits, *_ = predictor.predict([point], [1])
        found.append(mask(folder, i, low[i % 3], logits[i % 3], bits[i % 3], scores[i % 3], S))
    predictor.set_image_embedding(embedding)
    for i, (height, width, S, n) in enumerate(NOISE, len(MASK_SIZES)):
        low = rng.normal(0, 3, (n, n)).astype(np.float32)
        frame = transforms.preprocess_shape((height, width), S)
        sizes = frame, (height, width), S
        logits = np.array(transforms.upscale_masks(mx.array(low), *sizes))
        bits = np.array(transforms.upscale_masks(mx.array(low), *sizes, threshold=0))
        found.append(mask(folder, i, low, logits, bits, 0.5, S))
    return found


def mask(
    folder: Path,
    i: int,
    low: np.ndarray,
    logits: np.ndarray,
    bits: np.ndarray,
    score: float,
    side: int,
) -> dict:
    low.tofile(folder / f"low{i}")
    logits.tofile(folder / f"logits{i}")
    bits.tofile(folder / f"bits{i}")
    _, stability, area = measure(mx.array(logits))
    height, width = bits.shape
    return {
        "width": width, "height": height, "side": side, "maskSize": len(low),
        "score": float(score), "stability": stability.item(), "area": area.item(),
    }  # fmt: skip


def coordinates(rng: np.random.Generator) -> dict:
    height, width = (int(n) for n in rng.integers(1, 4000, 2))
    side = int(rng.choice([320, 1024, 777]))
    box = np.sort(rng.uniform(-50, 4000, (2, 2)), axis=0)
    point = rng.uniform((-10, -10), (width + 10, height + 10))
    size = height, width
    return {
        "width": width, "height": height, "side": side,
        "frame": list(transforms.preprocess_shape(size, side)[::-1]),
        "point": point.tolist(), "box": box.ravel().tolist(),
        "mappedPoint": transforms.apply_coords(point, size, side).astype(np.float32).tolist(),
        "mappedBox": transforms.apply_boxes(box.ravel(), size, side).astype(np.float32).tolist(),
    }  # fmt: skip


def runs(folder: Path, rng: np.random.Generator, i: int) -> dict:
    height, width = [(1, 1), (1, 9), (9, 1), (300, 200)][i % 4]
    bits = [
        rng.random((height, width)) < 0.5,
        np.full((height, width), i % 2 == 0),
        np.hypot(*np.mgrid[:height, :width]) % 90 < 60,
    ][i // 4]
    bits.tofile(folder / f"runs{i}")
    rle = encode_rle(bits[None])
    return {
        "bits": f"runs{i}", "width": width, "height": height, "counts": rle[0]["counts"],
        "compressed": compress_rle(rle)[0]["counts"], "area": rle_area(rle[0]),
    }  # fmt: skip


def digest(folder: Path, rng: np.random.Generator, length: int) -> dict:
    data = rng.bytes(length)
    (folder / f"data{length}").write_bytes(data)
    return {"file": f"data{length}", "sha256": hashlib.sha256(data).hexdigest()}
