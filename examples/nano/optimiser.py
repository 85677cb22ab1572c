"""Muon for the matrices of the transformers, AdamW for the rest, and their learning rates."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

RATES = 4e-3, 2e-3  # the maximum for Muon and for AdamW
RISE = 150  # steps
FULL_RATE = 0.45  # share of the schedule before the learning rate falls
FULL_RATE_LATER = 0.1  # the same in runs that continue another
LATER = 0.4  # factor of the rates in those runs


def optimizers(sam: nn.Module, edge_head: nn.Module) -> list[torch.optim.Optimizer]:
    matrices, rest = [], list(edge_head.parameters())
    for name, p in sam.named_parameters():
        inner = "blocks." in name or "mask_decoder.transformer" in name
        matrix = p.ndim == 2 and inner and "rel_pos" not in name
        (matrices if matrix else rest).append(p)
    return [
        Muon(matrices, lr=RATES[0], weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=RATES[1], betas=(0.9, 0.99), weight_decay=0.01),
    ]


def learning_rate(highest: float, step: int, fraction: float, later: bool) -> float:
    """The learning rate at a step of this schedule, of which ``fraction`` is over.

    It rises over the first steps, stays constant, and falls to zero at the end.
    """
    warm = min(1.0, (step + 1) / RISE)
    start = FULL_RATE_LATER if later else FULL_RATE
    fall = min(1.0, (1 - fraction) / (1 - start))
    return highest * warm * fall * (LATER if later else 1)


class Muon(torch.optim.Muon):
    """In float32, which halves the time on processors without units for the original's bfloat16;
    each process makes the orthogonal updates of its share of the matrices."""

    @torch.no_grad()
    def step(self) -> None:
        group = self.param_groups[0]
        rate = group["lr"]
        for p, update in zip(group["params"], summed(self.updates(group))):
            p.mul_(1 - rate * group["weight_decay"])
            scale = 0.2 * max(p.shape) ** 0.5  # "match_rms_adamw"
            p.add_(update, alpha=-rate * scale)

    def updates(self, group: dict) -> list[Tensor]:
        """The updates of this process's share of the matrices; zeros for the others."""
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
        return updates


def summed(tensors: list[Tensor]) -> list[Tensor]:
    """The sum of each tensor over the processes."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return tensors
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors)]


def orthogonal(x: Tensor, group: dict) -> Tensor:
    """Newton-Schulz steps towards the nearest matrix with orthonormal rows or columns."""
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=group["eps"])
    a, b, c = group["ns_coefficients"]
    for _ in range(group["ns_steps"]):
        square = x @ x.T
        x = a * x + torch.addmm(square, square, square, beta=b, alpha=c) @ x
    return (x.T if tall else x).contiguous()
