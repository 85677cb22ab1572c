"""Writes an export of nano, pictures, and the masks of ``SamPredictor``: ``swift_whole.py FOLDER``.

It must run with the MLX version of mlx-swift. The Swift package's tests on MLX read the files.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from sam_mlx import Sam, SamPredictor
from sam_mlx.export import export

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.hq import hq_nano

SIZES = [(41, 63), (77, 30), (200, 333), (1, 50)]  # height, width


def prompts(height: int, width: int, rng: np.random.Generator) -> list[dict]:
    """One to four points, a box, and both."""
    found = []
    for n in (1, 2, 3, 4):
        points = [
            {"x": x, "y": y, "isObject": bool(i == 0 or rng.random() < 0.5)}
            for i, (x, y) in enumerate((rng.random((n, 2)) * (width, height)).tolist())
        ]
        found.append({"points": points, "box": None})
    corners = np.sort(rng.random((2, 2)), axis=0) * (width, height)
    box = dict(zip(("x0", "y0", "x1", "y1"), corners.ravel().tolist(), strict=True))
    return [*found, {"points": [], "box": box}, {"points": found[1]["points"], "box": box}]


def predict(predictor: SamPredictor, prompt: dict, logits: np.ndarray | None, several: bool):
    points = prompt["points"]
    return predictor.predict(
        [[p["x"], p["y"]] for p in points] if points else None,
        [int(p["isObject"]) for p in points] if points else None,
        list(prompt["box"].values()) if prompt["box"] else None,
        logits,
        multimask_output=several,
    )


def main(folder: Path) -> None:
    model = Sam.from_pretrained("nano")
    export(model, folder / "nano", points=[2, 6])
    predictor = SamPredictor(model)
    rng = np.random.default_rng(0)
    coins = Image.open(Path(__file__).parents[2] / "examples/images/coins.png").convert("RGB")
    cases: list[dict] = []
    for number, (height, width) in enumerate(SIZES):
        picture = coins.resize((width, height))
        picture.save(folder / f"picture{number}.ppm")
        predictor.set_image(np.array(picture))
        if number == 2:
            predictor.get_image_embedding().save(folder / "python.safetensors")
        for prompt in prompts(height, width, rng):
            several = len(prompt["points"]) == 1 and not prompt["box"]
            masks, scores, logits = predict(predictor, prompt, None, several)
            cases.append(case(folder, number, len(cases), prompt, None, masks, scores))
            best = logits[scores.argmax()][None]
            masks, scores, _ = predict(predictor, prompt, best, False)
            cases.append(case(folder, number, len(cases), prompt, best, masks, scores))
    whole = {"cases": cases, "embedding": "python.safetensors", "ofEmbedding": 2 * 12}
    whole["hq"] = of_sam_hq(folder, coins.resize(SIZES[2][::-1]), len(cases))
    (folder / "whole.json").write_text(json.dumps(whole))


def of_sam_hq(folder: Path, picture: Image.Image, number: int) -> dict:
    """One click with SAM-HQ on nano, on the third picture."""
    model = hq_nano()
    export(model, folder / "hq", points=[1])
    predictor = SamPredictor(model)
    predictor.set_image(np.array(picture))
    predictor.get_image_embedding().save(folder / "hq.safetensors")
    prompt = {"points": [{"x": 150.0, "y": 60.0, "isObject": True}], "box": None}
    masks, scores, _ = predict(predictor, prompt, None, True)
    return case(folder, 2, number, prompt, None, masks, scores)


def case(folder, picture, number, prompt, logits, masks, scores) -> dict:
    (folder / f"bits{number}.bin").write_bytes(masks.astype(np.uint8).tobytes())
    if logits is not None:
        (folder / f"logits{number}.bin").write_bytes(logits.astype(np.float32).tobytes())
    return {
        "picture": f"picture{picture}.ppm",
        "bits": f"bits{number}.bin",
        "logits": None if logits is None else f"logits{number}.bin",
        **prompt,
        "scores": [float(s) for s in scores],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
