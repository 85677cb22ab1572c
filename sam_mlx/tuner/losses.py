"""What training minimises: focal and Dice losses of masks, and the error of predicted IoU."""

import mlx.core as mx

FOCAL = 20  # times the focal loss, once each Dice loss (SAM paper, appendix A)


def mask_loss(logits: mx.array, shares: mx.array) -> mx.array:
    """Logits (B, M, n, n) against the share of each cell that is set, (B, n, n): (B, M)."""
    x, y = logits.flatten(2), shares.flatten(1)[:, None]
    p = mx.sigmoid(x)
    return FOCAL * focal_loss(x, p, y) + dice_loss(p, y)


def focal_loss(x: mx.array, p: mx.array, y: mx.array) -> mx.array:
    """Means over the last axis of logits x, whose sigmoid is p, against truths y from 0 to 1 (Lin
    et al. 2017, gamma 2, both classes weighted alike).
    """
    cost = mx.logaddexp(-x, 0)  # -log p; of unset pixels -log(1 - p) = x - log p
    set, unset = cost * (1 - p) ** 2, (cost + x) * p**2
    return (0.5 * (y * set + (1 - y) * unset)).mean(axis=-1)


def dice_loss(p: mx.array, y: mx.array) -> mx.array:
    """1 - Dice, over the last axis, of probabilities p and truths y from 0 to 1."""
    return 1 - (2 * (p * y).sum(axis=-1) + 1) / (p.sum(axis=-1) + y.sum(axis=-1) + 1)


def actual_iou(masks: mx.array, truths: mx.array) -> mx.array:
    """IoU over the last axis of bool masks (B, M, L) and truths (B, 1, L): (B, M)."""
    overlap, union = (masks & truths).sum(axis=-1), (masks | truths).sum(axis=-1)
    return overlap.astype(mx.float32) / mx.maximum(union, 1)
