"""What the training minimises: losses of the masks, of their predicted IoU and of an edge head."""

import torch
import torch.nn.functional as F
from torch import Tensor

from examples.nano.model import LOW, NANO


def prompt_loss(
    logits: Tensor, predicted_iou: Tensor, truths: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss of the answers to N prompts, and the IoU of the best of outputs 1 to 3.

    logits (N, 4, h, w), predicted_iou (N, 4), truths (N, 3, H, W), weights (N, 3).

    Output 0 always learns. Of outputs 1 to 3, the best one learns, for each truth that a click may
    mean. The target of the predicted IoU is the expected IoU over those truths.
    """
    loss, iou = mask_losses(logits, truths)
    single = (loss[:, 0] * weights).sum(1).mean()
    best = (loss[:, 1:].min(1).values * weights).sum(1).mean()
    expected = (iou * weights[:, None]).sum(2)
    quality = ((predicted_iou - expected) ** 2).mean()
    hit = (iou[:, 1:].max(1).values * weights).sum(1).mean()
    return single + best + quality, hit


def mask_losses(logits: Tensor, truths: Tensor) -> tuple[Tensor, Tensor]:
    """Every output against every truth, as matrix products over the pixels.

    logits (N, 4, h, w), truths (N, 3, H, W) of 0 and 1 -> loss and actual IoU, each (N, 4, 3).

    Dice and IoU are computed on the masks that a user gets, enlarged to the image. A truth that is
    rounded to the low resolution and enlarged again has an IoU of 0.92 with itself, or 0.83 if the
    object has fewer than 160 px.
    """
    focal = focal_loss(logits.flatten(2), shares(truths, logits).flatten(2).transpose(1, 2))
    enlarged = F.interpolate(logits, size=truths.shape[2:], mode="bilinear").flatten(2)
    truths = truths.flatten(2).transpose(1, 2)
    return 20 * focal + dice_loss(enlarged, truths), actual_iou(enlarged, truths)


def shares(truths: Tensor, logits: Tensor) -> Tensor:
    """The share of each low-resolution pixel that is inside: (N, n, H, W) -> (N, n, h, w)."""
    return F.adaptive_avg_pool2d(truths, logits.shape[-2:])


def focal_loss(x: Tensor, inside: Tensor) -> Tensor:
    """x (N, 4, L) against inside (N, L, 3), which lies between 0 and 1 -> (N, 4, 3)."""
    p = x.sigmoid()
    ones = F.softplus(-x) * (1 - p) ** 2  # where the truth is 1, and where it is 0
    zeros = F.softplus(x) * p**2
    return 0.5 * (zeros.sum(2, keepdim=True) + (ones - zeros) @ inside) / x.shape[2]


def dice_loss(x: Tensor, y: Tensor) -> Tensor:
    """x (N, 4, L) against y (N, L, 3) of 0 and 1 -> (N, 4, 3)."""
    p = x.sigmoid()
    return 1 - (2 * (p @ y) + 1) / (p.sum(2, keepdim=True) + y.sum(1, keepdim=True) + 1)


@torch.no_grad()
def actual_iou(x: Tensor, y: Tensor) -> Tensor:
    """x (N, 4, L) against y (N, L, 3) of 0 and 1 -> (N, 4, 3)."""
    hard = (x > 0).float()
    overlap = hard @ y
    union = hard.sum(2, keepdim=True) + y.sum(1, keepdim=True) - overlap
    return overlap / union.clamp(min=1)


def edge_loss(logits: Tensor, edges: Tensor) -> Tensor:
    """How well the edge head finds where two objects meet.

    logits (B, h, w, k * k): k x k pixels of the low-resolution masks for each token; edges
    (B, 1, V, V).
    """
    logits = F.pixel_shuffle(logits.permute(0, 3, 1, 2), NANO.patch_size // LOW)[:, 0]
    truth = F.adaptive_max_pool2d(edges, logits.shape[1:])[:, 0]
    return 0.5 * F.binary_cross_entropy_with_logits(logits, truth)
