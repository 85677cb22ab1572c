"""How a model is loaded, the same wherever one is: Python, shell, export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from ..config import PREPROCESSING
from ..modeling.layers import QuantizedLinear
from ..options import check, one_of, option, whole_number

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


@dataclass(frozen=True)
class LoadOptions:
    """The keyword arguments of every ``from_pretrained``, and of ``export``."""

    dtype: str | None = option(
        None, "weights' type; by default the one they are stored in", choices=tuple(DTYPES), of=str
    )
    quantize: int | None = option(
        None,
        "bits of the image encoder's linear weights",
        one_of(QuantizedLinear.bits, words=f"{QuantizedLinear.bits} (bits) or None"),
        choices=(QuantizedLinear.bits,),
        of=int,
    )
    revision: str | None = option(None, "branch, tag or commit of the hub repository", of=str)
    adapter: str | None = option(
        None, "folder or hub repository of a LoRA adapter made with peft, merged in", of=str
    )
    image_size: int | None = option(
        None, "side of the model's input, instead of its own: an approximation", whole_number(1),
        of=int,
    )  # fmt: skip
    preprocess: str | None = option(
        None, "how pictures are prepared, instead of the model's own", choices=tuple(PREPROCESSING),
        of=str,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(
        cls,
        dtype: mx.Dtype | str | None = None,
        quantize: int | None = None,
        revision: str | None = None,
        adapter: str | Path | None = None,
        image_size: int | None = None,
        preprocess: str | None = None,
    ) -> LoadOptions:
        """The same from a dtype or its name, and a path. Raises ValueError for other values."""
        names = {value: name for name, value in DTYPES.items()}
        name = names.get(dtype, dtype) if isinstance(dtype, mx.Dtype) else dtype
        path = None if adapter is None else str(adapter)
        return cls(name, quantize, revision, path, image_size, preprocess)  # type: ignore[arg-type]

    @property
    def mlx_dtype(self) -> mx.Dtype | None:
        return None if self.dtype is None else DTYPES[self.dtype]
