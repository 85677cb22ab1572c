"""Train nano from scratch on generated scenes: ``python -m examples.nano.train --hours 2``.

Two single-threaded processes share the gradients. The same command resumes after a stop; a
finished run goes on with a new schedule when it is given ``--hours`` again. The schedule follows
the clock: crops first (112 px, later 168), then whole images while the learning rate falls to zero
(in runs that go on from another, every other step takes crops until the end).
"""

import argparse
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from torch import nn
from tqdm import tqdm

from examples.nano import scenes
from examples.nano.evaluate import measure
from examples.nano.model import (
    EMBED,
    PATCH,
    SIZE,
    SamPredictor,
    build_nano,
    check,
    decode,
    encode,
    encode_points,
    read_weights,
)

CROP = 112  # 14 tokens: two windows, so no padding while the basics are learnt
LARGE_CROP = 168  # three windows: for the runs that go on from the first
LOW = 2  # pixels per pixel of the low-resolution masks
ZOOM = SIZE / scenes.SIZE  # whole images are enlarged from 256 to 320 px
CROP_PHASE = 0.55  # share of the schedule on crops
FULL_EVERY = 6  # meanwhile every sixth step takes whole images: far offsets, padded windows
FULL_EVERY_LATER = 2  # in runs that go on, crops stay: three times as many prompts a second
FULL_RATE = 0.45  # share of the schedule before the learning rate falls
CHAIN = 3  # an ambiguous click counts for at most this many nested objects
CHAIN_WEIGHTS = [[1, 0, 0], [0.8, 0.2, 0], [0.7, 0.2, 0.1]]  # innermost first
ROUND_ODDS = [0.7, 0.2, 0.1]  # of no, one and two corrective clicks
BOXES = 0.35  # share of the first prompts
DEEPEST = 0.7  # share of the clicks at an object's innermost point; the others are anywhere
POOL = 5000  # scenes in memory per process
GENERATING = 0.05  # share of the time spent on new scenes
# Products in bfloat16 are three times as fast as in float32 where the processor has them, and slower
# where it has not.
BFLOAT16 = torch.cpu.get_capabilities().get("amx_bf16", False)


@dataclass
class Batch:
    images: torch.Tensor  # (B, 3, S, S) uint8, enlarged or reduced from the scenes' (V, V)
    framed: torch.Tensor  # (B, 1, S, S) float: 0 where an image that is not square is padded
    edges: torch.Tensor  # (B, 1, V, V) float: 1 where two objects meet
    truths: torch.Tensor  # (B * P, 3, V, V) float: nested masks, innermost first
    weights: torch.Tensor  # (B * P, 3): odds that each of them is meant; sums to 1
    meant: torch.Tensor  # (B * P,) the one that later clicks correct towards
    points: torch.Tensor  # (B * P, 2, 2) pixels of the 320 px frame
    labels: torch.Tensor  # (B * P, 2)
    corner: tuple[int, int]  # (row, column) of the crop's first token in the frame


