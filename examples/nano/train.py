"""Train nano from scratch on generated scenes: ``python -m examples.nano.train --hours 2``.

Two single-threaded processes share the gradients. The same command resumes after a stop; a
finished run continues with a new schedule when it is given ``--hours`` again. The schedule follows
the clock: first crops (112 px, in later runs 168), then whole images while the learning rate falls
to zero (in runs that continue another, every other step takes crops until the end).
"""

import argparse
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from examples.nano import scenes
from examples.nano.evaluate import measure
from examples.nano.feed import CHAIN, Batch, Feed, choose, correct, photometric
from examples.nano.losses import edge_loss, prompt_loss
from examples.nano.model import (
    LOW,
    NANO,
    SamPredictor,
    build_nano,
    check,
    decode,
    encode,
    encode_points,
    read_weights,
    replace,
)
from examples.nano.optimiser import RATES, learning_rate, optimizers

WINDOW = NANO.encoder.window * NANO.patch_size  # 56 pixels; a multiple of it needs no padding
# A batch: pixels per side, images, prompts per image.
CROPS = 2 * WINDOW, 10, 6  # while the model learns the basics
LATER_CROPS = 3 * WINDOW, 4, 8  # in runs that continue another
WHOLE = NANO.image_size, 1, 12
CROP_PHASE = 0.55  # share of the schedule on crops
FULL_EVERY = 6  # until then every sixth step takes whole images: far offsets, padded windows
FULL_EVERY_LATER = 2  # runs that continue another keep crops: three times the prompts per second
ROUND_ODDS = [0.7, 0.2, 0.1]  # of no, one and two corrective clicks
MAX_GRADIENT_NORM = 5
# Products in bfloat16 are three times as fast as in float32 on processors that support them, and
# slower on others.
BFLOAT16 = torch.cpu.get_capabilities().get("amx_bf16", False)


@dataclass
class Progress:
    """How far the training has come. A segment is one schedule, from its first step to its last."""

    hours: float  # of the segment's schedule
    elapsed: float = 0.0  # seconds of it that are over
    segment: int = 0
    segment_step: int = 0
    step: int = 0  # over all segments
    total: float = 0.0  # seconds over all segments

    @property
    def fraction(self) -> float:
        return min(self.elapsed / (self.hours * 3600), 1.0)

    @property
    def later(self) -> bool:
        return self.segment > 0

    def begin_segment(self, hours: float) -> None:
        self.segment += 1
        self.hours, self.elapsed, self.segment_step = hours, 0.0, 0


class Log:
    """The progress bar and the lines of log.jsonl; a silent one does nothing."""

    def __init__(self, path: Path, progress: Progress, now: float, silent: bool):
        self.path, self.progress, self.silent = path, progress, silent
        self.bar = tqdm(
            initial=round(progress.elapsed),
            total=round(progress.hours * 3600),
            unit="s",
            disable=silent,
            mininterval=5,
        )
        self.begin(now)

    def begin(self, now: float) -> None:
        """Start the means anew."""
        self.since, self.base_step = now, self.progress.step
        self.losses: list[float] = []
        self.hits: list[float] = []

    def add(self, loss: float, hit: float, now: float) -> None:
        self.losses.append(loss)
        self.hits.append(hit)
        mean_loss, mean_hit = np.mean(self.losses), np.mean(self.hits)
        self.bar.n = round(self.progress.elapsed)
        means = {"loss": f"{mean_loss:.3f}", "iou": f"{mean_hit:.3f}"}
        self.bar.set_postfix(step=self.progress.step, **means)
        if now - self.since > 30:
            rate = (self.progress.step - self.base_step) / (now - self.since)
            self.write(
                loss=round(mean_loss, 4),
                iou=round(mean_hit, 4),
                steps_per_second=round(rate, 3),
                phase=round(self.progress.fraction, 4),
            )
            self.begin(now)

    def write(self, **values: float) -> None:
        if self.silent:
            return
        hours = round(self.progress.total / 3600, 4)
        with open(self.path, "a") as log:
            print(json.dumps({"step": self.progress.step, "hours": hours, **values}), file=log)


