"""How good nano is, on held-out scenes and on the coins photograph of scikit-image.

The truth of a click: for each object of a scene, the click is the pixel furthest from everything
that is not the object itself (its parts, other objects, the frame). The truth is the visible part
of that object, including its parts. The same click may also mean the object that this one is a part
of. Best of three and the chosen mask are both compared with the one truth; "any nesting" compares
the chosen mask with the best of the nested objects that contain the click.

Boxes are exact, and answered with the single mask. Three clicks: the mask chosen after the first
click, then two clicks, each deep in the largest error, with the previous low-resolution mask as
input and the single mask as the answer.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from examples.nano import scenes

MIN_OWN = 60  # pixels of an object that its parts do not cover; with fewer it is not clicked
NAMES = ["best", "chosen", "chosen_any_nesting", "box", "three_clicks"]


class Predictor(Protocol):
    """What the ``SamPredictor`` of Meta and that of ``sam_mlx`` have in common."""

    def set_image(self, image: np.ndarray) -> Any: ...

    def predict(self, *args: Any, **kwargs: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def deepest(region: np.ndarray) -> tuple[int, int]:
    """(x, y) of the pixel of ``region`` that is furthest from its outside and from the frame."""
    distance = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), region.shape)
    return int(x), int(y)


def largest(region: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(region)
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]) if count else region


def click(
    predictor: Predictor, at: tuple[int, int], truth: np.ndarray
) -> tuple[float, float, float, np.ndarray, np.ndarray]:
    """The best IoU of three; the chosen mask's IoU and score, that mask, its low-res logits."""
    masks, scores, low = predictor.predict(np.array([at]), np.array([1]), multimask_output=True)
    actual = [iou(mask, truth) for mask in masks]
    k = int(np.argmax(scores))
    return max(actual), actual[k], float(scores[k]), masks[k], low[k]


def corrected(
    predictor: Predictor,
    at: tuple[int, int],
    truth: np.ndarray,
    mask: np.ndarray,
    low: np.ndarray,
) -> np.ndarray:
    """The mask after two more clicks, each deep in the largest error so far."""
    points, labels = [at], [1]
    for _ in range(2):
        error = mask ^ truth
        if not error.any():
            break
        x, y = deepest(largest(error))
        points.append((x, y))
        labels.append(int(truth[y, x]))
        masks, _, lows = predictor.predict(
            np.array(points), np.array(labels), mask_input=low[None], multimask_output=False
        )
        mask, low = masks[0], lows[0]
    return mask


def measure_object(
    predictor: Predictor, objects: list[scenes.Object], k: int
) -> tuple[list[float], float]:
    """The IoUs of object k, ordered as ``NAMES``, and the score of the mask chosen for a click."""
    truth = objects[k].mask
    at = deepest(objects[k].own)
    best, chosen, score, mask, low = click(predictor, at, truth)
    wholes = scenes.chain(np.array([o.parent for o in objects]), k)
    lenient = max(iou(mask, objects[j].mask) for j in wholes)
    ys, xs = np.nonzero(truth)
    box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    boxed = predictor.predict(box=box, multimask_output=False)[0][0]
    after = corrected(predictor, at, truth, mask, low)
    return [best, chosen, lenient, iou(boxed, truth), iou(after, truth)], score


def measure(
    predictor: Predictor, seeds: Iterable[int], with_coins: bool = True
) -> dict[str, float]:
    """Mean IoU over all objects of the scenes, and the correlation of scores with IoU."""
    rows, scores = [], []
    for seed in seeds:
        image, objects = scenes.scene(seed)
        predictor.set_image(image)
        for k, target in enumerate(objects):
            if target.own.sum() >= MIN_OWN:
                row, score = measure_object(predictor, objects, k)
                rows.append(row)
                scores.append(score)
    figures = {name: float(value) for name, value in zip(NAMES, np.mean(rows, axis=0))}
    actual = [row[NAMES.index("chosen")] for row in rows]
    figures["correlation"] = float(np.corrcoef(scores, actual)[0, 1])
    figures["objects"] = len(rows)
    if with_coins:
        figures["coins_best"], figures["coins_chosen"] = measure_coins(predictor)
    return figures


def measure_coins(predictor: Predictor) -> tuple[float, float]:
    """A click deep in each coin of the photograph, compared with the coin's outline by Otsu."""
    image, coins = coins_photograph()
    predictor.set_image(image)
    rows = [click(predictor, deepest(coin), coin)[:2] for coin in coins]
    return tuple(float(v) for v in np.mean(rows, axis=0))


def coins_photograph() -> tuple[np.ndarray, list[np.ndarray]]:
    """The photograph (303, 384, 3), and the masks of its coins.

    The truth is made by Otsu's threshold, closing, filling holes, labelling, and removing what
    touches the border.
    """
    from skimage import data, filters, measure, morphology, segmentation

    photograph = data.coins()
    bright = photograph > filters.threshold_otsu(photograph)
    filled = ndimage.binary_fill_holes(morphology.closing(bright, morphology.disk(3)))
    labels = measure.label(segmentation.clear_border(filled))
    regions = [r for r in measure.regionprops(labels) if r.area > 400]  # the rest are specks
    return np.repeat(photograph[..., None], 3, axis=2), [labels == r.label for r in regions]


def load(path: Path, image_size: int | None = None) -> Predictor:
    """A predictor for a checkpoint of the trainer (PyTorch) or for a converted folder (MLX)."""
    if path.suffix != ".pt":
        from sam_mlx import SamPredictor

        return SamPredictor.from_pretrained(str(path), image_size=image_size)
    from examples.nano.model import SamPredictor, build_nano, read_weights

    sam = build_nano()
    sam.load_state_dict(read_weights(path))
    return SamPredictor(sam.eval())


TABLE = [
    ("one click, best of three", "best", 0.85),
    ("one click, chosen by predicted IoU", "chosen", 0.78),
    ("  the same, any nesting", "chosen_any_nesting", None),
    ("box, single mask", "box", 0.85),
    ("three clicks", "three_clicks", None),
    ("correlation of predicted and true IoU", "correlation", 0.6),
    ("coins, best of three", "coins_best", 0.8),
    ("coins, chosen by predicted IoU", "coins_chosen", 0.7),
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="runs/nano/nano.pt, or a folder for sam_mlx")
    parser.add_argument("--scenes", type=int, default=200, help="held-out scenes (default 200)")
    parser.add_argument(
        "--image-size", type=int, help="another input size; only for a folder for sam_mlx"
    )
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    if not args.model.exists():
        parser.error(f"no model at {args.model}: train one, or name a converted folder")
    predictor = load(args.model, args.image_size)
    seeds = tqdm(range(scenes.HELD_OUT, scenes.HELD_OUT + args.scenes), unit="scene")
    figures = measure(predictor, seeds)
    print(f"{args.model}: {figures['objects']} objects of {args.scenes} held-out scenes")
    for label, key, target in TABLE:
        print(f"{label:40}{figures[key]:.3f}" + (f"  (target {target})" if target else ""))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