class Feed:
    """Scenes in memory, renewed all the time, and the batches drawn from them."""

    def __init__(self, rank: int, world: int, drawn: int = 0):
        self.rank, self.world, self.drawn = rank, world, drawn
        self.rng = np.random.default_rng([rank, drawn])
        self.pool = []
        self.spent, self.started = 0.0, time.time()
        for _ in range(300):
            self.add_scene()
        self.spent = 0.0

    def add_scene(self):
        seed = (self.drawn * self.world + self.rank) % scenes.HELD_OUT
        self.drawn += 1
        drawn = scenes.draw(seed)
        if not len(drawn.parents):
            return
        item = drawn.image, drawn.owner, drawn.parents, scenes.members(drawn.parents)
        if len(self.pool) < POOL:
            self.pool.append(item)
        else:
            self.pool[self.rng.integers(POOL)] = item

    def renew(self):
        begin = time.time()
        while self.spent < GENERATING * (time.time() - self.started) and time.time() - begin < 0.3:
            before = time.time()
            self.add_scene()
            self.spent += time.time() - before

    def batch(self, size: int, images: int, prompts: int) -> Batch:
        self.renew()
        rng = self.rng
        room = (SIZE - size) // PATCH + 1
        corner = int(rng.integers(room)), int(rng.integers(room))
        if rng.random() < (0.85 if size == SIZE else 0.4):  # as large as in a whole image
            side = round(size / ZOOM)
        else:
            low, high = (150, scenes.SIZE) if size == SIZE else (size * 0.55, size * 1.2)
            side = int(rng.integers(low, high))
        samples = []
        while len(samples) < images:
            image, owner, parents, lookup = self.pool[rng.integers(len(self.pool))]
            image, owner = self.view(image, owner, side)
            scale = size / side
            image = np.asarray(Image.fromarray(image).resize((size, size), Image.BILINEAR))
            framed = np.ones((1, size, size), np.float32)
            if size == SIZE and rng.random() < 0.1:
                cut, axis = int(rng.integers(side // 2, side)), rng.integers(2)
                framed.swapaxes(1, 1 + axis)[:, round(cut * scale) :] = 0
                owner = owner.copy()
                owner.swapaxes(0, axis)[cut:] = 0
            drawn = self.prompts(owner, parents, lookup, prompts, scale, corner)
            if drawn is not None:
                edge = (owner != np.roll(owner, -1, 0)) | (owner != np.roll(owner, -1, 1))
                samples.append((image.transpose(2, 0, 1), framed, edge[None], *drawn))
        image, framed, edge, truths, weights, meant, points, labels = zip(*samples)
        return Batch(
            torch.from_numpy(np.stack(image)),
            torch.from_numpy(np.stack(framed)),
            torch.from_numpy(np.stack(edge)).float(),
            torch.from_numpy(np.concatenate(truths)).float(),
            torch.tensor(np.concatenate(weights), dtype=torch.float32),
            torch.tensor(np.concatenate(meant)),
            torch.tensor(np.concatenate(points), dtype=torch.float32),
            torch.tensor(np.concatenate(labels)),
            corner,
        )

    def view(self, image, owner, side):
        """A random window of ``side`` pixels of a scene, in one of its eight orientations."""
        rng = self.rng
        y, x = rng.integers(0, scenes.SIZE - side + 1, 2)
        image, owner = image[y : y + side, x : x + side], owner[y : y + side, x : x + side]
        turns, flip = rng.integers(4), rng.random() < 0.5
        image, owner = np.rot90(image, turns), np.rot90(owner, turns)
        return (image[:, ::-1], owner[:, ::-1]) if flip else (image, owner)

    def prompts(self, owner, parents, lookup, count, scale, corner):
        """Clicks and jittered boxes on ``count`` objects of a view, or None where it shows none."""
        rng, size = self.rng, len(owner)
        area = np.bincount(owner.ravel(), minlength=len(parents) + 1)[1:]
        present = np.flatnonzero(area >= 50)
        if not len(present):
            return None
        # Parts twice: they are the hardest.
        twice = np.concatenate([present, present[parents[present] >= 0]])
        picks = rng.permutation(np.resize(rng.permutation(twice), count))
        depth = None
        origin = np.array([corner[1], corner[0]]) * PATCH
        truths = np.zeros((count, CHAIN, size, size), np.uint8)
        weights, meant = np.zeros((count, CHAIN)), np.zeros(count, int)
        points, labels = np.zeros((count, 2, 2)), np.zeros((count, 2), int)
        for i, k in enumerate(picks):
            nested = scenes.chain(parents, k)[:CHAIN]
            odds = CHAIN_WEIGHTS[len(nested) - 1]
            choice = rng.choice(CHAIN, p=odds)
            if rng.random() < BOXES:
                truths[i, 0] = mask = lookup[nested[choice]][owner]
                weights[i, 0] = 1
                points[i], labels[i] = self.box(mask) * scale + origin, (2, 3)
                continue
            for j, whole in enumerate(nested):
                truths[i, j] = lookup[whole][owner]
            weights[i], meant[i] = odds, choice
            if depth is None:
                depth = inner_distance(owner)
            ys, xs = np.nonzero(owner == k + 1)
            at = depth[ys, xs].argmax() if rng.random() < DEEPEST else rng.integers(len(ys))
            points[i, 0] = np.array([xs[at], ys[at]]) * scale + origin
            labels[i] = 1, -1
        return truths, weights, meant, points, labels

    def box(self, mask):
        """Corners (2, 2) of a mask's box, each off by up to a tenth of the side or 20 px."""
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        corners = np.array([[xs[0], ys[0]], [xs[-1] + 1, ys[-1] + 1]], float)
        spread = np.minimum(self.rng.uniform(0, 0.1) * (corners[1] - corners[0]), 20)
        return np.clip(corners + self.rng.normal(0, 1, (2, 2)) * spread, 0, len(mask))


def inner_distance(owner: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one of another object, or to the frame."""
    edge = np.zeros(np.add(owner.shape, 2), bool)
    edge[1:-1, 1:-1][:-1] |= owner[1:] != owner[:-1]
    edge[1:-1, 1:-1][:, :-1] |= owner[:, 1:] != owner[:, :-1]
    edge[[0, -1]] = edge[:, [0, -1]] = True
    return ndimage.distance_transform_edt(~edge)[1:-1, 1:-1]


def photometric(images: torch.Tensor) -> torch.Tensor:
    """Random contrast, brightness, tint, gray and blur; (B, 3, S, S) in 0..255."""
    B = len(images)
    x = images.float()
    gain = torch.empty(B, 3, 1, 1).uniform_(0.9, 1.1) * torch.empty(B, 1, 1, 1).uniform_(0.7, 1.2)
    x = (x - 128) * gain + 128 + torch.empty(B, 1, 1, 1).uniform_(-25, 25)
    gray = (torch.rand(B, 1, 1, 1) < 0.15).float()
    x = x + gray * (x.mean(1, keepdim=True) - x)
    blurred = torch.rand(B) < 0.15
    if blurred.any():
        x[blurred] = F.avg_pool2d(x[blurred], 3, 1, 1, count_include_pad=False)
    return x.clamp(0, 255)


def mask_losses(logits: torch.Tensor, truths: torch.Tensor):
    """Every output against every truth, as matrix products over the pixels.

    logits (N, 4, h, w), truths (N, 3, H, W) of 0 and 1 -> loss and actual IoU, each (N, 4, 3).

    Dice and IoU are of the masks a user gets, enlarged to the image. A truth rounded to the low
    resolution and enlarged again has an IoU of 0.92 with itself, 0.83 below 160 px.
    """
    low = shares(truths, logits).flatten(2).transpose(1, 2)  # (N, hw, 3)
    x = logits.flatten(2)  # (N, 4, hw)
    p = x.sigmoid()
    ones = F.softplus(-x) * (1 - p) ** 2  # focal loss where the truth is 1, and where it is 0
    zeros = F.softplus(x) * p**2
    focal = 0.5 * (zeros.sum(2, keepdim=True) + (ones - zeros) @ low) / x.shape[2]
    y = truths.flatten(2).transpose(1, 2)
    x = F.interpolate(logits, size=truths.shape[2:], mode="bilinear").flatten(2)
    p = x.sigmoid()
    total = y.sum(1, keepdim=True)
    dice = 1 - (2 * (p @ y) + 1) / (p.sum(2, keepdim=True) + total + 1)
    with torch.no_grad():
        hard = (x > 0).float()
        overlap = hard @ y
        iou = overlap / (hard.sum(2, keepdim=True) + total - overlap).clamp(min=1)
    return 20 * focal + dice, iou


def shares(truths: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """How much of each pixel of the low-resolution masks is inside; (N, n, H, W) -> (N, n, h, w)."""
    return F.adaptive_avg_pool2d(truths, logits.shape[-2:])


def prompt_loss(logits, predicted_iou, truths, weights):
    """Output 0 answers alone. Of outputs 1 to 3 the best one learns, for each truth a click may
    mean. The predicted IoU aims at the IoU to be expected over those truths."""
    loss, iou = mask_losses(logits, truths)
    single = (loss[:, 0] * weights).sum(1).mean()
    best = (loss[:, 1:].min(1).values * weights).sum(1).mean()
    expected = (iou * weights[:, None]).sum(2)
    quality = ((predicted_iou - expected) ** 2).mean()
    hit = (iou[:, 1:].max(1).values * weights).sum(1).mean()
    return single + best + quality, hit


def correct(batch: Batch, points, labels, logits, predicted_iou, first: bool):
    """The next round's prompts: one click in an error of the mask so far, and that mask."""
    if first:  # after a lone click the best guess goes on, as a user would choose it
        lone = (labels == -1).any(1)
        chosen = torch.where(lone, predicted_iou[:, 1:].argmax(1) + 1, 0)
    else:
        chosen = torch.zeros(len(logits), dtype=torch.long)
    every = torch.arange(len(logits))
    mask = logits[every, chosen].detach()
    truth = (shares(batch.truths[every, batch.meant][:, None], mask)[:, 0] > 0.5).float()
    error = ((mask > 0) != (truth > 0)).float()
    error = torch.where(error.sum((1, 2), keepdim=True) > 0, error, truth)
    inner = F.avg_pool2d(error[:, None], 9, 1, 4)[:, 0]
    score = torch.where(torch.rand(len(error), 1, 1) < 0.5, inner, torch.rand_like(error))
    spot = (error * (score + 1e-3)).flatten(1).argmax(1)
    size = mask.shape[-1]
    origin = torch.tensor([batch.corner[1], batch.corner[0]]) * PATCH
    click = torch.stack([spot % size, spot // size], 1) * LOW + 0.5 + origin
    label = truth.flatten(1)[every, spot].long()
    # Beside a box there is no filler: a click takes its place in the row either way.
    points = torch.cat([click[:, None], points], 1)
    labels = torch.cat([label[:, None], labels], 1)
    return points, labels, mask[:, None]


class Muon(torch.optim.Muon):
    """In float32, which halves the time on processors without units for the original's bfloat16;
    each process makes the orthogonal updates of its share of the matrices."""

    @torch.no_grad()
    def step(self):
        group = self.param_groups[0]
        params = group["params"]
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        mine = sorted(range(len(params)), key=lambda i: params[i].numel())[rank::world]
        updates = [torch.zeros_like(p) for p in params]
        for i, p in enumerate(params):
            state = self.state[p]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(p)
            average = state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
            if i in mine:
                updates[i] = orthogonal(p.grad.lerp(average, group["momentum"]), group)
        if world > 1:
            flat = torch.cat([update.flatten() for update in updates])
            dist.all_reduce(flat)
            updates = flat.split([p.numel() for p in params])
        rate = group["lr"]
        for p, update in zip(params, updates):
            p.mul_(1 - rate * group["weight_decay"])
            scale = 0.2 * max(p.shape) ** 0.5  # "match_rms_adamw"
            p.add_(update.view_as(p), alpha=-rate * scale)


def orthogonal(x: torch.Tensor, group: dict) -> torch.Tensor:
    """Newton-Schulz steps towards the nearest matrix with orthonormal rows or columns."""
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=group["eps"])
    a, b, c = group["ns_coefficients"]
    for _ in range(group["ns_steps"]):
        square = x @ x.T
        x = a * x + torch.addmm(square, square, square, beta=b, alpha=c) @ x
    return (x.T if tall else x).contiguous()


class Trainer:
    def __init__(self, rank: int, world: int, args):
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        torch.manual_seed(args.seed)
        self.rank, self.world, self.args = rank, world, args
        self.sam = build_nano()
        # Trained like any weight; Meta's class keeps the frequencies of the position code fixed.
        pe = self.sam.prompt_encoder.pe_layer
        frequencies = pe._buffers.pop("positional_encoding_gaussian_matrix")
        pe.positional_encoding_gaussian_matrix = nn.Parameter(frequencies)
        # Helps the encoder along and is not part of the result: 4 x 4 edge logits per token.
        self.edge_head = nn.Linear(EMBED, (PATCH // LOW) ** 2)
        self.average = {k: v.clone() for k, v in self.sam.state_dict().items()}
        matrices, rest = [], list(self.edge_head.parameters())
        for name, p in self.sam.named_parameters():
            inner = "blocks." in name or "mask_decoder.transformer" in name
            matrix = p.ndim == 2 and inner and "rel_pos" not in name
            (matrices if matrix else rest).append(p)
        self.params = matrices + rest
        self.optimizers = [
            Muon(matrices, lr=4e-3, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=2e-3, betas=(0.9, 0.99), weight_decay=0.01),
        ]
        self.rates = [4e-3, 2e-3]
        self.step, self.total, self.segment = 0, 0.0, 0  # total: seconds trained over all segments
        self.elapsed, self.hours, self.segment_step = 0.0, args.hours, 0  # of this segment
        self.stop, drawn = False, 0
        self.path = args.out / "state.pt"
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.sam.load_state_dict(state["sam"])
            self.edge_head.load_state_dict(state["edge_head"])
            self.average = state["average"]
            for optimizer, saved in zip(self.optimizers, state["optimizers"]):
                optimizer.load_state_dict(saved)
            for key, value in state["progress"].items():
                setattr(self, key, value)
            drawn = state["drawn"]
            if self.elapsed >= self.hours * 3600:
                self.segment += 1
                self.elapsed, self.hours, self.segment_step = 0.0, args.hours, 0
        elif args.init:
            self.sam.load_state_dict(read_weights(args.init))
            self.average = {k: v.clone() for k, v in self.sam.state_dict().items()}
            self.segment = 1
        torch.manual_seed(args.seed + 1000 * rank + self.step)
        self.feed = Feed(rank, world, drawn)

    def fraction(self) -> float:
        return min(self.elapsed / (self.hours * 3600), 1.0)

    def set_rate(self):
        warm = min(1.0, (self.segment_step + 1) / 150)
        start = FULL_RATE if self.segment == 0 else 0.1
        fall = min(1.0, (1 - self.fraction()) / (1 - start))
        for optimizer, rate in zip(self.optimizers, self.rates):
            optimizer.param_groups[0]["lr"] = rate * warm * fall * (0.4 if self.segment else 1)

    def learn(self):
        """One step; the loss and best IoU of this process."""
        if self.fraction() < CROP_PHASE:
            every = FULL_EVERY
        else:
            every = FULL_EVERY_LATER if self.segment else 1
        if self.step % every:
            crops = (CROP, 10, 6) if self.segment == 0 else (LARGE_CROP, 4, 8)
            batch = self.feed.batch(*crops)
            images = photometric(batch.images)
        else:  # in the colours they are drawn in: the crops teach the variety
            batch = self.feed.batch(SIZE, 1, 12)
            images = batch.images.float()
        images = (images - self.sam.pixel_mean) / self.sam.pixel_std * batch.framed
        half = torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16)
        with half:
            embeddings = encode(self.sam.image_encoder, images, batch.corner)
        embeddings = embeddings.float()
        edges = self.edge_head(embeddings.permute(0, 2, 3, 1))  # (B, h, w, 16)
        edges = F.pixel_shuffle(edges.permute(0, 3, 1, 2), PATCH // LOW)[:, 0]
        truth = F.adaptive_max_pool2d(batch.edges, edges.shape[1:])[:, 0]
        loss = 0.5 * F.binary_cross_entropy_with_logits(edges, truth)
        points, labels, mask, weights = batch.points, batch.labels, None, batch.weights
        # From the step number, so that no process waits for one with more rounds.
        rounds = 1 + np.random.default_rng([self.args.seed, self.step]).choice(3, p=ROUND_ODDS)
        for r in range(rounds):
            sparse = encode_points(self.sam.prompt_encoder, points, labels)
            with half:
                logits, quality = decode(self.sam, embeddings, sparse, mask, batch.corner)
            logits, quality = logits.float(), quality.float()
            part, hit = prompt_loss(logits, quality, batch.truths, weights)
            loss = loss + part / rounds
            if r == 0:
                first = hit
            if r + 1 < rounds:
                points, labels, mask = correct(batch, points, labels, logits, quality, r == 0)
                weights = F.one_hot(batch.meant, CHAIN).float()  # a correction says which
        for p in self.params:
            p.grad = None
        loss.backward()
        self.share()
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.segment_step += 1
        decay = min(0.998, (1 + self.step) / (20 + self.step))
        for key, value in self.sam.state_dict().items():
            self.average[key].lerp_(value, 1 - decay)
        return float(loss.detach()), float(first.detach())

    def share(self):
        """Average the gradients over the processes; agree on stopping."""
        for p in self.params:
            if p.grad is None:  # the mask prompt's layers in a round without one
                p.grad = torch.zeros_like(p)
        stop = torch.tensor([float(self.stop)])
        flat = torch.cat([p.grad.flatten() for p in self.params] + [stop])
        if self.world > 1:
            dist.all_reduce(flat)
        self.stop = bool(flat[-1] > 0)
        flat = flat[:-1] / self.world
        flat *= 1.0 / max(1.0, float(flat.norm()) / 5)
        flat = torch.nan_to_num(flat)
        for p, grad in zip(self.params, flat.split([p.numel() for p in self.params])):
            p.grad = grad.view_as(p)

    def averaged(self) -> nn.Module:
        sam = build_nano()
        sam.load_state_dict(self.average)
        return sam.eval()

    def evaluate(self, count: int) -> dict:
        """Each process measures its share of ``count`` held-out scenes, the first the coins."""
        seeds = range(scenes.HELD_OUT + self.rank, scenes.HELD_OUT + count, self.world)
        with torch.no_grad():
            figures = measure(SamPredictor(self.averaged()), seeds, with_coins=self.rank == 0)
        gathered = [None] * self.world
        if self.world > 1:
            dist.all_gather_object(gathered, figures)
        else:
            gathered = [figures]
        return {
            k: round(float(np.mean([g[k] for g in gathered if k in g])), 4) for k in gathered[0]
        }

    def save(self):
        if self.rank:
            return
        progress = ["step", "total", "segment", "elapsed", "hours", "segment_step"]
        state = {
            "sam": self.sam.state_dict(),
            "edge_head": self.edge_head.state_dict(),
            "average": self.average,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "progress": {k: getattr(self, k) for k in progress},
            "drawn": self.feed.drawn,
        }
        replace(state, self.path)

    def export(self):
        if self.rank == 0:
            replace({k: v.contiguous() for k, v in self.average.items()}, self.args.out / "nano.pt")

    def run(self):
        args = self.args
        bar = tqdm(
            initial=round(self.elapsed),
            total=round(self.hours * 3600),
            unit="s",
            disable=self.rank > 0,
            mininterval=5,
        )
        last = saved = logged = time.time()
        base_step, losses, hits = self.step, [], []

        def record(**values):
            if self.rank == 0:
                line = {"step": self.step, "hours": round(self.total / 3600, 4), **values}
                with open(args.out / "log.jsonl", "a") as log:
                    print(json.dumps(line), file=log)

        while not self.stop and self.fraction() < 1:
            self.set_rate()
            loss, hit = self.learn()
            losses.append(loss)
            hits.append(hit)
            now = time.time()
            spent, last = min(now - last, 10), now  # a pause of the process does not count
            self.elapsed += spent
            self.total += spent
            bar.n = round(self.elapsed)
            bar.set_postfix(
                step=self.step, loss=f"{np.mean(losses):.3f}", iou=f"{np.mean(hits):.3f}"
            )
            if now - logged > 30:
                rate = (self.step - base_step) / (now - logged)
                record(
                    loss=round(np.mean(losses), 4),
                    iou=round(np.mean(hits), 4),
                    steps_per_second=round(rate, 3),
                    phase=round(self.fraction(), 4),
                )
                logged, base_step, losses, hits = now, self.step, [], []
            if now - saved > 180:
                self.save()
                saved = now
            period = 60 * args.test_minutes
            due = self.elapsed // period > (self.elapsed - spent) // period
            if self.world > 1:  # clocks differ by a little: the first process decides for all
                common = torch.tensor([due, self.elapsed], dtype=torch.float64)
                dist.broadcast(common, 0)
                due, self.elapsed = bool(common[0]), float(common[1])
            if due and self.fraction() < 1:  # the end has its own
                self.export()
                record(**self.evaluate(args.test_scenes))
        self.save()
        self.export()
        if self.fraction() >= 1:
            record(**self.evaluate(args.test_scenes))


def replace(value, path: Path):
    """Write to one side, then rename: a reader never sees half a file."""
    part = path.with_suffix(".part")
    torch.save(value, part)
    os.replace(part, path)


def work(rank: int, world: int, args):
    if world > 1:
        rendezvous = f"file://{(args.out / 'rendezvous').resolve()}"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world)
    trainer = Trainer(rank, world, args)

    def finish(*_):
        trainer.stop = True

    signal.signal(signal.SIGTERM, finish)
    signal.signal(signal.SIGINT, finish)
    trainer.run()
    if world > 1:
        dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=2.0, help="length of the schedule")
    parser.add_argument(
        "--init", type=Path, help="weights to go on from: a .pt, or a folder that convert wrote"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/nano"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-minutes", type=float, default=10, help="between evaluations")
    parser.add_argument("--test-scenes", type=int, default=16)
    args = parser.parse_args()
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

    def pass_on(*_):
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
