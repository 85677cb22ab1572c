"""An annotator labels 100 objects in 20 pictures with three classes, and is cut off four times."""

import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import zipfile

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.browser import COINS, PATIENCE  # isort: skip  first: it skips all where it must

from pycocotools.coco import COCO

from sam_mlx import SamPredictor
from sam_mlx import masks as M
from tests.support.masks import yolo_masks

CLASSES = "penny", "nickel", "dime"
SIDE = 128  # of the pictures, which are cut from the coins
PLACES = [(30, 30), (95, 30), (64, 64), (30, 95), (95, 95)]


class Server:
    """``sam-mlx web`` as a process, at one address however often it is started."""

    def __init__(self, folder, data):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [
            sys.executable, "-m", "sam_mlx", "web", str(folder), "--no-open",
            "--port", str(self.port), "--classes", ",".join(CLASSES),
        ]  # fmt: skip
        self.env = os.environ | {"XDG_DATA_HOME": str(data)}

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, text=True, env=self.env
        )
        self.address = self.process.stdout.readline().strip()
        self.root, _, self.token = self.address.partition("?token=")
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def get(self, path):
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.get(self.root + path, headers=headers, timeout=300)
        assert answer.status_code == 200, answer.text
        return answer

    def allow_file_bytes(self, count):
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (count, hard))


