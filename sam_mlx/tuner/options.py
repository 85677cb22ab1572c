"""How a model is fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import check, number, one_of, option, whole_number

LEVELS = ("decoder", "lora", "full")
LEARNING_RATES = {"decoder": 1e-4, "lora": 1e-4, "full": 1e-5}


@dataclass(frozen=True)
class TrainingOptions:
    """Names and defaults follow mlx-lm's where it has them."""

    train: str = option(
        "decoder",
        "what is trained: the prompt encoder and mask decoder, on embeddings that are made once; "
        "the same with LoRA on the image encoder; or everything",
        choices=LEVELS,
    )
    iters: int = option(300, "steps", whole_number(1))
    batch_size: int = option(1, "pictures of a step", whole_number(1))
    objects: int = option(8, "objects that are drawn from a picture", whole_number(1))
    clicks: int = option(
        3, "corrective clicks after the first prompt, up to this many", whole_number(0, 15)
    )
    learning_rate: float | None = option(
        None, "the highest; by default 1e-4, and 1e-5 for full",
        number("a number above 0", lambda x: 0 < x < float("inf")), of=float,
    )  # fmt: skip
    weight_decay: float = option(
        0.01, "of AdamW", number("a number from 0", lambda x: 0 <= x < float("inf"))
    )
    warmup: float = option(
        0.05, "share of the steps in which the learning rate rises",
        number("a number from 0 to 1", lambda x: 0 <= x <= 1),
    )  # fmt: skip
    instances: bool = option(
        False,
        "train the instance decoder along; a model without one gets a new one",
        one_of(True, False),
    )
    lora_rank: int = option(8, "rank of LoRA on queries and values", whole_number(1))
    lora_alpha: float = option(
        8.0, "LoRA's updates are multiplied by this over the rank",
        number("a number above 0", lambda x: 0 < x < float("inf")),
    )  # fmt: skip
    views: int = option(
        4, "turned and mirrored views of each picture, the first as it is", whole_number(1, 8)
    )
    crop: int | None = option(
        None, "cut pictures into squares of this side, pixels, for objects that are small",
        whole_number(16), of=int,
    )  # fmt: skip
    keep_share: float = option(
        0.25, "share of the steps on the pictures of --keep",
        number("a number from 0, below 1", lambda x: 0 <= x < 1),
    )  # fmt: skip
    min_area: int = option(25, "smallest object that counts, pixels", whole_number(1))
    steps_per_report: int = option(
        10, "steps between lines", whole_number(1), changes_results=False
    )
    steps_per_eval: int = option(50, "steps between validations", whole_number(1))
    patience: int = option(5, "validations without gain after which training ends", whole_number(1))
    seed: int = option(0, "of all that is drawn", whole_number(0))

    def __post_init__(self) -> None:
        check(self)

    @property
    def highest_rate(self) -> float:
        return self.learning_rate or LEARNING_RATES[self.train]
