"""How much one step of work may hold in memory at a time, found from the device."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx

MIB = 1 << 20


@dataclass(frozen=True)
class Budget:
    """Bounds for everything that works in parts. Beyond some point more is not faster.

    On a CPU parts stay near the caches; on a GPU larger ones mean fewer launches.
    """

    attention_bytes: int  # scores of image attention
    decoder_bytes: int  # activations of the mask decoder, over all streams
    mask_pixels: int  # pixels of logits at full size
    map_bytes: int  # copies of a band of a large map that a convolution makes
    cut_pixels: int = 8 * MIB  # pixels of masks at full size, as bool
    drawn_pixels: int = 1 * MIB  # pixels of a picture in float32
    prompts: int = 16  # whose masks at full size ``predict_each`` holds
    boxes: int = 1024  # each compared with the same number of others
    embedding_bytes: int = 1024 * MIB  # image embeddings that a server keeps
    answer_bytes: int = 32 * MIB  # low-resolution masks that it keeps

    @classmethod
    def of(cls, device: mx.Device) -> Budget:
        """The budget for a device: a CPU, or a GPU of any size."""
        if device.type == mx.DeviceType.cpu:
            # ViT-B's global attention takes 1.1 s with 8 MB, 1.3 with 2 and 1.6 with 1. Memory of
            # larger buffers comes fresh from the system each time, at a page fault per 4 KB.
            return cls(
                attention_bytes=8 * MIB,
                decoder_bytes=320 * MIB,
                mask_pixels=1 * MIB,
                map_bytes=8 * MIB,
            )
        # A Mac of 8 GB may use 5.3 GB; beyond 2.5 GB all 64 points of a batch are one part.
        decoder = min(max(320 * MIB, working_set(device) // 16), 2560 * MIB)
        return cls(
            attention_bytes=64 * MIB,
            decoder_bytes=decoder,
            mask_pixels=8 * MIB,
            map_bytes=256 * MIB,
        )


def working_set(device: mx.Device) -> int:
    """Bytes of memory that a GPU can use; 0 where MLX does not report it."""
    info = mx.device_info(device)
    for name in ("max_recommended_working_set_size", "free_memory", "total_memory", "memory_size"):
        if isinstance(found := info.get(name), int):
            return found
    return 0


_chosen: Budget | None = None
_found: dict[mx.DeviceType, Budget] = {}


def budget(kind: mx.DeviceType | None = None) -> Budget:
    """The budget that ``use`` has set, or that of a kind of device or of the one that computes."""
    if _chosen is not None:
        return _chosen
    device = mx.default_device() if kind is None else mx.Device(kind)
    if device.type not in _found:
        _found[device.type] = Budget.of(device)
    return _found[device.type]


def use(chosen: Budget | None) -> None:
    """Set the budget of this process; None asks the device again."""
    global _chosen
    _chosen = chosen


def even_parts(total: int, at_most: int, at_least: int = 1) -> list[slice]:
    """Cut ``total`` things into as few parts as the bounds allow, which differ by one at most.

    ``at_least`` goes before ``at_most``; what is less than that is one part.
    """
    wanted = -(-total // max(1, at_most))
    parts = min(wanted, max(1, total // at_least))
    ends = [total * i // parts for i in range(parts + 1)] if parts else []
    return [slice(a, b) for a, b in pairwise(ends)]
