"""The declaration of an object, and all that derives from it."""

from dataclasses import fields

import pytest

from tests.support.web import Page  # isort: skip  first: it skips all where it must

from sam_mlx.web.objects import PROMPT, SHOWN, TOLD, MaskObject, prompt_of, schemas
from sam_mlx.web.validate import Refusal, check

# Another value than the default for every field that clients set.
VALUES = {
    "name": "coin", "colour": "#abcdef", "hidden": True, "points": [[138, 53]], "labels": [1],
    "box": [120, 30, 160, 75], "multimask": True, "choice": 1,
    "edits": [{"erase": False, "radius": 3, "path": [[5, 5], [9, 9]]}], "automatic": None,
    "min_mask_region_area": 60, "category": 2, "order": 7.5, "scale": 2,
    "start": {"size": [256, 256], "counts": "PPP2"},
}  # fmt: skip


def test_every_field_says_what_it_is_outside():
    for f in fields(MaskObject):
        assert f.metadata.keys() == {"told", "shown", "saved", "prompt", "exported"}, f.name
    assert TOLD["properties"].keys() == VALUES.keys()
    assert SHOWN["properties"].keys() == VALUES.keys() | {
        "id",
        "version",
        "mask",
        "area",
        "score",
        "stability",
        "mask_scale",
    }
    made = {"id", "version", "base", "mask", "mask_scale", "score", "stability"}
    assert schemas("saved").keys() == VALUES.keys() | made
    assert set(PROMPT) == VALUES.keys() - {"name", "colour", "hidden", "edits", "category", "order"}


def test_what_a_client_sets_is_shown_saved_and_exported(page):
    added = page.ready().click(**VALUES)
    assert {name: added[name] for name in VALUES} == VALUES
    saved = page.client.get(f"{page.session}/file").content
    opened = page.client.post("/api/sessions/file", content=saved).json()["session"]
    again = Page(page.client)
    again.picture = f"/api/sessions/{opened}/pictures/p1"
    assert page.client.get(again.picture).json()["objects"] == [added]
    (feature,) = again.export("geojson").json()["features"]
    assert feature["properties"]["name"] == "coin"


@pytest.mark.parametrize("name", PROMPT)
def test_a_change_of_the_prompt_makes_the_mask_anew(name):
    from sam_mlx.web.editing import change

    before = MaskObject("o1", "coin", "#abcdef", points=[[1, 1]], labels=[1], mask={"size": [9, 9]})
    value = {
        "labels": [0],
        "points": [[2, 2]],
        "start": {"size": [9, 9], "counts": "a2"},
        "automatic": "8-1-0",
    }.get(name, VALUES[name])
    assert change(before, {name: value}, (9, 9))[1] == {"base"}
    assert change(before, {"name": "other", "hidden": True}, (9, 9))[1] == set()


@pytest.mark.parametrize("colour", ["", "abcdef", "#abcde", "#abcdefg", "#abcdeg", "#abcdef\n"])
def test_colours(colour):
    with pytest.raises(Refusal, match=r"^colour is .*; expected #rrggbb$"):
        check({"colour": colour}, TOLD)
    check({"colour": "#aBc123"}, TOLD)


def test_prompts():
    assert prompt_of(None, None, None) == prompt_of([], [], None) == {}
    assert prompt_of([[1, 2]], [0], [1, 2, 3, 4]) == {
        "point_coords": [[1, 2]], "point_labels": [0], "box": [1, 2, 3, 4],
    }  # fmt: skip
    with pytest.raises(Refusal, match="2 points have 1 labels; expected one label a point"):
        prompt_of([[1, 2], [3, 4]], [1], None)
    with pytest.raises(Refusal, match="box"):
        prompt_of(None, None, [9, 9, 1, 1])
