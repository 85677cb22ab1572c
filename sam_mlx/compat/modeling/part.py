"""What clients use of ``torch.nn.Module``, for the model and its parts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import mlx.core as mx

from ...arrays import MAX_SAID
from ...checkpoints import layouts
from ...checkpoints.families import clean
from ...checkpoints.load import Checkpoint, load
from ...checkpoints.options import LoadOptions
from ...checkpoints.unwrap import CONSTANTS
from ...messages import one_line, short
from ...modeling.layers import weights_of
from ..tensors import TRAINING, at_work, frozen, import_torch, is_tensor, to_mlx, to_tensor

BUFFER = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


class Part:
    """The model or a part of it, called with tensors."""

    prefix = ""  # of its tensors' names
    training = False
    sam: Any  # the ``Sam`` whose part it is
    settable: tuple[str, ...] = ("sam",)  # attributes

    def __init__(self, *args: object, **kwargs: object):
        raise NotImplementedError(
            f"{type(self).__name__} cannot be put together by a client: take a whole model from "
            "sam_model_registry, or sam_mlx.compat.Sam(sam_mlx.Sam(config)) for sizes of your own"
        )

    @classmethod
    def of(cls, sam: Any) -> Any:
        part = cls.__new__(cls)
        part.sam = sam
        return part

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{type(self).__name__} has no {name}: it is no torch.nn.Module, of which it has eval, "
            "to, parameters, state_dict and load_state_dict"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.settable:
            raise AttributeError(
                f"{type(self).__name__}.{name} was set, which would change nothing: the model is "
                "MLX's, and its methods and parts are its own"
            )
        super().__setattr__(name, value)

    @at_work
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    @property
    def device(self) -> Any:
        """Where tensors are handed over."""
        return self.sam.device

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As ``torch.nn.Module.to``: a device, a dtype, both, or a tensor that has them."""
        for value in (*args, *kwargs.values()):
            self.sam.take(value)
        return self

    def cuda(self, device: Any = "cuda") -> Any:
        return self.to("cuda" if device is None else device)

    def cpu(self) -> Any:
        return self.to("cpu")

    def half(self) -> Any:
        return self.to(import_torch().float16)

    def bfloat16(self) -> Any:
        return self.to(import_torch().bfloat16)

    def float(self) -> Any:
        return self.to(import_torch().float32)

    def eval(self) -> Any:
        return self

    def train(self, mode: bool = True) -> Any:
        if mode:
            raise NotImplementedError(f"train() was called; {TRAINING}")
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        if requires_grad:
            raise NotImplementedError(f"parameters are to require gradients; {TRAINING}")
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """There are no gradients."""

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, Any]]:
        """Copies of the weights under Meta's names. They cannot be trained."""
        for name, tensor in self.state_dict().items():
            if self.prefix + name != BUFFER:
                yield name, tensor.as_subclass(frozen())

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        return (tensor for _, tensor in self.named_parameters())

    @at_work
    def state_dict(self, *args: Any, **kwargs: Any) -> OrderedDict[str, Any]:
        """Copies of the weights, with Meta's names and layout, on ``device``.

        A MobileSAM's have its batch norms folded in.
        """
        weights = layouts.to_torch(weights_of(self.sam.mlx), self.sam.mlx)
        return OrderedDict(
            (name.removeprefix(self.prefix), to_tensor(w, self.device))
            for name, w in weights.items()
            if name.startswith(self.prefix)
        )

    @at_work
    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Weights with Meta's names. Returns missing_keys and unexpected_keys.

        Raises RuntimeError when the names or shapes are others, as PyTorch does.
        """
        sam = self.sam
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict is {short(state_dict)}; expected tensors by name")
        own = layouts.to_torch(weights_of(sam.mlx), sam.mlx)
        expected = {name for name in own if name.startswith(self.prefix)}
        given = {f"{self.prefix}{name}": as_weight(name, w) for name, w in state_dict.items()}
        given = {name: w for name, w in given.items() if name not in CONSTANTS}
        if not self.prefix:
            given = dict(clean(given))
        rest = {name: w for name, w in own.items() if name not in expected}
        missing, unexpected = sorted(expected - given.keys()), sorted(given.keys() - expected)
        if strict and (missing or unexpected):
            raise RuntimeError(
                "Error(s) in loading state_dict for Sam: "
                f"missing are {missing}, unexpected are {unexpected}"
            )
        if not strict:
            rest |= {name: own[name] for name in missing}
            given = {name: w for name, w in given.items() if name in expected}
        options = LoadOptions(dtype=str(sam.mlx.dtype).removeprefix("mlx.core."))
        try:
            checkpoint = Checkpoint({**rest, **given}, sam.mlx.config, source="state_dict")
            loaded = load(type(sam.mlx), checkpoint, options)
        except ValueError as error:
            raise RuntimeError(f"Error(s) in loading state_dict for Sam: {error}") from error
        sam.mlx.load_weights(list(weights_of(loaded).items()))  # until here it was as before
        return import_torch().nn.modules.module._IncompatibleKeys(missing, unexpected)


def as_weight(name: object, value: Any) -> mx.array:
    """An entry of a state_dict. Raises RuntimeError for what is not numbers, as PyTorch does."""
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    if not is_array or "complex" in str(value.dtype):
        raise RuntimeError(
            f"Error(s) in loading state_dict for Sam: {short(name)} is {short(value)}; expected a "
            "tensor of real numbers"
        )
    try:
        return to_mlx(value.detach() if is_tensor(value) else value)
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:  # sparse, meta
        raise RuntimeError(
            f"Error(s) in loading state_dict for Sam: {short(name)} is a {type(value).__name__} "
            f"whose values cannot be read: {one_line(error)[:MAX_SAID]}"
        ) from error


def mlx_dtype(dtype: Any) -> mx.Dtype:
    """A dtype of PyTorch's as MLX's."""
    name = str(dtype).removeprefix("torch.")
    if name not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"the model cannot be {dtype}; expected float32, float16 or bfloat16")
    found: mx.Dtype = getattr(mx, name)
    return found