class Trainer:
    def __init__(self, rank: int, world: int, args: argparse.Namespace):
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        torch.manual_seed(args.seed)
        self.rank, self.world, self.args = rank, world, args
        self.path = args.out / "state.pt"
        self.stop = False
        self.sam = build_nano()
        learn_frequencies(self.sam)
        # Helps the encoder to learn, and is not part of the result: 4 x 4 edge logits per token.
        self.edge_head = nn.Linear(NANO.prompt_dim, (NANO.patch_size // LOW) ** 2)
        self.optimizers = optimizers(self.sam, self.edge_head)
        self.params = [p for o in self.optimizers for p in o.param_groups[0]["params"]]
        self.average = copied(self.sam)
        self.progress = Progress(args.hours)
        drawn = 0
        if self.path.exists():
            drawn = self.resume(torch.load(self.path, weights_only=True))
        elif args.init:
            self.go_on_from(read_weights(args.init))
        torch.manual_seed(args.seed + 1000 * rank + self.progress.step)
        self.feed = Feed(rank, world, drawn)

    def resume(self, state: dict) -> int:
        """Restore what ``save`` wrote, and return the number of scenes drawn until then."""
        self.sam.load_state_dict(state["sam"])
        self.edge_head.load_state_dict(state["edge_head"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.progress = Progress(**state["progress"])
        if self.progress.fraction >= 1:
            self.progress.begin_segment(self.args.hours)
        return state["drawn"]

    def go_on_from(self, weights: dict[str, Tensor]) -> None:
        self.sam.load_state_dict(weights)
        self.average = copied(self.sam)
        self.progress.segment = 1

    def run(self) -> None:
        progress = self.progress
        last = saved = time.time()
        log = Log(self.args.out / "log.jsonl", progress, last, silent=self.rank > 0)
        while not self.stop and progress.fraction < 1:
            self.set_rates()
            loss, hit = self.learn()
            now = time.time()
            spent, last = min(now - last, 10), now  # so that a suspended process loses no time
            progress.elapsed += spent
            progress.total += spent
            log.add(loss, hit, now)
            if now - saved > 180:
                self.save()
                saved = now
            if self.test_is_due(spent) and progress.fraction < 1:  # there is another one at the end
                self.export()
                log.write(**self.evaluate(self.args.test_scenes))
        self.save()
        self.export()
        if progress.fraction >= 1:
            log.write(**self.evaluate(self.args.test_scenes))

    def set_rates(self) -> None:
        progress = self.progress
        schedule = progress.segment_step, progress.fraction, progress.later
        for optimizer, highest in zip(self.optimizers, RATES):
            optimizer.param_groups[0]["lr"] = learning_rate(highest, *schedule)

    def learn(self) -> tuple[float, float]:
        """Take one step, and return the loss and the best IoU of this process."""
        batch, images = self.next_batch()
        embeddings = self.embed(images * batch.framed, batch.corner)
        edges = edge_loss(self.edge_head(embeddings.permute(0, 2, 3, 1)), batch.edges)
        losses, hit = self.prompt_losses(batch, embeddings)
        loss = sum(losses, edges)
        for p in self.params:
            p.grad = None
        loss.backward()
        self.share()
        for optimizer in self.optimizers:
            optimizer.step()
        self.progress.step += 1
        self.progress.segment_step += 1
        self.follow()
        return float(loss.detach()), float(hit.detach())

    def next_batch(self) -> tuple[Batch, Tensor]:
        """A batch, and its images with varied colours, normalised."""
        later = self.progress.later
        if self.progress.step % self.full_every():
            batch = self.feed.batch(*(LATER_CROPS if later else CROPS))
            images = photometric(batch.images)
        else:  # in the colours of the scenes: the crops teach the variety
            batch = self.feed.batch(*WHOLE)
            images = batch.images.float()
        return batch, (images - self.sam.pixel_mean) / self.sam.pixel_std

    def full_every(self) -> int:
        """N, where one in N steps takes whole images."""
        if self.progress.fraction < CROP_PHASE:
            return FULL_EVERY
        return FULL_EVERY_LATER if self.progress.later else 1

    def embed(self, images: Tensor, corner: tuple[int, int]) -> Tensor:
        with half():
            return encode(self.sam.image_encoder, images, corner).float()

    def answer(
        self, batch: Batch, embeddings: Tensor, points: Tensor, labels: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits and predicted IoU."""
        sparse = encode_points(self.sam.prompt_encoder, points, labels)
        with half():
            logits, quality = decode(self.sam, embeddings, sparse, mask, batch.corner)
        return logits.float(), quality.float()

    def prompt_losses(self, batch: Batch, embeddings: Tensor) -> tuple[list[Tensor], Tensor]:
        """The loss of each round of prompts, and the best IoU of the first round."""
        points, labels, mask, weights = batch.points, batch.labels, None, batch.weights
        # Seeded by the step, so that all processes have equally many rounds.
        rng = np.random.default_rng([self.args.seed, self.progress.step])
        rounds = 1 + rng.choice(3, p=ROUND_ODDS)
        losses, hits = [], []
        for r in range(rounds):
            logits, quality = self.answer(batch, embeddings, points, labels, mask)
            loss, hit = prompt_loss(logits, quality, batch.truths, weights)
            losses.append(loss / rounds)
            hits.append(hit)
            if r + 1 < rounds:
                so_far = choose(labels, logits, quality, first=r == 0)
                points, labels, mask = correct(batch, points, labels, so_far)
                weights = F.one_hot(batch.meant, CHAIN).float()  # a correction tells which
        return losses, hits[0]

    def share(self) -> None:
        """Average the gradients over the processes, and agree on whether to stop."""
        for p in self.params:
            if p.grad is None:  # the layers for mask prompts, in a step without one
                p.grad = torch.zeros_like(p)
        stop = torch.tensor([float(self.stop)])
        flat = torch.cat([p.grad.flatten() for p in self.params] + [stop])
        if self.world > 1:
            dist.all_reduce(flat)
        self.stop = bool(flat[-1] > 0)
        flat = flat[:-1] / self.world
        flat *= 1.0 / max(1.0, float(flat.norm()) / MAX_GRADIENT_NORM)
        flat = torch.nan_to_num(flat)
        for p, grad in zip(self.params, flat.split([p.numel() for p in self.params])):
            p.grad = grad.view_as(p)

    def follow(self) -> None:
        """Move the averaged weights towards the current ones."""
        decay = min(0.998, (1 + self.progress.step) / (20 + self.progress.step))
        for key, value in self.sam.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)

    def test_is_due(self, spent: float) -> bool:
        """Whether an evaluation became due in the last ``spent`` seconds.

        The clocks of the processes differ slightly, so all use that of the first.
        """
        progress, period = self.progress, 60 * self.args.test_minutes
        due = progress.elapsed // period > (progress.elapsed - spent) // period
        if self.world == 1:
            return due
        common = torch.tensor([due, progress.elapsed], dtype=torch.float64)
        dist.broadcast(common, 0)
        progress.elapsed = float(common[1])
        return bool(common[0])

    def evaluate(self, count: int) -> dict[str, float]:
        """Measure on ``count`` held-out scenes, divided among the processes, and on the coins."""
        seeds = range(scenes.HELD_OUT + self.rank, scenes.HELD_OUT + count, self.world)
        sam = build_nano()
        sam.load_state_dict(self.average)
        with torch.no_grad():
            figures = measure(SamPredictor(sam.eval()), seeds, with_coins=self.rank == 0)
        gathered = [figures] * self.world
        if self.world > 1:
            dist.all_gather_object(gathered, figures)
        return {
            k: round(float(np.mean([g[k] for g in gathered if k in g])), 4) for k in gathered[0]
        }

    def save(self) -> None:
        if self.rank:
            return
        state = {
            "sam": self.sam.state_dict(),
            "edge_head": self.edge_head.state_dict(),
            "average": self.average,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "progress": asdict(self.progress),
            "drawn": self.feed.drawn,
        }
        replace(state, self.path)

    def export(self) -> None:
        if self.rank == 0:
            replace({k: v.contiguous() for k, v in self.average.items()}, self.args.out / "nano.pt")


def learn_frequencies(sam: nn.Module) -> None:
    """Train the frequencies of the positional encoding; Meta's class keeps them fixed."""
    pe = sam.prompt_encoder.pe_layer
    frequencies = pe._buffers.pop("positional_encoding_gaussian_matrix")
    pe.positional_encoding_gaussian_matrix = nn.Parameter(frequencies)


def copied(sam: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in sam.state_dict().items()}


def half() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16)


def work(rank: int, world: int, args: argparse.Namespace) -> None:
    if world > 1:
        rendezvous = f"file://{(args.out / 'rendezvous').resolve()}"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world)
    trainer = Trainer(rank, world, args)

    def finish(*_: object) -> None:
        trainer.stop = True

    signal.signal(signal.SIGTERM, finish)
    signal.signal(signal.SIGINT, finish)
    trainer.run()
    if world > 1:
        dist.destroy_process_group()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=2.0, help="length of the schedule")
    parser.add_argument(
        "--init", type=Path, help="weights to start from: a .pt, or a folder that convert wrote"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-minutes", type=float, default=10, help="between evaluations")
    parser.add_argument("--test-scenes", type=int, default=16)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "rendezvous").unlink(missing_ok=True)
    assert check() < 1e-5, "the fast forward pass differs from Meta's"
    context = torch.multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=work, args=(rank, args.processes, args))
        for rank in range(args.processes)
    ]
    for worker in workers:
        worker.start()

    def pass_on(*_: object) -> None:
        for worker in workers:
            if worker.is_alive():
                os.kill(worker.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    for worker in workers:
        worker.join()
    raise SystemExit(max(abs(worker.exitcode) for worker in workers))


if __name__ == "__main__":
    main()
