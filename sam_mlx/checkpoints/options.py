"""How a model is loaded: the same options in Python, the shell and export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from ..config import MAX_SIZE, PREPROCESSING
from ..modeling.layers import QuantizedLinear
from ..options import check, one_of, option, whole_number

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


@dataclass(frozen=True)
class LoadOptions:
    """The keyword arguments of every ``from_pretrained``, and of ``export``."""

    dtype: str | None = option(
        None, "type of the weights; by default as they are stored", choices=tuple(DTYPES), of=str
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
        None, "side of the model's input, instead of its own: an approximation",
        whole_number(1, MAX_SIZE), of=int,
    )  # fmt: skip
    preprocess: str | None = option(
        None, "how pictures are prepared, instead of the model's own", choices=tuple(PREPROCESSING),
        of=str,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, **keywords: Any) -> LoadOptions:
        """The keyword arguments of a ``from_pretrained``: a dtype may be MLX's, an adapter a path.

        Raises ValueError for values that do not fit.
        """
        names = {value: name for name, value in DTYPES.items()}
        dtype, adapter = keywords.get("dtype"), keywords.get("adapter")
        if isinstance(dtype, mx.Dtype):
            keywords["dtype"] = names.get(dtype, dtype)
        if isinstance(adapter, Path):
            keywords["adapter"] = str(adapter)
        return cls(**keywords)

    @property
    def mlx_dtype(self) -> mx.Dtype | None:
        return None if self.dtype is None else DTYPES[self.dtype]