class Annotator:
    """Clicks, paints and gives classes, and counts what there must be in the end."""

    def __init__(self, page):
        self.page = page
        self.made = 0
        self.listed = {}  # by the picture's name: how many objects the list has

    def at(self, x, y):
        box = self.page.locator("#stage").bounding_box()
        scale = min(box["width"] - 48, box["height"] - 48) / SIDE
        left = box["x"] + (box["width"] - SIDE * scale) / 2
        top = box["y"] + (box["height"] - SIDE * scale) / 2
        return left + (x + 0.5) * scale, top + (y + 0.5) * scale

    def ready(self):
        self.page.wait_for_selector("#stage[data-ready]")
        self.page.wait_for_selector("body[data-ready]")

    def show(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()
        self.page.wait_for_selector(f"#picture-name:text-is('{name}')")
        self.ready()

    def finished(self):
        self.page.keyboard.press(f"Shift+Digit{self.made % 3 + 1}")
        self.page.keyboard.press("Enter")
        self.made += 1

    def click(self, place):
        """A click on a mask would choose it, so there the brush makes an object."""
        self.page.wait_for_selector(".object.active", state="detached")
        before = self.page.locator(".object").count()
        self.page.mouse.click(*self.at(*place))
        self.page.wait_for_selector(".object.active")
        if self.page.locator(".object").count() > before:
            self.finished()
        else:
            self.page.keyboard.press("Enter")
            self.paint(place)

    def paint(self, place):
        self.page.keyboard.press("b")
        self.page.mouse.move(*self.at(*place))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(place[0] + 8, place[1] + 5), steps=3)
        self.page.mouse.up()
        self.page.keyboard.press("v")
        self.finished()

    def saved(self):
        self.page.wait_for_selector("#saved[data-saved=true]")

    def not_saved(self, words):
        self.page.wait_for_selector(f"#saved:has-text('{words}')")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    coins = np.asarray(Image.open(COINS).convert("RGB"))
    for i in range(20):
        x, y = (i % 5) * 32, (i // 5) * 42
        Image.fromarray(coins[y : y + SIDE, x : x + SIDE]).save(folder / f"{i:02}.png")
    return folder


@pytest.mark.slow
def test_nothing_is_lost(pictures, tmp_path, chromium, nano):
    server = Server(pictures, tmp_path / "data").start()
    options = {"viewport": {"width": 1100, "height": 760}, "reduced_motion": "reduce"}
    context = chromium.new_context(**options)
    context.set_default_timeout(PATIENCE)
    try:
        hand = Annotator(context.new_page())
        hand.page.goto(server.address)
        hand.ready()
        for i in range(20):
            hand.show(f"{i:02}.png")
            for place in PLACES[:3]:
                hand.click(place)
            cut = {4: killed, 9: offline, 14: closed, 17: full}.get(i)
            if cut is None:
                for place in PLACES[3:]:
                    hand.click(place)
            else:
                cut(hand, server, context)
            hand.listed[f"{i:02}.png"] = hand.page.locator(".object").count()
        hand.saved()
        assert hand.made == 100 <= sum(hand.listed.values())
        session = json.loads(hand.page.evaluate("sessionStorage.session"))["session"]
        server.kill()
        server.start()
        check(server, session, pictures, tmp_path, nano, hand.listed)
    finally:
        context.close()
        server.kill()


def killed(hand, server, context):
    server.kill()
    for place in PLACES[3:]:
        hand.paint(place)
    hand.not_saved("The server does not respond")
    server.start()
    hand.saved()


def offline(hand, server, context):
    context.set_offline(True)
    for place in PLACES[3:]:
        hand.paint(place)
    hand.not_saved("The server does not respond")
    context.set_offline(False)
    hand.saved()


def closed(hand, server, context):
    """The tab is closed, and the work gone on with in another."""
    hand.saved()
    hand.page.close()
    hand.page = context.new_page()
    hand.page.goto(server.root)
    hand.ready()
    if not hand.page.locator("#earlier").is_visible():
        hand.page.click("#export")
        hand.page.get_by_role("menuitem", name="Earlier work").click()
    hand.page.locator(".earlier-session").first.click()
    hand.page.wait_for_selector("#thumbnails li[data-state=some]")
    hand.show("14.png")
    for place in PLACES[3:]:
        hand.click(place)


def full(hand, server, context):
    """What the server may write is bounded, as by a disk without room."""
    hand.saved()
    server.allow_file_bytes(100)
    hand.click(PLACES[3])
    hand.not_saved("cannot write to its disk")
    hand.paint(PLACES[4])
    server.allow_file_bytes(resource.RLIM_INFINITY)
    hand.saved()


def check(server, session, pictures, folder, nano, listed):
    """All objects are there, and COCO, YOLO and label maps have the masks of ``SamPredictor``."""
    found = server.get(f"api/sessions/{session}").json()
    ids = [each["id"] for each in found["classes"]]
    assert [each["name"] for each in found["classes"]] == list(CLASSES)
    assert {p["name"]: len(p["objects"]) for p in found["pictures"]} == listed
    every = [o for p in found["pictures"] for o in p["objects"]]
    assert len({o["id"] for o in every}) == len(every) == sum(listed.values())
    assert {ids.index(o["category"]) for o in every} == {0, 1, 2}
    archive = zipfile.ZipFile(io.BytesIO(server.get(f"api/sessions/{session}/export").content))
    (folder / "annotations.json").write_bytes(archive.read("annotations.json"))
    coco = COCO(str(folder / "annotations.json"))
    assert (len(coco.imgs), len(coco.anns), len(coco.cats)) == (20, len(every), 3)
    by_name = {image["file_name"]: number for number, image in coco.imgs.items()}
    predictor, asked = SamPredictor(nano), 0
    for picture in found["pictures"]:
        predictor.set_image(str(pictures / picture["name"]))
        annotations = coco.imgToAnns[by_name[picture["name"]]]
        masks = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
        for each, annotation, mask in zip(picture["objects"], annotations, masks, strict=True):
            np.testing.assert_array_equal(mask, M.decode_rle([each["mask"]])[0])
            kind = ids.index(each["category"])
            assert coco.cats[annotation["category_id"]]["name"] == CLASSES[kind]
            if each["points"]:
                asked += 1
                predicted, scores, _ = predictor.predict(each["points"], each["labels"])
                np.testing.assert_array_equal(mask, predicted[scores.argmax()])
        stem = picture["name"].removesuffix(".png")
        kinds = [ids.index(each["category"]) for each in picture["objects"]]
        labels = np.asarray(Image.open(archive.open(f"{stem}_labels.png")))
        np.testing.assert_array_equal(labels, M.label_map(np.array(masks), (SIDE, SIDE)))
        classes = np.array([0, *(kind + 1 for kind in kinds)])[labels]
        np.testing.assert_array_equal(Image.open(archive.open(f"{stem}_classes.png")), classes)
        text = archive.read(f"labels/{stem}.txt").decode()
        found, outlined = yolo_masks(text, (SIDE, SIDE))
        seen = [(kind, mask) for kind, mask in zip(kinds, masks) if mask.any()]
        assert found == [kind for kind, _ in seen]
        np.testing.assert_array_equal(outlined, [mask for _, mask in seen])
    assert asked >= 60
