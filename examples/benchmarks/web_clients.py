"""Many clients of ``sam-mlx web`` at once: latencies, errors, and the server's memory.

    python -m examples.benchmarks.web_clients

starts a server on nano, which 50 clients use for a minute. Each client moves a mouse (a hover
request as soon as the last one is answered, at most 20 per second), clicks now and then, and
exports. Needs Linux, the extra ``web``, and httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

MIN_INTERVAL = 0.05  # seconds between two hover requests of a client


@dataclass
class Found:
    """What the clients saw."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    errors: Counter[str] = field(default_factory=Counter)
    sessions: int = 0

    async def timed(self, kind: str, request: Awaitable[httpx.Response]) -> httpx.Response:
        """The answer to a request, which is timed and counted."""
        start = time.perf_counter()
        answer = await request
        self.seconds[kind].append(time.perf_counter() - start)
        if not answer.is_success:
            self.errors[f"{kind}: {answer.status_code} {answer.text[:80]}"] += 1
        return answer


class Client:
    def __init__(self, address: str, number: int, found: Found):
        limits = httpx.Limits(max_connections=2)
        root, _, token = address.partition("?token=")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.AsyncClient(base_url=root, timeout=60, limits=limits, headers=headers)
        self.random, self.found = random.Random(number), found

    async def ask(self, kind: str, method: str, path: str, **given) -> httpx.Response:
        return await self.found.timed(kind, self.http.request(method, path, **given))

    async def work(self, end: float) -> None:
        begun = await self.ask("session", "POST", "/api/sessions")
        self.found.sessions += 1
        session = f"/api/sessions/{begun.json()['session']}"
        picture = f"{session}/pictures/p1"
        await self.ask("encode", "POST", f"{picture}/encode")
        while not (await self.ask("picture", "GET", picture)).json()["ready"]:
            await asyncio.sleep(0.05)
        number = 0
        while number == 0 or time.monotonic() < end:
            number += 1
            start = time.monotonic()
            await self.move(picture, number)
            await asyncio.sleep(max(0, MIN_INTERVAL - (time.monotonic() - start)))
        await self.ask("end", "DELETE", session)
        await self.http.aclose()

    async def move(self, picture: str, number: int) -> None:
        point = [self.random.randrange(256), self.random.randrange(256)]
        prompt = {"points": [point], "labels": [1]}
        hover = {**prompt, "hover": True, "multimask": True, "request": number}
        await self.ask("hover", "POST", f"{picture}/predict", json=hover)
        if number % 20 == 0:
            await self.ask("click", "POST", f"{picture}/objects", json=prompt)
        if number % 60 == 0:
            await self.ask("export", "GET", f"{picture}/export/coco")


def run(address: str, clients: int, seconds: float) -> Found:
    found = Found()

    async def all_of_them() -> None:
        end = time.monotonic() + seconds
        await asyncio.gather(*(Client(address, i, found).work(end) for i in range(clients)))

    asyncio.run(all_of_them())
    return found


def resident(process: int) -> int:
    """A process's resident memory in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


def in_rounds(ask: Callable[[], Found], rounds: int, server: int) -> str:
    """What clients saw in so many rounds, and the memory of the server's process after each."""
    memory, total = [resident(server)], Found()
    for _ in range(rounds):
        found = ask()
        for kind, seconds in found.seconds.items():
            total.seconds[kind] += seconds
        total.errors.update(found.errors)
        memory.append(resident(server))
    errors = f"errors: {dict(total.errors) or 'none'}"
    return f"{table(total)}\n{errors}\nthe server's memory, MiB: {', '.join(map(str, memory))}"


def table(found: Found) -> str:
    rows = [
        "| request | answers | p50, ms | p95, ms | p99, ms | slowest, ms |",
        "|---|" + "---|" * 5,
    ]
    for kind, seconds in sorted(found.seconds.items()):
        p50, p95, p99, worst = 1000 * np.percentile(seconds, [50, 95, 99, 100])
        rows.append(
            f"| {kind} | {len(seconds)} | {p50:.0f} | {p95:.0f} | {p99:.0f} | {worst:.0f} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=4, help="memory is read after each")
    args = parser.parse_args()
    command = [sys.executable, "-m", "sam_mlx", "web", "--no-open", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        run(address, 1, 3)  # warm
        each = args.seconds / args.rounds
        print(in_rounds(lambda: run(address, args.clients, each), args.rounds, server.pid))
        one = run(address, 1, 10)
        print("one client alone:", table(one), sep="\n")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
