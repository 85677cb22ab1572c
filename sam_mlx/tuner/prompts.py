"""Prompts for training: drawn from the truth, then from where a mask is wrong.

Points and boxes are x and y in pixels of the size at which masks are compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..masks import mask_boxes
from ..modeling.prompt_encoder import (
    BACKGROUND,
    BOTTOM_RIGHT,
    EMPTY,
    FOREGROUND,
    NOT_A_POINT,
    TOP_LEFT,
)

BOX_NOISE, MAX_NOISE = 0.1, 20  # of a side's length, and pixels (SAM paper, appendix A)


@dataclass(frozen=True)
class Prompts:
    """B prompts of N points each, and boxes for some."""

    points: np.ndarray  # (B, N, 2)
    labels: np.ndarray  # (B, N): 1, 0, or -2 where a prompt has fewer points
    boxes: np.ndarray  # (B, 4), NaN for those without a box

    @property
    def are_ambiguous(self) -> np.ndarray:
        """(B,): whether a prompt is one point alone."""
        return ((self.labels != EMPTY).sum(axis=1) == 1) & np.isnan(self.boxes[:, 0])

    def part(self, part: slice) -> Prompts:
        return Prompts(self.points[part], self.labels[part], self.boxes[part])

    def with_points(self, points: np.ndarray, labels: np.ndarray) -> Prompts:
        """One more point each, (B, 2) and (B,)."""
        return Prompts(
            np.concatenate([self.points, points[:, None]], axis=1),
            np.concatenate([self.labels, labels[:, None]], axis=1),
            self.boxes,
        )

    def tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates (B, N + 2, 2) and labels (B, N + 2), as ``PromptEncoder.embed_tokens`` takes
        them: after the points come a box's corners, or the point that stands for no box.
        """
        has_box = ~np.isnan(self.boxes[:, :1])  # (B, 1)
        corners = np.where(has_box, [TOP_LEFT, BOTTOM_RIGHT], [NOT_A_POINT, EMPTY])
        return (
            np.concatenate([self.points, np.nan_to_num(self.boxes).reshape(-1, 2, 2)], axis=1),
            np.concatenate([self.labels, corners], axis=1),
        )


def first_prompts(truths: np.ndarray, rng: np.random.Generator) -> Prompts:
    """A point inside or a box around each of the truths (B, H, W), at random."""
    B = len(truths)
    is_box = rng.random(B) < 0.5
    points = np.stack([draw_pixel(truth, rng) for truth in truths])
    boxes = np.stack([noisy_box(truth, rng) for truth in truths])
    return Prompts(
        np.where(is_box[:, None], 0, points)[:, None],
        np.where(is_box, EMPTY, FOREGROUND)[:, None],
        np.where(is_box[:, None], boxes, np.nan),
    )


def draw_pixel(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x and y of a set pixel, each as likely; (0, 0) if there is none."""
    place = np.flatnonzero(mask)
    if not len(place):
        return np.zeros(2)
    y, x = divmod(int(rng.choice(place)), mask.shape[1])
    return np.array([x, y], float)


def box_of(mask: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 of a mask (H, W), as floats, to which noise is added."""
    return np.asarray(mask_boxes(mask[None]), float)[0]


def noisy_box(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask's box, its sides moved by a tenth of their length or so, and at most 20 pixels."""
    box = box_of(mask)
    length = np.tile(box[2:] - box[:2] + 1, 2)
    noise = rng.normal(0, BOX_NOISE, 4) * length
    moved = box + np.clip(noise, -MAX_NOISE, MAX_NOISE)
    height, width = mask.shape
    moved = np.clip(moved, 0, [width, height, width, height])
    return np.concatenate([np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])])


def corrections(
    masks: np.ndarray, truths: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A point where each mask (B, H, W) is wrong, (B, 2), and its label (B,): 1 where it lacks a
    pixel, 0 where it has one too many. Where a mask is right: a point of the object again.
    """
    points, labels = [], []
    for mask, truth in zip(masks, truths):
        wrong = mask ^ truth
        points.append(draw_pixel(wrong if wrong.any() else truth, rng))
        x, y = points[-1].astype(int)
        labels.append(FOREGROUND if truth[y, x] else BACKGROUND)
    return np.stack(points), np.array(labels)
