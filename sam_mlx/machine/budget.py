"""How much one step of work may hold in memory at a time, found from the device.

A GPU's memory decides: a Mac's of 8 to 512 GB, or an Nvidia card's. ``set_memory_limit``, or the
environment variable SAM_MLX_MEMORY_LIMIT, gives less or more.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx

MIB = 1 << 20
UNKNOWN = 5 << 30  # bytes of a GPU that does not say: what a Mac of 8 GB gives its own
MIN_LIMIT = 64 * MIB
VARIABLE = "SAM_MLX_MEMORY_LIMIT"


@dataclass(frozen=True)
class Budget:
    """Bounds for everything that works in parts. Beyond some point more is not faster.

    On a CPU parts stay near the caches; on a GPU larger ones mean fewer launches.
    """

    attention_bytes: int  # scores of image attention
    decoder_bytes: int  # activations of the mask decoder, over all streams
    mask_pixels: int  # pixels of logits at full size
    map_bytes: int  # copies of a band of a large map that a convolution makes
    band_pixels: int = 128  # of a line at full size, which one matrix makes
    strip_pixels: int = 128  # the same for masks that are measured and cut where they reach
    cut_pixels: int = 8 * MIB  # pixels of masks at full size, as bool
    encoder_bytes: int = 1 << 62  # activations of an encoder's widest layers, over all images
    steps_ahead: int = 1  # of work on a GPU, begun before an earlier one is done
    queue_bytes: int = 64 * MIB  # of a GPU's small temporaries, after which its queue is cut
    cache_bytes: int = 256 * MIB  # of a GPU's freed memory, for the next buffers of a call
    drawn_pixels: int = 1 * MIB  # pixels of a picture in float32
    prompts: int = 16  # whose masks at full size ``predict_each`` holds
    boxes: int = 1024  # each compared with the same number of others
    embedding_bytes: int = 1024 * MIB  # image embeddings that a server keeps
    answer_bytes: int = 32 * MIB  # low-resolution masks that it keeps

    @classmethod
    def of(cls, device: mx.Device, limit: int | None = None) -> Budget:
        """The budget for a device: a CPU, or a GPU of any size.

        limit: bytes that the package may work in; by default a GPU's whole working set.
        """
        if device.type == mx.DeviceType.cpu:
            # ViT-B's global attention takes 1.1 s with 8 MB, 1.3 with 2 and 1.6 with 1. Memory of
            # larger buffers comes fresh from the system each time, at a page fault per 4 KB.
            share = min(1.0, (limit or UNKNOWN) / UNKNOWN)
            sizes = (int(share * size) for size in (8 * MIB, 320 * MIB, 1 * MIB, 8 * MIB))
            return cls(*sizes)
        memory = limit or working_set(device) or UNKNOWN
        return cls(
            # A head of ViT-B's global attention; more at a time would not be faster.
            attention_bytes=min(memory // 64, 64 * MIB),
            # 8 prompts of ViT-B on a Mac of 8 GB, 32 on one of 32 GB, all 64 of a batch on 64 GB.
            decoder_bytes=min(memory // 15, 2700 * MIB),
            mask_pixels=min(memory // 160, 64 * MIB),
            map_bytes=min(memory // 16, 256 * MIB),
            band_pixels=512,
            # An image of ViT-B on a Mac of 8 GB, which then keeps 310 MB alive.
            encoder_bytes=memory // 32,
            steps_ahead=max(1, min(memory >> 33, 8)),
            queue_bytes=memory // 160,
            cache_bytes=min(memory // 8, 4096 * MIB),
        )


def working_set(device: mx.Device) -> int:
    """Bytes of memory that a GPU can use; 0 where MLX does not report it."""
    info = mx.device_info(device)
    for name in ("max_recommended_working_set_size", "free_memory", "total_memory", "memory_size"):
        if isinstance(found := info.get(name), int):
            return found
    return 0


_chosen: Budget | None = None
_limit: int | None = None  # bytes; None before the environment was asked, 0 for none
_found: dict[mx.DeviceType, Budget] = {}
_as_on_a_gpu = False


def budget(kind: mx.DeviceType | None = None) -> Budget:
    """The budget that ``use`` has set, or that of a kind of device or of the one that computes."""
    if _chosen is not None:
        return _chosen
    if kind is None and _as_on_a_gpu:
        kind = mx.gpu
    device = mx.default_device() if kind is None else mx.Device(kind)
    if device.type not in _found:
        _found[device.type] = Budget.of(device, _limit_in_bytes())
    return _found[device.type]


def use(chosen: Budget | None) -> None:
    """Set the budget of this process; None asks the device again."""
    global _chosen
    _chosen = chosen


def use_a_gpus(on: bool = True) -> None:
    """Work in parts of a GPU's size on any device."""
    global _as_on_a_gpu
    _as_on_a_gpu = on


def set_memory_limit(limit: int | None) -> None:
    """Set how many bytes of memory the package's work may take, beside the weights of models.

    It is for processes that share a GPU with others, or whose Mac needs its memory for something
    else. Work is done in smaller parts then, and gives the same results but for rounding; models
    and pictures are not made smaller. None takes the default, which is the memory that the GPU can
    use; a CPU works in small parts in any case. The environment variable SAM_MLX_MEMORY_LIMIT sets
    the same from outside. MLX's own limits (``mx.set_memory_limit``) stay as they are.

    Raises ValueError for what is not a number of bytes of at least 64 MiB.

    >>> import sam_mlx
    >>> sam_mlx.set_memory_limit(2 * 1024**3)
    >>> sam_mlx.set_memory_limit(None)
    """
    global _limit
    _limit = 0 if limit is None else checked(limit, "the memory limit")
    _found.clear()


def checked(limit: object, name: str) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < MIN_LIMIT:
        raise ValueError(
            f"{name} is {limit!r}; expected a number of bytes, at least {MIN_LIMIT} (64 MiB)"
        )
    return limit


def _limit_in_bytes() -> int | None:
    global _limit
    if _limit is None:
        given = os.environ.get(VARIABLE, "").strip()
        value = int(given) if given.isascii() and given.isdigit() else given
        _limit = checked(value, VARIABLE) if given else 0
    return _limit or None


def even_parts(total: int, at_most: int, at_least: int = 1) -> list[slice]:
    """Cut ``total`` things into as few parts as the bounds allow, which differ by one at most.

    ``at_least`` goes before ``at_most``; what is less than that is one part.
    """
    wanted = -(-total // max(1, at_most))
    parts = min(wanted, max(1, total // at_least))
    ends = [total * i // parts for i in range(parts + 1)] if parts else []
    return [slice(a, b) for a, b in pairwise(ends)]
