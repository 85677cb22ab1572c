"""A bound of the memory that Metal keeps alive: MLX encodes kernels ahead of the GPU, and a command
buffer keeps all that its kernels refer to until it is done.

The worst case: no buffer is done before MLX has to wait for it. Arrays are kept until their last
use; that Python may keep some longer, and that MLX writes some results into an input, is left out.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from .kernels import Kernel, Step

Mi = 1 << 20


@dataclass(frozen=True)
class Queue:
    """MLX's limits (device.cpp, transforms.cpp of 0.32)."""

    kernels: int = 40  # that a command buffer holds; 50 on Max and Ultra
    elements: int = 40 * Mi  # of its inputs; said to be bytes, but counted in elements
    under_way: int = 10  # evaluations and buffers that MLX is ahead


class Simulation:
    def __init__(self, steps: list[Step], given: set[str], queue: Queue):
        self.queue, self.given = queue, given
        self.left = uses(steps)
        self.size: dict[str, int] = {}  # of the buffers alive
        self.held: Counter[str] = Counter()  # by command buffers
        self.sent: deque[set[str]] = deque()
        self.open: set[str] = set()
        self.inputs: set[str] = set()
        self.count = self.elements = self.number = self.alive = self.peak = 0
        self.made_in: dict[str, int] = {}  # the number of the command buffer
        for step in steps:
            self.run(step)

    def run(self, step: Step) -> None:
        for kernel in step.kernels:
            self.encode(kernel)
        self.commit()
        if step.waits and step.ends:
            last = max(self.made_in.get(name, -1) for name in step.ends)
            while self.sent and self.number - len(self.sent) <= last:
                self.finish()
        for name in step.ends:
            self.used(name)

    def encode(self, kernel: Kernel) -> None:
        out = kernel.result
        if out.buffer not in self.given and out.buffer not in self.size:
            self.size[out.buffer] = out.nbytes
            self.alive += out.nbytes
            self.peak = max(self.peak, self.alive)
        self.made_in[out.buffer] = self.number
        self.count += kernel.launches
        for x in kernel.inputs:
            if x.buffer not in self.inputs:
                self.inputs.add(x.buffer)
                self.elements += x.stored
        for name in {out.buffer, *(x.buffer for x in kernel.inputs)} - self.open:
            self.open.add(name)
            self.held[name] += 1
        for name in (out.buffer, *(x.buffer for x in kernel.inputs)):
            self.used(name)
        if self.count > self.queue.kernels or self.elements > self.queue.elements:
            self.commit()

    def used(self, name: str) -> None:
        self.left[name] -= 1
        self.free(name)

    def commit(self) -> None:
        if self.open:
            self.sent.append(self.open)
            self.number += 1
            self.open, self.inputs, self.count, self.elements = set(), set(), 0, 0
            while len(self.sent) > self.queue.under_way:
                self.finish()

    def finish(self) -> None:
        for name in self.sent.popleft():
            self.held[name] -= 1
            self.free(name)

    def free(self, name: str) -> None:
        if self.left[name] <= 0 and self.held[name] <= 0 and name in self.size:
            self.alive -= self.size.pop(name)


def uses(steps: list[Step]) -> Counter[str]:
    """How often a buffer is used; results that are evaluated last are kept for the caller."""
    found: Counter[str] = Counter()
    for step in steps:
        found.update(step.ends)
        for kernel in step.kernels:
            found.update([kernel.result.buffer, *(x.buffer for x in kernel.inputs)])
    found.update(steps[-1].ends)
    return found


def bytes_alive(steps: list[Step], given: set[str], queue: Queue | None = None) -> int:
    """The most bytes alive at a time, without what is given: weights, inputs, constants."""
    return Simulation(steps, given, queue or Queue()).peak
