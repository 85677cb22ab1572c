"""What training minimises: focal and Dice losses of masks, and the error of predicted IoU."""

import mlx.core as mx

FOCAL = 20  # times the focal loss, once each Dice loss (SAM paper, appendix A)


def mask_loss(logits: mx.array, shares: mx.array) -> mx.array:
    """Logits (B, M, n, n) against the share of each cell that is set, (B, n, n): (B, M)."""
    x, y = logits.flatten(2), shares.flatten(1)[:, None]
    return FOCAL * focal_loss(x, y) + dice_loss(x, y)


def focal_loss(x: mx.array, y: mx.array) -> mx.array:
    """Means over the last axis of logits x against truths y from 0 to 1 (Lin et al. 2017, gamma 2,
    both classes weighted alike).
    """
    p = mx.sigmoid(x)
    set, unset = mx.logaddexp(-x, 0) * (1 - p) ** 2, mx.logaddexp(x, 0) * p**2
    return (0.5 * (y * set + (1 - y) * unset)).mean(axis=-1)


def dice_loss(x: mx.array, y: mx.array) -> mx.array:
    """1 - Dice, over the last axis, of logits x and truths y from 0 to 1."""
    p = mx.sigmoid(x)
    return 1 - (2 * (p * y).sum(axis=-1) + 1) / (p.sum(axis=-1) + y.sum(axis=-1) + 1)


def actual_iou(masks: mx.array, truths: mx.array) -> mx.array:
    """IoU over the last axis of bool masks (B, M, L) and truths (B, 1, L): (B, M)."""
    overlap, union = (masks & truths).sum(axis=-1), (masks | truths).sum(axis=-1)
    return overlap.astype(mx.float32) / mx.maximum(union, 1)
