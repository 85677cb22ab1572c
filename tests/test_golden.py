"""Published numbers of the released ViT-B, for machines that can reach the hub.

From the tests of transformers (``tests/models/sam/test_modeling_sam.py``): a picture, prompts in
its pixels, predicted IoU of the three masks and the first values of the first mask's logits.
transformers normalises its decoder with epsilon 1e-6, the original with 1e-5: hence 1e-3.
"""

from pathlib import Path

import numpy as np
import pytest

from sam_mlx import SamPredictor

pytestmark = pytest.mark.hub
IMAGE = "ybelkada/segment-anything", "assets/car.png"


@pytest.fixture(scope="module")
def predictor():
    from huggingface_hub import hf_hub_download

    try:
        predictor = SamPredictor.from_pretrained("facebook/sam-vit-base")
        image = hf_hub_download(*IMAGE)
    except OSError as error:
        pytest.skip(f"the hub cannot be reached: {error}")
    predictor.set_image(Path(image))
    return predictor


CLICK = {"point_labels": [1]}
CASES = [
    ({}, [None, None, 0.4515], [-4.1800, -3.4948, -3.4481]),
    (
        {"point_coords": [[820, 1080]], **CLICK},
        [0.6765, 0.9379, 0.8803],
        [-2.8550, -2.7988, -2.9625],
    ),
    (
        {"point_coords": [[820, 1080]], **CLICK, "box": [650, 900, 1000, 1250]},
        [None, None, 0.9566],
        [-12.7729, -12.3665, -12.6061],
    ),
    ({"point_coords": [[510, 1080]], **CLICK}, [0.3317, 0.7264, 0.7646], None),
    (
        {"point_coords": [[820, 1080]], "point_labels": [0], "box": [620, 900, 1000, 1255]},
        [None, None, 0.7894],
        None,
    ),
    ({"point_coords": [[400, 650]], **CLICK}, [0.9105, 0.9825, 0.9675], None),
    ({"point_coords": [[220, 470]], **CLICK}, [0.7646, 0.7943, 0.7774], None),
    (
        {"point_coords": [[400, 650], [800, 650]], "point_labels": [1, 1]},
        [None, None, 0.9762],
        None,
    ),
    ({"box": [75, 275, 1725, 850]}, [0.5996, 0.7661, 0.7937], None),
    ({"box": [620, 900, 1000, 1255]}, [0.9773, 0.9881, 0.9522], None),
]


@pytest.mark.parametrize(("prompt", "scores", "logits"), CASES)
def test_published_values(predictor, prompt, scores, logits):
    _, ours, low_res = predictor.predict(**prompt)
    for score, expected in zip(ours, scores):
        assert expected is None or abs(score - expected) <= 1e-3
    if logits:
        np.testing.assert_allclose(low_res[0, 0, :3], logits, atol=1e-2)


def test_padding_a_batch_changes_nothing(predictor):
    """transformers gives 0.9637 for the first prompt when a longer one pads it."""
    _, scores, _ = predictor.predict_batch([[[400, 650]], [[400, 650], [800, 650]]], [[1], [1, 1]])
    assert abs(scores[0, 2] - 0.9675) <= 1e-3 and abs(scores[1, 2] - 0.9762) <= 1e-3
