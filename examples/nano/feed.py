"""Batches for the training: views of generated scenes, with prompts for the objects in them."""

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from torch import Tensor

from examples.nano import scenes
from examples.nano.losses import shares
from examples.nano.model import LOW, NANO

ZOOM = NANO.image_size / scenes.SIZE  # whole images are enlarged from the scene to the frame
CHAIN = 3  # an ambiguous click counts for at most this many nested objects
CHAIN_WEIGHTS = [[1, 0, 0], [0.8, 0.2, 0], [0.7, 0.2, 0.1]]  # innermost first
BOXES = 0.35  # share of the first prompts
DEEPEST = 0.7  # share of the clicks at an object's innermost point; the others are anywhere
MIN_PIXELS = 50  # of an object in a view; smaller objects are not prompted for
POOL = 5000  # scenes in memory per process
GENERATING = 0.05  # share of the time spent on new scenes


@dataclass
class Batch:
    """B images of S pixels per side with P prompts each, which show V pixels of their scenes."""

    images: Tensor  # (B, 3, S, S) uint8, enlarged or reduced from the scenes' (V, V)
    framed: Tensor  # (B, 1, S, S) float: 0 where a non-square image is padded
    edges: Tensor  # (B, 1, V, V) float: 1 where two objects meet
    truths: Tensor  # (B * P, 3, V, V) float: nested masks, innermost first
    weights: Tensor  # (B * P, 3): probability that each is meant; sums to 1
    meant: Tensor  # (B * P,) the truth that corrective clicks aim at
    points: Tensor  # (B * P, 2, 2) pixels of the whole image's frame
    labels: Tensor  # (B * P, 2)
    corner: tuple[int, int]  # (row, column) of the crop's first token in the frame


