"""The page in a browser: objects are chosen on the picture, merged, cut, ordered, carried over."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.support.browser import COINS  # isort: skip  first: it skips all where it must
from sam_mlx import SamPredictor
from sam_mlx.mask_inputs import mask_input
from sam_mlx.masks import compress_rle, decode_rle, encode_rle

pytestmark = pytest.mark.slow


@pytest.fixture
def two(tab):
    """Two finished objects that overlap: a box and a stroke."""
    tab.drag((114, 28), (160, 76)).press("Enter", "b")
    tab.set("radius", 20)
    return tab.drag((140, 60), (200, 60)).press("Enter", "v")


def lit(tab) -> list[str]:
    return tab.values(".object.pointed .object-name")


def chosen(tab) -> list[str]:
    return tab.values(".object.active .object-name, .object.also .object-name")


def test_a_click_on_a_mask_chooses_it_and_both_sides_show_it(two):
    tab = two
    tab.move(120, 45)
    assert lit(tab) == ["Object 1"]
    tab.click(120, 45)
    assert chosen(tab) == ["Object 1"] and len(tab.objects) == 2
    assert tab.objects[0].points == []
    tab.click(138, 45)  # now it is active: a point
    assert tab.objects[0].points == [[138, 45]]
    tab.press("Enter")
    tab.page.keyboard.down("Shift")
    tab.click(120, 45)  # a new object where another is
    tab.page.keyboard.up("Shift")
    assert [len(o.points) for o in tab.objects] == [1, 0, 1]
    tab.press("Enter")
    edge = np.argwhere(tab.masks[1][60])[-1, 0]  # the stroke's right end

    def edges():
        return [tab.ink(edge + i, 60) for i in range(-1, 3)]

    tab.page.mouse.move(5, 300)
    tab.settled()
    before = edges()
    tab.page.locator(".object").nth(1).hover()
    tab.settled()
    assert edges() != before


def test_several_are_chosen_merged_and_subtracted(two):
    tab = two
    first, second = tab.masks
    assert (first & second).any() and (first ^ second).any()
    tab.press("s").click(120, 40)
    tab.page.keyboard.down("Shift")
    tab.click(190, 60)
    tab.page.keyboard.up("Shift")
    assert chosen(tab) == ["Object 1", "Object 2"] and tab.text("#chosen .count") == "2 objects"
    tab.press("k")
    np.testing.assert_array_equal(tab.masks[0], first & ~second)
    tab.press("Control+z", "Escape")
    tab.page.get_by_role("button", name="Choose Object 1").click()
    tab.page.get_by_role("button", name="Choose Object 2").click(modifiers=["Shift"])
    tab.page.get_by_role("button", name="Merge").click()
    tab.settled()
    np.testing.assert_array_equal(tab.masks, [first | second])
    assert tab.names() == ["Object 1"]
    tab.press("Control+z")
    np.testing.assert_array_equal(tab.masks, [first, second])


def test_a_box_of_the_tool_chooses_all_that_it_touches(two):
    two.press("s").drag((100, 20), (230, 120))
    assert chosen(two) == ["Object 1", "Object 2"]
    two.press("h")
    assert [o.hidden for o in two.objects] == [True, True]
    two.press("Backspace")
    assert two.objects == []
    two.press("Control+z", "Control+z")
    assert [o.hidden for o in two.objects] == [False, False]


def test_nothing_overlaps_then_and_the_front_wins(two):
    tab = two
    first, second = tab.masks
    tab.press("o")
    np.testing.assert_array_equal(tab.masks, [first & ~second, second])
    tab.press("Control+z")
    tab.page.get_by_role("button", name="Choose Object 1").click()
    tab.press("f")
    assert tab.names() == ["Object 2", "Object 1"]
    assert tab.page.evaluate(ORDER, tab.session.id) == ["Object 2", "Object 1"]
    tab.press("o")
    masks = {o.name: decode_rle([o.mask])[0] for o in tab.objects}
    np.testing.assert_array_equal(masks["Object 1"], first)
    np.testing.assert_array_equal(masks["Object 2"], second & ~first)
    tab.press("r")
    assert tab.names() == ["Object 1", "Object 2"]
    tab.page.reload()
    assert tab.ready().names() == ["Object 1", "Object 2"]


ORDER = """async (id) => {
  const answer = await (await fetch(`/api/sessions/${id}/pictures/p1`)).json();
  return answer.objects.map((found) => found.name);
}"""


def test_a_box_elsewhere_makes_a_new_object(tab):
    tab.drag((114, 28), (160, 76))
    tab.drag((116, 30), (158, 74))
    assert [o.box for o in tab.objects] == [[116, 30, 158, 74]]
    tab.drag((40, 30), (90, 75))
    assert [o.box for o in tab.objects] == [[116, 30, 158, 74], [40, 30, 90, 75]]


def test_the_brush_is_measured_on_the_screen(tab):
    tab.press("b")
    tab.set("radius", 10)
    tab.drag((50, 50), (60, 50))
    tab.press("+", "+", "+")
    tab.page.mouse.click(*tab.at(128, 128))
    tab.settled()
    first, second = (edit["radius"] for edit in tab.objects[0].edits)
    assert first / second == pytest.approx(1.25**3, rel=1e-3)
    for _ in range(30):
        tab.page.keyboard.press(".")
    assert int(tab.text("#radius-value").split()[0]) > 1000


def other_picture(size) -> dict:
    file = io.BytesIO()
    Image.open(COINS).transpose(Image.Transpose.ROTATE_180).resize(size).save(file, "PNG")
    return {"name": "next.png", "mimeType": "image/png", "buffer": file.getvalue()}


@pytest.mark.parametrize("size", [(256, 256), (512, 128)])
def test_an_object_is_carried_to_the_next_picture_and_predicted_there(tab, size, nano, tmp_path):
    tab.page.locator("#files").set_input_files([other_picture(size)])
    tab.page.wait_for_selector("#thumbnails li:nth-child(2)")
    tab.ready().press("PageUp")
    tab.click(138, 53)
    mask = tab.masks[0]
    tab.press("y")
    tab.page.wait_for_selector("text=The object was copied")
    tab.ready().settled()
    assert tab.text("#picture-name") == "next.png" and tab.names() == ["Object 1"]
    (tmp_path / "next.png").write_bytes(other_picture(size)["buffer"])
    predictor = SamPredictor(nano)
    predictor.set_image(tmp_path / "next.png")
    y, x = np.nonzero(mask)
    box = [x.min(), y.min(), x.max(), y.max()]
    same = size == (256, 256)
    box = box if same else [round(v * s) for v, s in zip(map(int, box), (2, 0.5, 2, 0.5))]
    (found,) = tab.objects
    assert np.abs(np.subtract(found.box, box)).max() <= (0 if same else 1)
    low = mask_input(mask, nano.config) if same else None
    expected, _, _ = predictor.predict(None, None, found.box, low, False)
    np.testing.assert_array_equal(tab.masks[0], expected[0])


RLE = """async ([counts, size]) => {
  const rles = await import("/page/rle.js");
  const { compressRle, encodePixels, has, ofRuns, paintLabel, runsOf, united, without } = rles;
  const rle = { size, counts }, pixels = new Uint8Array(size[0] * size[1]);
  paintLabel(pixels, rle, 1);
  const third = runsOf(encodePixels(pixels.map((_, i) => i % 3 === 0), size), size);
  const runs = runsOf(rle, size), coarse = runsOf({ ...rle, scale: 4 }, [90, 157]);
  const places = [...pixels].map((_, i) => [Math.floor(i / size[0]), i % size[0]]);
  return {
    text: compressRle(rle).counts, again: encodePixels(pixels, size).counts,
    runs: ofRuns(runs, size).counts, left: ofRuns(without(runs, third), size).counts,
    both: ofRuns(united(runs, third), size).counts, coarse: ofRuns(coarse, [90, 157]).counts,
    set: places.map((place) => has(rle, place)),
  };
}"""


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_in_the_page(tab, seed):
    """Compressed, encoded, asked, joined and cut as the package does; also those of a coarser
    mask, whose last pixels reach beyond the picture.
    """
    from sam_mlx.masks import compress_rle, encode_rle

    masks = np.random.default_rng(seed).random((3, 23, 40)) < [[[0.5]], [[0.98]], [[0.01]]]
    third = (np.arange(23 * 40) % 3 == 0).reshape(40, 23).T
    for mask in (*masks, masks[0] & False, masks[0] | True):
        (rle,) = encode_rle(mask[None])
        found = tab.page.evaluate(RLE, [rle["counts"], rle["size"]])
        assert found["text"] == compress_rle([rle])[0]["counts"]
        assert found["set"] == mask.T.reshape(-1).tolist()
        fine = np.kron(mask, np.ones((4, 4), bool))[:90, :157]
        wanted = {"again": mask, "runs": mask, "left": mask & ~third, "both": mask | third}
        for name, expected in (wanted | {"coarse": fine}).items():
            assert found[name] == encode_rle(expected[None])[0]["counts"], name


def test_counts_above_31_bits_in_the_page(tab):
    """Of pictures of 100,000 x 100,000 pixels."""
    from sam_mlx.masks import compress_rle

    rle = {"size": [100_000, 100_000], "counts": [4_999_999_000, 2000, 4_999_999_000]}
    script = """async (rle) => (await import("/page/rle.js")).compressRle(rle).counts"""
    assert tab.page.evaluate(script, rle) == compress_rle([rle])[0]["counts"]


def test_corners_of_an_object_are_dragged_added_and_removed(tab):
    """A square's corner moves, an edge gets another, Alt and a click removes one."""
    square = np.zeros((256, 256), bool)
    square[60:121, 60:121] = True
    start = compress_rle(encode_rle(square[None]))[0]
    tab.page.evaluate(ADD, [tab.session.id, start])
    tab.page.reload()
    tab.ready().page.get_by_role("button", name="Choose").click()
    tab.press("p").drag((60, 60), (30, 30))
    moved = tab.masks[0]
    assert moved[40, 40] and moved[100, 100] and not moved[30, 100]
    assert moved.sum() == pytest.approx(61 * 61 + 30 * 61, rel=0.03)
    tab.drag((90, 120), (90, 150))
    assert tab.masks[0][140, 90] and tab.objects[0].start is not None
    before = tab.masks[0]
    tab.page.keyboard.down("Alt")
    tab.click(30, 30)
    tab.page.keyboard.up("Alt")
    assert (before & ~tab.masks[0]).sum() > 0 and tab.masks[0][90, 90]
    tab.press(*["Control+z"] * 3)
    np.testing.assert_array_equal(tab.masks[0], square)


ADD = """async ([id, start]) => {
  const headers = { "Content-Type": "application/json" };
  const path = `/api/sessions/${id}/pictures/p1/objects`;
  await fetch(path, { method: "POST", headers, body: JSON.stringify({ start }) });
}"""


FILLED = """async ([rings, height, width]) => {
  const { filled } = await import("/page/rle.js");
  return [...filled(rings, height, width)];
}"""


def test_polygons_are_filled_as_the_package_fills_them(tab):
    from sam_mlx.tuner.data.polygons import fill

    random = np.random.default_rng(0)
    for _ in range(5):
        rings = [random.uniform(-5, 45, (n, 2)) for n in (3, 7, 20)]
        found = tab.page.evaluate(FILLED, [[ring.tolist() for ring in rings], 30, 40])
        np.testing.assert_array_equal(np.reshape(found, (40, 30)).T > 0, fill(rings, (30, 40)))
