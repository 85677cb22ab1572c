"""The loop of training."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np

from .. import transforms
from ..files import to_json
from ..machine.streams import enter
from ..machine.worker import Cancel, checkpoint
from ..options import settings
from ..predictor import SamPredictor
from ..sam import Sam
from .embeddings import Embeddings
from .encoder import backward, forward, stages_of
from .examples import Example
from .instances import PREFIX, RATE, both, train_along
from .levels import DECODER, LEVELS
from .options import TrainingOptions
from .state import BEST, FIRST, LAST, LOG, Log, Progress, load_state, save_state
from .step import Arrays, Truth, train_on
from .targets import Frame
from .validation import validate

Kept = tuple[Sequence[Example], Sequence[Example]]
SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)  # of the trained weights in mixtures
MAX_FORGOTTEN = 0.02  # IoU of what is kept, of a click and a box
Report = Callable[[dict[str, Any]], None]  # is given each line of the log


class Trainer:
    """Trains a model, in place, on examples. Everything that is drawn follows from the seed and the
    number of the step, so a training that is stopped goes on with the same numbers.

    folder: where the state, the log and embeddings are kept. kept: examples of what the model knew
    before, to train on and for validation: a share of the steps is on the first, and at the end the
    weights are mixed with those of the beginning until little of the second is forgotten.
    """

    def __init__(
        self,
        model: Sam,
        training: Sequence[Example],
        validation: Sequence[Example],
        options: TrainingOptions,
        folder: Path,
        kept: Kept = ((), ()),
    ):
        enter()
        self.model, self.training, self.validation = model, training, validation
        self.options, self.folder = options, folder
        self.kept, self.kept_validation = kept
        predictor = SamPredictor(model)
        sides = training, validation, *kept
        self.made_from = digest_of(predictor.fingerprint, sides, options)
        self.level = LEVELS[options.train](model, options)
        self.level.put(self.level.parameters)
        self.embeddings = Embeddings(folder / "embeddings", predictor)
        self.stages = stages_of(model.image_encoder)
        self.optimizer = optim.AdamW(
            options.highest_rate, weight_decay=options.weight_decay, bias_correction=True
        )
        self.optimizer.init(self.level.parameters)
        self.progress = Progress()
        self.share = 1.0  # of the trained weights, after ``mix``

    def resume(self) -> None:
        """Go on from the last saved state. Raises FileNotFoundError if there is none, ValueError if
        it is of other data, options or another model.
        """
        arrays, self.progress = load_state(self.folder / LAST, self.made_from)
        parameters, state = split(arrays)
        self.level.put(parameters)
        self.optimizer.state = unflat(state)

    def run(self, report: Report = lambda line: None, cancel: Cancel | None = None) -> None:
        """Train to the end, or until validation stops improving; then restore the best weights.

        After KeyboardInterrupt, and once ``cancel`` is set, the state is saved. Raises RuntimeError
        if the loss becomes NaN or infinite.
        """
        log = Log(self.folder / LOG, self.progress.iteration)

        def tell(**values: Any) -> None:
            log.write(**values)
            report(values)

        try:
            if self.progress.iteration == 0:
                self.save(FIRST, joined(self.level.parameters))
                self.judge(tell)
            while not self.is_over():
                checkpoint(cancel)
                self.step(tell)
        except BaseException:
            self.save_last()
            raise
        self.use(BEST)
        if self.kept_validation:
            self.mix()

    def use(self, name: str) -> None:
        """Make the weights of a saved state the model's."""
        arrays, _ = load_state(self.folder / name, self.made_from)
        self.level.put(split(arrays)[0])

    def is_over(self) -> bool:
        done, options = self.progress, self.options
        return done.iteration >= options.iters or done.without_gain >= options.patience

    def step(self, tell: Callable[..., None]) -> None:
        """One step, and what is due after it."""
        options, done = self.options, self.progress
        rate = self.rate(done.iteration)
        loss, gradients = self.gradients(done.iteration)
        if not math.isfinite(loss):
            raise RuntimeError(
                f"the loss is {loss} at step {done.iteration + 1}; the state before it is "
                "kept: go on with a lower learning rate in another folder"
            )
        self.optimizer.learning_rate = rate
        before = self.level.parameters
        parameters = self.optimizer.apply_gradients(gradients, before)
        for name in filter(lambda name: name.startswith(PREFIX), parameters):
            parameters[name] = before[name] + RATE * (parameters[name] - before[name])
        mx.eval(parameters, self.optimizer.state)
        self.level.put(parameters)
        done.iteration += 1
        done.losses.append(loss)
        last = done.iteration == options.iters
        if done.iteration % options.steps_per_report == 0 or last:
            mean = float(np.mean(done.losses))
            tell(iteration=done.iteration, train_loss=mean, learning_rate=rate)
            done.losses = []
        if done.iteration % options.steps_per_eval == 0 or last:
            self.judge(tell)

    def rate(self, iteration: int) -> float:
        """The learning rate of a step: it rises linearly, then falls as a cosine to 0."""
        options = self.options
        warm = round(options.warmup * options.iters)
        if iteration < warm:
            return options.highest_rate * (iteration + 1) / (warm + 1)
        share = (iteration - warm) / max(1, options.iters - warm)
        return options.highest_rate * 0.5 * (1 + math.cos(math.pi * share))

    def gradients(self, iteration: int) -> tuple[float, Arrays]:
        """The loss of a step, and the gradients of what is trained: means over its pictures."""
        count = self.options.batch_size
        loss, total = self.one(iteration * count)
        for i in range(1, count):
            other, more = self.one(iteration * count + i)
            loss, total = loss + other, {name: g + more[name] for name, g in total.items()}
        return loss / count, {name: g / count for name, g in total.items()}

    def one(self, number: int) -> tuple[float, Arrays]:
        """The loss of the number-th picture, and the gradients of what is trained."""
        options, example = self.options, self.example(number)
        rng = np.random.default_rng([options.seed, 1, number])
        view = int(rng.integers(options.views))
        index = rng.permutation(len(example.objects))[: options.objects]
        masks = example.masks(index, view)
        frame = Frame(self.model.config, masks.shape[1:])
        features, inputs = self.features(example, view)
        decoder = {n: w for n, w in self.level.parameters.items() if n.startswith(DECODER)}
        outcome = train_on(
            self.model, decoder, features, Truth.of(masks, frame), options.clicks, rng
        )
        if options.instances:
            every = example.masks(np.arange(len(example.objects)), view)
            maps = {n: w for n, w in self.level.parameters.items() if n.startswith(PREFIX)}
            outcome = both(outcome, train_along(self.model, maps, features, every, frame))
        encoder: Arrays = {}
        if inputs:
            names = {name.removeprefix("image_encoder.") for name in self.level.weights()}
            encoder = backward(
                self.model.image_encoder, self.stages, inputs, outcome.cotangent, names.__contains__
            )
        return outcome.loss, self.level.gradients(outcome.gradients, encoder)

    def example(self, number: int) -> Example:
        """The number-th that is trained on: each is drawn once before any is drawn again."""
        seed, count = self.options.seed, len(self.training)
        rng = np.random.default_rng([seed, 2, number])
        if self.kept and rng.random() < self.options.keep_share:
            return self.kept[int(rng.integers(len(self.kept)))]
        order = np.random.default_rng([seed, 0, number // count]).permutation(count)
        return self.training[order[number % count]]

    def features(self, example: Example, view: int = 0) -> tuple[mx.array, list[mx.array]]:
        """An example's features, and where the encoder is trained the inputs of its stages."""
        if not self.level.encoder_is_trained:
            return self.embeddings.of(example, view), []
        return forward(self.stages, transforms.preprocess(example.pixels(view), self.model.config))

    def judge(self, tell: Callable[..., None]) -> None:
        """Validate, keep the weights if they are the best, and save."""
        done = self.progress
        found = self.validate()
        tell(iteration=done.iteration, **{f"val_{name}": value for name, value in found.items()})
        if found["iou"] > done.best:
            done.best, done.best_iteration, done.without_gain = found["iou"], done.iteration, 0
            self.save(BEST, joined(self.level.parameters))
        else:
            done.without_gain += 1
        self.save_last()

    def validate(self) -> dict[str, float]:
        """What ``validate`` finds, and ``iou_kept`` where something is to be kept."""
        known: dict[str, mx.array] = {}

        def features_of(example: Example) -> mx.array:
            if example.digest not in known or self.level.encoder_is_trained:
                known[example.digest] = self.features(example)[0]
            return known[example.digest]

        found = validate(self.model, self.validation, features_of, self.options.instances)
        if self.kept_validation:
            found["iou_kept"] = validate(self.model, self.kept_validation, features_of)["iou"]
        return found

    def mix(self) -> None:
        """Take the largest share of the trained weights that forgets little, the rest from those of
        the beginning: on that line a model forgets less than it unlearns (WiSE-FT, Wortsman et al.
        2022).
        """
        after = self.level.parameters
        arrays, _ = load_state(self.folder / FIRST, self.made_from)
        before = split(arrays)[0]

        def known(share: float) -> float:
            self.level.put({n: before[n] + share * (w - before[n]) for n, w in after.items()})
            return self.validate()["iou_kept"]

        wanted = known(0) - MAX_FORGOTTEN
        self.share = next((share for share in SHARES if known(share) >= wanted), SHARES[-1])

    def save_last(self) -> None:
        self.save(LAST, joined(self.level.parameters, flat(self.optimizer.state)))

    def save(self, name: str, arrays: Arrays) -> None:
        save_state(self.folder / name, arrays, self.progress, self.made_from)


def joined(parameters: Arrays, state: Arrays | None = None) -> Arrays:
    """Parameters and the optimiser's state under names that tell them apart."""
    found = {f"parameters/{name}": value for name, value in parameters.items()}
    return found | {f"optimizer/{name}": value for name, value in (state or {}).items()}


def split(arrays: Arrays) -> tuple[Arrays, Arrays]:
    """What ``joined`` joined."""
    parts: dict[str, Arrays] = {"parameters": {}, "optimizer": {}}
    for name, value in arrays.items():
        kind, _, rest = name.partition("/")
        parts[kind][rest] = value
    return parts["parameters"], parts["optimizer"]


def flat(state: dict[str, Any]) -> Arrays:
    """An optimiser's state with names such as ``a.weight/m``: those of parameters hold dots."""
    found: Arrays = {}
    for name, value in state.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        found |= {f"{name}/{part}": array for part, array in inner}
    return found


def unflat(arrays: Arrays) -> dict[str, Any]:
    """What ``flat`` flattened."""
    found: dict[str, Any] = {}
    for name, value in arrays.items():
        parameter, _, part = name.partition("/")
        if part:
            found.setdefault(parameter, {})[part] = value
        else:
            found[parameter] = value
    return found


def digest_of(model: str, sides: Sequence[Sequence[Example]], options: TrainingOptions) -> str:
    """What tells a training from others: its numbers follow from this."""
    kept = any(sides[2:])
    examples = [[(e.digest, e.box, e.objects) for e in part] for part in sides[: 4 if kept else 2]]
    chosen = settings(options)
    # As the states of versions without these have it.
    chosen = {n: v for n, v in chosen.items() if n != "keep_share" or kept}
    chosen = {n: v for n, v in chosen.items() if n != "instances" or v}
    text = to_json([model, examples, chosen])
    return hashlib.sha256(text.encode()).hexdigest()