@dataclass
class View:
    """Part of a scene, turned and resized. Its objects stay at the scene's resolution."""

    image: np.ndarray  # (3, S, S) uint8
    framed: np.ndarray  # (1, S, S)
    owner: np.ndarray  # (V, V), as a scene's
    parents: np.ndarray  # as a scene's
    lookup: np.ndarray  # scenes.members(parents)
    origin: tuple[int, int]  # (x, y) of its first pixel in the whole image's frame

    def mask(self, k: int) -> np.ndarray:
        return self.lookup[k][self.owner]

    def edges(self) -> np.ndarray:
        """(1, V, V) bool: where two objects meet."""
        below, beside = np.roll(self.owner, -1, 0), np.roll(self.owner, -1, 1)
        return ((self.owner != below) | (self.owner != beside))[None]

    def place(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the scene's pixels, in pixels of the whole image's frame."""
        return points * (self.image.shape[-1] / len(self.owner)) + self.origin

    @cached_property
    def depth(self) -> np.ndarray:
        return inner_distance(self.owner)


@dataclass
class Prompt:
    """One row of a batch's prompts and what it may mean; see ``Batch``."""

    truths: np.ndarray  # (3, V, V) uint8
    weights: list[float]
    meant: int
    points: np.ndarray  # (2, 2)
    labels: tuple[int, int]


class Feed:
    """Scenes in memory, which are constantly replaced, and the batches drawn from them."""

    def __init__(self, rank: int, world: int, drawn: int = 0):
        self.rank, self.world, self.drawn = rank, world, drawn
        self.rng = np.random.default_rng([rank, drawn])
        self.pool: list[tuple[np.ndarray, ...]] = []  # image, owner, parents, members
        self.spent, self.started = 0.0, time.time()
        for _ in range(300):
            self.add_scene()

    def add_scene(self) -> None:
        seed = (self.drawn * self.world + self.rank) % scenes.HELD_OUT
        self.drawn += 1
        drawn = scenes.draw(seed)
        if not len(drawn.parents):
            return
        item = drawn.image, drawn.owner, drawn.parents, scenes.members(drawn.parents)
        if len(self.pool) < POOL:
            self.pool.append(item)
        else:
            self.pool[self.rng.integers(POOL)] = item

    def renew(self) -> None:
        begin = time.time()
        while self.spent < GENERATING * (time.time() - self.started) and time.time() - begin < 0.3:
            before = time.time()
            self.add_scene()
            self.spent += time.time() - before

    def batch(self, size: int, images: int, prompts: int) -> Batch:
        """``prompts`` on each of ``images`` crops of ``size`` pixels, or on whole images."""
        self.renew()
        room = (NANO.image_size - size) // NANO.patch_size + 1
        corner = int(self.rng.integers(room)), int(self.rng.integers(room))
        side = self.side(size)
        samples = []
        while len(samples) < images:
            view = self.view(size, side, corner)
            asked = [self.prompt(view, k) for k in self.picks(view, prompts)]
            if asked:
                samples.append((view, asked))
        return collate(samples, corner)

    def side(self, size: int) -> int:
        """Pixels of a scene to show in ``size`` pixels."""
        whole = size == NANO.image_size
        if self.rng.random() < (0.85 if whole else 0.4):  # as large as in a whole image
            return round(size / ZOOM)
        low, high = (150, scenes.SIZE) if whole else (size * 0.55, size * 1.2)
        return int(self.rng.integers(low, high))

    def view(self, size: int, side: int, corner: tuple[int, int]) -> View:
        image, owner, parents, lookup = self.pool[self.rng.integers(len(self.pool))]
        image, owner = self.window(image, owner, side)
        image = np.asarray(Image.fromarray(image).resize((size, size), Image.BILINEAR))
        framed = np.ones((1, size, size), np.float32)
        if size == NANO.image_size and self.rng.random() < 0.1:
            framed, owner = self.cut(framed, owner)
        return View(image.transpose(2, 0, 1), framed, owner, parents, lookup, origin(corner))

    def window(
        self, image: np.ndarray, owner: np.ndarray, side: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A random window of ``side`` pixels of a scene, in one of its eight orientations."""
        rng = self.rng
        y, x = rng.integers(0, scenes.SIZE - side + 1, 2)
        image, owner = image[y : y + side, x : x + side], owner[y : y + side, x : x + side]
        turns, flip = rng.integers(4), rng.random() < 0.5
        image, owner = np.rot90(image, turns), np.rot90(owner, turns)
        return (image[:, ::-1], owner[:, ::-1]) if flip else (image, owner)

    def cut(self, framed: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same without its right or lower part, as if the image were not square."""
        side, scale = len(owner), framed.shape[-1] / len(owner)
        end, axis = int(self.rng.integers(side // 2, side)), self.rng.integers(2)
        framed, owner = framed.copy(), owner.copy()
        framed.swapaxes(1, 1 + axis)[:, round(end * scale) :] = 0
        owner.swapaxes(0, axis)[end:] = 0
        return framed, owner

    def picks(self, view: View, count: int) -> np.ndarray:
        """The objects to prompt for; empty if the view shows none."""
        area = np.bincount(view.owner.ravel(), minlength=len(view.parents) + 1)[1:]
        present = np.flatnonzero(area >= MIN_PIXELS)
        if not len(present):
            return present
        # Parts count twice, because they are the hardest.
        twice = np.concatenate([present, present[view.parents[present] >= 0]])
        return self.rng.permutation(np.resize(self.rng.permutation(twice), count))

    def prompt(self, view: View, k: int) -> Prompt:
        """A click on object k, or a box around it or around something that it is a part of."""
        nested = scenes.chain(view.parents, k)[:CHAIN]
        odds = CHAIN_WEIGHTS[len(nested) - 1]
        choice = int(self.rng.choice(CHAIN, p=odds))
        if self.rng.random() < BOXES:
            mask = view.mask(nested[choice])
            corners = view.place(self.box(mask))
            return Prompt(stacked([mask]), [1, 0, 0], 0, corners, (2, 3))
        truths = stacked([view.mask(whole) for whole in nested])
        points = np.zeros((2, 2))
        points[0] = view.place(self.spot(view, k))
        return Prompt(truths, odds, choice, points, (1, -1))

    def spot(self, view: View, k: int) -> np.ndarray:
        """(x, y) of a pixel of object k that is on none of its parts."""
        depth = view.depth
        ys, xs = np.nonzero(view.owner == k + 1)
        deepest = self.rng.random() < DEEPEST
        at = depth[ys, xs].argmax() if deepest else self.rng.integers(len(ys))
        return np.array([xs[at], ys[at]])

    def box(self, mask: np.ndarray) -> np.ndarray:
        """Corners (2, 2) of a mask's box, with noise of up to a tenth of the side or 20 px."""
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        corners = np.array([[xs[0], ys[0]], [xs[-1] + 1, ys[-1] + 1]], float)
        spread = np.minimum(self.rng.uniform(0, 0.1) * (corners[1] - corners[0]), 20)
        return np.clip(corners + self.rng.normal(0, 1, (2, 2)) * spread, 0, len(mask))


def origin(corner: tuple[int, int]) -> tuple[int, int]:
    """(x, y) of the first pixel of the token at (row, column) ``corner``."""
    return corner[1] * NANO.patch_size, corner[0] * NANO.patch_size


def stacked(masks: list[np.ndarray]) -> np.ndarray:
    """(3, V, V) uint8, with empty masks after those given."""
    truths = np.zeros((CHAIN, *masks[0].shape), np.uint8)
    truths[: len(masks)] = masks
    return truths


def collate(samples: list[tuple[View, list[Prompt]]], corner: tuple[int, int]) -> Batch:
    views = [view for view, _ in samples]
    prompts = [prompt for _, asked in samples for prompt in asked]
    return Batch(
        images=torch.from_numpy(np.stack([v.image for v in views])),
        framed=torch.from_numpy(np.stack([v.framed for v in views])),
        edges=torch.from_numpy(np.stack([v.edges() for v in views])).float(),
        truths=torch.from_numpy(np.stack([p.truths for p in prompts])).float(),
        weights=torch.tensor([p.weights for p in prompts], dtype=torch.float32),
        meant=torch.tensor([p.meant for p in prompts]),
        points=torch.tensor(np.stack([p.points for p in prompts]), dtype=torch.float32),
        labels=torch.tensor([p.labels for p in prompts]),
        corner=corner,
    )


def inner_distance(owner: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one of another object, or to the frame."""
    edge = np.zeros(np.add(owner.shape, 2), bool)
    edge[1:-1, 1:-1][:-1] |= owner[1:] != owner[:-1]
    edge[1:-1, 1:-1][:, :-1] |= owner[:, 1:] != owner[:, :-1]
    edge[[0, -1]] = edge[:, [0, -1]] = True
    return ndimage.distance_transform_edt(~edge)[1:-1, 1:-1]


def photometric(images: Tensor) -> Tensor:
    """Random contrast, brightness, tint, gray and blur; (B, 3, S, S) in 0..255."""
    B = len(images)
    x = images.float()
    gain = torch.empty(B, 3, 1, 1).uniform_(0.9, 1.1) * torch.empty(B, 1, 1, 1).uniform_(0.7, 1.2)
    x = (x - 128) * gain + 128 + torch.empty(B, 1, 1, 1).uniform_(-25, 25)
    gray = (torch.rand(B, 1, 1, 1) < 0.15).float()
    x = x + gray * (x.mean(1, keepdim=True) - x)
    blurred = torch.rand(B) < 0.15
    if blurred.any():
        x[blurred] = F.avg_pool2d(x[blurred], 3, 1, 1, count_include_pad=False)
    return x.clamp(0, 255)


def correct(
    batch: Batch, points: Tensor, labels: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The next round's prompts: a click in an error of the mask (B * P, h, w), and that mask."""
    every = torch.arange(len(mask))
    truth = (shares(batch.truths[every, batch.meant][:, None], mask)[:, 0] > 0.5).float()
    error = ((mask > 0) != (truth > 0)).float()
    error = torch.where(error.sum((1, 2), keepdim=True) > 0, error, truth)
    spot = draw_spot(error)
    size = mask.shape[-1]
    click = torch.stack([spot % size, spot // size], 1) * LOW + 0.5
    click = click + torch.tensor(origin(batch.corner))
    label = truth.flatten(1)[every, spot].long()
    # With a box there is no filler: either way a row grows by one click.
    points = torch.cat([click[:, None], points], 1)
    labels = torch.cat([label[:, None], labels], 1)
    return points, labels, mask[:, None]


def draw_spot(error: Tensor) -> Tensor:
    """Index of a pixel in each error (N, h, w): deep inside it, or anywhere."""
    inner = F.avg_pool2d(error[:, None], 9, 1, 4)[:, 0]
    score = torch.where(torch.rand(len(error), 1, 1) < 0.5, inner, torch.rand_like(error))
    return (error * (score + 1e-3)).flatten(1).argmax(1)


def choose(labels: Tensor, logits: Tensor, predicted_iou: Tensor, first: bool) -> Tensor:
    """The mask to correct for each prompt, (N, 4, h, w) -> (N, h, w).

    After a single click it is the one with the best predicted IoU, which a user would choose.
    """
    lone = (labels == -1).any(1) & first
    chosen = torch.where(lone, predicted_iou[:, 1:].argmax(1) + 1, 0)
    return logits[torch.arange(len(logits)), chosen].detach()
