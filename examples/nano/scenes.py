"""Synthetic scenes with known objects: ``scene(seed)`` is a pure function of its seed.

A scene is painted back to front. Each object is a shape with a texture, a lit relief and a
shadow; it may carry parts, and parts of parts, so that one click has several right answers.
``draw(seed)`` returns the compact form that the trainer keeps in memory, ``scene(seed)`` whole
masks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy import ndarray
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

SIZE = 256
HELD_OUT = 10_000_000  # seeds from here on are for evaluation only
MIN_AREA = 90  # visible pixels; smaller objects are under 1.5 patches of the encoder
MAX_OBJECTS = 250  # in a scene: their numbers are stored as bytes

Shape = Callable[[Generator, ndarray, ndarray], ndarray]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1


@dataclass
class Scene:
    image: ndarray  # (256, 256, 3) uint8
    owner: ndarray  # (256, 256) uint8: 0 background, else 1 + the innermost object there
    parents: ndarray  # (n,) index of the object each one is a part of, or -1


@dataclass
class Object:
    mask: ndarray  # (256, 256) bool: what is visible of it, its parts included
    own: ndarray  # (256, 256) bool: the same without the parts
    parent: int  # index of the object it is a part of, or -1


def scene(seed: int) -> tuple[ndarray, list[Object]]:
    drawn = draw(seed)
    lookup = members(drawn.parents)
    objects = [
        Object(lookup[k][drawn.owner], drawn.owner == k + 1, int(parent))
        for k, parent in enumerate(drawn.parents)
    ]
    return drawn.image, objects


def members(parents: ndarray) -> ndarray:
    """(n, n + 1) bool: ``members(parents)[k][owner]`` is the mask of object k with its parts."""
    n = len(parents)
    table = np.zeros((n, n + 1), bool)
    for k in range(n):
        for whole in chain(parents, k):
            table[whole, k + 1] = True
    return table


def chain(parents: ndarray, k: int) -> list[int]:
    """Object k, the object it is a part of, and so on outwards."""
    out = []
    while k >= 0:
        out.append(k)
        k = int(parents[k])
    return out


# Shapes: signed distance of points (u, v) to an outline of radius about 1, negative inside.


def superellipse(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    p = rng.choice([2.0, 2.0, 2.0, 2.6, 4.0, 1.3])
    if p == 2.0:
        return np.sqrt(u * u + v * v) - 1
    return (np.abs(u) ** p + np.abs(v) ** p) ** (1 / p) - 1


def rounded_rectangle(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    width, height = 0.9, rng.uniform(0.4, 0.9)
    corner = rng.uniform(0, 0.9) ** 2 * height
    du, dv = np.abs(u) - width + corner, np.abs(v) - height + corner
    outside = np.sqrt(np.maximum(du, 0) ** 2 + np.maximum(dv, 0) ** 2)
    return outside + np.minimum(np.maximum(du, dv), 0) - corner


def rod(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    thickness, bend = rng.uniform(0.1, 0.28), rng.normal(0, 0.35)
    v = v + bend * (u * u - 0.4)
    return np.sqrt(np.maximum(np.abs(u) - 1 + thickness, 0) ** 2 + v * v) - thickness


def wavy_blob(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    angle = np.arctan2(v, u)
    radius = np.ones_like(angle)
    for k in range(2, 7):
        radius += rng.normal(0, 0.45 / k) * np.cos(k * angle + rng.uniform(0, 6.28))
    return np.sqrt(u * u + v * v) - np.clip(radius, 0.3, 1.5)


def noise_blob(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    distance = np.sqrt(u * u + v * v) - 0.9
    for _ in range(6):
        wave, phase = rng.normal(0, 3, 2), rng.uniform(0, 6.28)
        distance += 0.16 * np.cos(np.float32(wave[0]) * u + np.float32(wave[1]) * v + phase)
    return distance


def star_polygon(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    n = int(rng.integers(3, 10))
    angles = np.sort((np.arange(n) + rng.uniform(-0.3, 0.3, n)) * 2 * np.pi / n)
    radii = rng.uniform(rng.choice([0.45, 0.75]), 1.1, n)
    corners = np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
    edges = np.roll(corners, -1, 0) - corners
    normals = np.stack([edges[:, 1], -edges[:, 0]], 1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = (normals * corners).sum(1)
    around = np.mod(np.arctan2(v, u) - angles[0], 2 * np.pi)
    side = np.searchsorted(angles - angles[0], around, side="right") - 1
    return (normals[side, 0] * u + normals[side, 1] * v - offsets[side]).astype(np.float32)


def ring(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    width = rng.uniform(0.15, 0.35)
    return np.abs(np.sqrt(u * u + v * v) - 1 + width) - width


def crescent(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    shift, bite = rng.uniform(0.4, 0.9), rng.uniform(0.6, 1.0)
    return np.maximum(np.sqrt(u * u + v * v) - 1, bite - np.sqrt((u - shift) ** 2 + v * v))


def glyph(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    table = glyph_distances()[rng.integers(len(glyph_distances()))]
    at = [(w * 0.8 + 1) * 32 for w in (v, u)]
    return ndimage.map_coordinates(table, at, order=1, mode="nearest")


def disc(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    return np.sqrt(u * u + v * v) - 1


SHAPES = [superellipse, rounded_rectangle, rod, wavy_blob, noise_blob, star_polygon, ring]
SHAPES += [crescent, glyph]
SHAPE_ODDS = np.array([0.24, 0.18, 0.08, 0.14, 0.1, 0.14, 0.05, 0.03, 0.04])


@cache
def glyph_distances() -> list[ndarray]:
    """Signed distance fields (64, 64) of letters and digits, in units of the half width."""
    tables = []
    for letter in "ABCDEFGHJKLMNPRSTUXZ2345678&?":
        picture = Image.new("L", (64, 64))
        font = ImageFont.load_default(58)
        ImageDraw.Draw(picture).text((32, 32), letter, 255, font, anchor="mm")
        inside = np.asarray(picture) > 127
        inside = ndimage.binary_dilation(inside, iterations=2)
        distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
        tables.append((distance / 26).astype(np.float32))
    return tables


@cache
def noise_tiles() -> ndarray:
    """(12, 512, 512) noise of unit variance that wraps around, from fine to coarse grain."""
    rng = np.random.default_rng(7)
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None]) * 512
    tiles = []
    for slope, low in [(0, 8), (0.5, 8), (1, 4), (1, 2), (1.5, 4), (2, 2)] * 2:
        amplitude = 1 / np.maximum(frequency, low) ** slope * (frequency >= 1)
        phase = np.exp(2j * np.pi * rng.random(frequency.shape))
        tile = np.fft.irfft2(amplitude * phase, (512, 512))
        tiles.append((tile / tile.std()).astype(np.float32))
    return np.stack(tiles)


def noise_at(rng: Generator, shape: tuple[int, ...], scale: int | None = None) -> ndarray:
    """A random window of a noise tile; ``scale`` 0 is the finest grain and 5 the coarsest."""
    tile = noise_tiles()[(rng.integers(6) if scale is None else scale) + 6 * rng.integers(2)]
    step = 1 if scale == 0 else int(rng.integers(1, 3)) if max(shape) <= SIZE else 1
    h, w = shape[0] * step, shape[1] * step
    y, x = rng.integers(0, 513 - h), rng.integers(0, 513 - w)
    window = tile[y : y + h : step, x : x + w : step]
    return window.T if h == w and rng.random() < 0.5 else window


def whole_frame() -> ndarray:
    """(2, 256, 256): v and u of each pixel, from -1 to 1."""
    return np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j].astype(np.float32)


# Materials


def color_far_from(rng: Generator, other: ndarray, gap: float) -> ndarray:
    """A random colour that differs from ``other`` by at least ``gap`` in some channel."""
    for _ in range(8):
        gray = rng.uniform(0.05, 0.95)
        color = gray + rng.normal(0, rng.choice([0.02, 0.12, 0.25]), 3)
        color = np.clip(color, 0.03, 0.97)
        if np.abs(color - other).max() >= gap and abs(color.mean() - other.mean()) >= gap / 2:
            break
    return color.astype(np.float32)


TEXTURES = ["flat", "fade", "stripes", "checks", "spots", "noise", "mottle"]
TEXTURE_ODDS = [0.24, 0.18, 0.1, 0.06, 0.06, 0.2, 0.16]


def texture(
    rng: Generator, u: ndarray, v: ndarray, color: ndarray, strength: float = 1.0
) -> ndarray:
    """Colours (h, w, 3) around ``color``."""
    kind = rng.choice(TEXTURES, p=TEXTURE_ODDS)
    if kind == "flat":
        return np.broadcast_to(color, (*u.shape, 3)).copy()
    # The second colour is close to the first, so that the object looks like one thing.
    second = np.clip(color + rng.normal(0, 0.16 * strength, 3), 0, 1).astype(np.float32)
    return color + pattern(rng, kind, u, v)[..., None] * (second - color)


def pattern(rng: Generator, kind: str, u: ndarray, v: ndarray) -> ndarray:
    """The share of the second colour at each point, from 0 to 1."""
    if kind == "fade":
        return np.clip(0.5 + 0.5 * u, 0, 1)
    if kind == "stripes":
        return np.clip(0.5 + 2 * np.sin(u * rng.uniform(5, 22) + rng.uniform(0, 6)), 0, 1)
    if kind == "checks":
        rate = rng.uniform(4, 12)
        return (np.sin(u * rate) * np.sin(v * rate) > 0).astype(np.float32)
    if kind == "spots":
        rate = rng.uniform(6, 14)
        return np.clip((np.sin(u * rate) * np.sin(v * rate) - 0.4) * 6, 0, 1)
    if kind == "noise":
        return np.clip(0.5 + 0.4 * noise_at(rng, u.shape), 0, 1)
    return np.clip(0.5 + 1.5 * noise_at(rng, u.shape, int(rng.integers(2, 5))), 0, 1)


class Painter:
    """The picture so far, and which object owns each pixel."""

    def __init__(self, rng: Generator):
        self.rng = rng
        self.rgb = np.zeros((SIZE, SIZE, 3), np.float32)
        self.owner = np.zeros((SIZE, SIZE), np.uint8)
        self.parents: list[int] = []
        self.areas: list[int] = []
        self.colors: list[ndarray] = []
        self.footprints: list[tuple[Box, ndarray]] = []  # coverage, to keep parts inside
        direction = rng.uniform(0, 2 * np.pi)
        self.light = np.array([np.cos(direction), np.sin(direction)], np.float32)
        self.shadow = rng.uniform(0, 0.65) * (rng.random() < 0.7)
        self.relief = rng.uniform(0, 0.5) * (rng.random() < 0.7)

    def background(self, color: ndarray | None = None, plain: bool = False) -> None:
        rng = self.rng
        self.ground = color_far_from(rng, np.full(3, 2.0), 0) if color is None else color
        v, u = whole_frame()
        self.rgb[:] = texture(rng, u, v, self.ground, 0.4 if plain else 1)
        self.rgb += noise_at(rng, u.shape)[..., None] * rng.uniform(0, 0.05)
        if not plain and rng.random() < 0.3:
            self.strokes(int(rng.integers(2, 12)))

    def strokes(self, count: int) -> None:
        """Thin lines that belong to no object: clutter that the model learns to ignore."""
        rng = self.rng
        sheet = Image.new("L", (SIZE, SIZE))
        pen = ImageDraw.Draw(sheet)
        for _ in range(count):
            if rng.random() < 0.7:
                ends = rng.uniform(0, SIZE, 4)
                ends[2:] = ends[:2] + rng.normal(0, 60, 2)
                pen.line(list(ends), int(rng.integers(60, 220)), int(rng.integers(1, 3)))
            else:
                text = "".join(rng.choice(list("abcdeghkmnorstuxz0123456789 "), 8))
                font = ImageFont.load_default(int(rng.integers(7, 16)))
                pen.text(tuple(rng.uniform(0, 220, 2)), text, int(rng.integers(80, 220)), font)
        weight = np.asarray(sheet, np.float32)[..., None] / 255
        self.rgb += weight * (color_far_from(rng, self.ground, 0.2) - self.rgb)

    def add(
        self,
        center: ndarray,
        radius: float,
        shape: Shape,
        parent: int = -1,
        aspect: float = 1.0,
        color: ndarray | None = None,
        relief: float | None = None,
        outline: bool | None = None,
        gap: float = 0.16,
    ) -> int:
        """Paint one object and return its index, or -1 if no part of it is in the frame."""
        rng = self.rng
        reach = radius * max(aspect, 1 / aspect) * 1.6 + 3
        box = self.clipped(around(center, reach), parent)
        if len(self.parents) >= MAX_OBJECTS or box is None:
            return -1
        stretch = np.float32(aspect)
        u, v = turned(box, center, radius, stretch, rng.uniform(0, 2 * np.pi))
        distance = shape(rng, u, v)
        pixels = np.float32(radius * min(stretch, 1 / stretch))
        coverage = self.within(parent, box, np.clip(0.5 - distance * pixels, 0, 1))
        if (coverage > 0.5).sum() < 30:
            return -1
        if color is None:
            color = color_far_from(rng, self.colors[parent] if parent >= 0 else self.ground, gap)
        paint = texture(rng, u, v, color)
        paint = self.lit(paint, distance, pixels, relief)
        if rng.random() < 0.2 if outline is None else outline:
            edge = np.clip(1.6 - np.abs(distance * pixels + 1), 0, 1)[..., None]
            paint *= 1 - edge * rng.uniform(0.3, 0.8)
        if self.shadow > 0.05:
            self.cast(distance, pixels, box, radius, parent)
        return self.lay(paint, box, coverage, parent, color)

    def clipped(self, box: Box, parent: int) -> Box | None:
        """The part of a box that is inside its whole's box, or None if that is hardly anything."""
        x0, y0, x1, y1 = box
        if parent >= 0:
            (px0, py0, px1, py1), _ = self.footprints[parent]
            x0, x1, y0, y1 = max(x0, px0), min(x1, px1), max(y0, py0), min(y1, py1)
        return None if x1 - x0 < 4 or y1 - y0 < 4 else (x0, y0, x1, y1)

    def within(self, parent: int, box: Box, coverage: ndarray) -> ndarray:
        """A coverage in ``box``, limited to that of the whole."""
        if parent < 0:
            return coverage
        x0, y0, x1, y1 = box
        (px0, py0, _, _), cover = self.footprints[parent]
        return coverage * cover[y0 - py0 : y1 - py0, x0 - px0 : x1 - px0]

    def lit(
        self, paint: ndarray, distance: ndarray, pixels: np.float32, relief: float | None
    ) -> ndarray:
        """The colours of a rounded surface in the scene's light."""
        rng = self.rng
        relief = self.relief * rng.uniform(0.3, 1.3) if relief is None else relief
        if relief <= 0.05:
            return paint
        depth = np.clip(-distance, 0, 1)
        height = np.sqrt(depth * (2 - depth) + 1e-3)
        if rng.random() < 0.25:
            height = height + rng.uniform(0.03, 0.12) * noise_at(rng, distance.shape, 3)
        down, right = np.gradient(height * pixels)
        light = 1 - relief * np.clip(self.light[0] * right + self.light[1] * down, -1.5, 1.5)
        paint *= light[..., None]
        return paint

    def cast(
        self, distance: ndarray, pixels: np.float32, box: Box, radius: float, parent: int
    ) -> None:
        """Darken what is next to the object, on the side away from the light."""
        x0, y0, _, _ = box
        soft = 2 + 0.15 * radius
        dark = np.clip(0.5 - distance * pixels / soft, 0, 1) * self.shadow
        lift = min(2 + 0.12 * radius, 9) * (0.5 if parent >= 0 else 1)
        dx, dy = np.rint(self.light * lift).astype(int)
        h, w = dark.shape
        top, left = max(y0 + dy, 0), max(x0 + dx, 0)
        bottom, right = min(y0 + dy + h, SIZE), min(x0 + dx + w, SIZE)
        if bottom > top and right > left:
            part = dark[top - y0 - dy : bottom - y0 - dy, left - x0 - dx : right - x0 - dx]
            self.rgb[top:bottom, left:right] *= 1 - part[..., None]

    def lay(self, paint: ndarray, box: Box, coverage: ndarray, parent: int, color: ndarray) -> int:
        """Lay an object over the picture, and return its index."""
        x0, y0, x1, y1 = box
        view = np.s_[y0:y1, x0:x1]
        self.rgb[view] += coverage[..., None] * (paint - self.rgb[view])
        inside = coverage > 0.5
        index = len(self.parents)
        self.owner[view][inside] = index + 1
        self.parents.append(parent)
        self.areas.append(int(inside.sum()))
        self.colors.append(color)
        self.footprints.append((box, coverage))
        return index

    def random_object(
        self, center: ndarray, radius: float, parent: int = -1, level: int = 0, parts: float = 0.45
    ) -> int:
        """An object of any shape and, with probability ``parts``, smaller objects on it."""
        rng = self.rng
        shape = SHAPES[rng.choice(len(SHAPES), p=SHAPE_ODDS)]
        aspect = np.exp(rng.normal(0, 0.22))
        index = self.add(center, radius, shape, parent, aspect)
        if index < 0 or level >= 2 or radius < 16 or rng.random() > parts or shape in (rod, ring):
            return index
        self.place_parts(index, center, radius, level)
        return index

    def place_parts(self, index: int, center: ndarray, radius: float, level: int) -> None:
        rng = self.rng
        count = int(rng.choice([1, 1, 2, 3, 5]))
        if count == 1:
            size, spread = rng.uniform(0.3, 0.7), 0.15
        else:
            size, spread = rng.uniform(0.18, 0.4), 0.55
        for _ in range(count):
            offset = rng.uniform(-spread, spread, 2) * radius
            part = radius * size * rng.uniform(0.8, 1.2)
            if part >= 6:
                self.random_object(center + offset, part, index, level + 1, parts=0.4)


def around(center: ndarray, reach: float) -> Box:
    """The part of a square that is inside the frame."""
    x0, x1 = max(int(center[0] - reach), 0), min(int(center[0] + reach) + 1, SIZE)
    y0, y1 = max(int(center[1] - reach), 0), min(int(center[1] + reach) + 1, SIZE)
    return x0, y0, x1, y1


def turned(
    box: Box, center: ndarray, radius: float, stretch: np.float32, turn: float
) -> tuple[ndarray, ndarray]:
    """Coordinates u, v of a box's pixels in an object's own frame."""
    x0, y0, x1, y1 = box
    x = np.arange(x0, x1, dtype=np.float32)[None] - np.float32(center[0])
    y = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(center[1])
    c, s = np.float32(np.cos(turn) / radius), np.float32(np.sin(turn) / radius)
    return (c * x + s * y) / stretch, (c * y - s * x) * stretch


# Kinds of scene


def pile(painter: Painter) -> None:
    """Objects of all sizes, overlapping."""
    rng = painter.rng
    painter.background()
    for radius in np.sort(np.exp(rng.uniform(np.log(8), np.log(75), rng.integers(4, 16))))[::-1]:
        painter.random_object(rng.uniform(0, SIZE, 2), radius)


def few_large(painter: Painter) -> None:
    """One to four large objects with many parts."""
    rng = painter.rng
    painter.background()
    for _ in range(rng.integers(1, 5)):
        painter.random_object(rng.uniform(40, 216, 2), rng.uniform(40, 95), parts=0.85)


def table(painter: Painter) -> None:
    """Things on plates on a table."""
    rng = painter.rng
    painter.background()
    shape = rounded_rectangle if rng.random() < 0.5 else superellipse
    middle = rng.uniform(90, 166, 2)
    top = painter.add(middle, rng.uniform(85, 150), shape, aspect=np.exp(rng.normal(0, 0.15)))
    for spot in spread_out(rng, rng.integers(2, 7), 60, middle, 90):
        radius = rng.uniform(16, 36)
        plate = painter.add(spot, radius, disc if rng.random() < 0.7 else superellipse, top)
        for _ in range(rng.integers(0, 4) if plate >= 0 else 0):
            at = spot + rng.uniform(-0.45, 0.45, 2) * radius
            painter.random_object(at, radius * rng.uniform(0.28, 0.6), plate, level=2)


def coins(painter: Painter) -> None:
    """Flat discs with an embossed face and a dark rim, side by side under uneven light."""
    rng = painter.rng
    level = rng.uniform(0.15, 0.6)
    painter.background(np.clip(level + rng.normal(0, 0.02, 3), 0, 1).astype(np.float32), True)
    painter.shadow, typical = rng.uniform(0, 0.4), rng.uniform(11, 26)
    tint = rng.normal(0, rng.choice([0.0, 0.06]), 3)
    bright = level + rng.uniform(0.1, 0.45) * (1 if rng.random() < 0.85 else -0.4)
    for spot in spread_out(rng, 40, typical * 2.4, np.array([128, 128]), 128):
        radius = typical * rng.uniform(0.75, 1.15)
        color = np.clip(bright + rng.normal(0, 0.05) + tint, 0.03, 0.97).astype(np.float32)
        painter.add(
            spot,
            radius,
            minted,
            aspect=np.exp(rng.normal(0, 0.03)),
            color=color,
            relief=rng.uniform(0.02, 0.25),
            outline=rng.random() < 0.5,
        )
        emboss(painter, spot, radius)


def minted(rng: Generator, u: ndarray, v: ndarray) -> ndarray:
    wear = rng.normal(0, 0.02) * np.cos(2 * np.arctan2(v, u) + rng.uniform(0, 6))
    return np.sqrt(u * u + v * v) - 1 + wear


def emboss(painter: Painter, center: ndarray, radius: float) -> None:
    """Light and dark relief inside a disc, which is part of the disc."""
    rng = painter.rng
    x0, y0, x1, y1 = around(center, radius)
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    u = (np.arange(x0, x1, dtype=np.float32)[None] - np.float32(center[0])) / np.float32(radius)
    v = (np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(center[1])) / np.float32(radius)
    u, v = np.broadcast_arrays(u, v)
    away = np.sqrt(u * u + v * v)
    down, right = np.gradient(embossing(rng, u, v, away))
    lit = (painter.light[0] * right + painter.light[1] * down) * rng.uniform(0.1, 0.6)
    lit = np.clip(lit, -0.35, 0.35) * np.clip((0.97 - away) * radius, 0, 1)
    painter.rgb[y0:y1, x0:x1] *= 1 - lit[..., None]


def embossing(rng: Generator, u: ndarray, v: ndarray, away: ndarray) -> ndarray:
    """Height of a figure, some unevenness and, usually, a rim."""
    figure = SHAPES[rng.choice(len(SHAPES), p=SHAPE_ODDS)]
    size = rng.uniform(0.4, 0.7)
    height = np.clip(-figure(rng, u / size, v / size) * 4, 0, 1)
    height += 0.35 * noise_at(rng, away.shape, int(rng.integers(2, 4)))
    if rng.random() < 0.6:
        height += np.clip(1 - np.abs(away - rng.uniform(0.78, 0.9)) * 12, 0, 1)
    return height


def swarm(painter: Painter) -> None:
    """Many small objects of one kind."""
    rng = painter.rng
    painter.background()
    kind = SHAPES[rng.choice(len(SHAPES), p=SHAPE_ODDS)]
    typical = rng.uniform(8, 20)
    color = color_far_from(rng, painter.ground, 0.2)
    gap = typical * rng.uniform(1.3, 2.6)
    for spot in spread_out(rng, int(rng.integers(8, 45)), gap, np.array([128, 128]), 128):
        own = np.clip(color + rng.normal(0, 0.07, 3), 0.03, 0.97).astype(np.float32)
        index = painter.add(
            spot,
            typical * rng.uniform(0.75, 1.25),
            kind,
            color=own,
            aspect=np.exp(rng.normal(0, 0.15)),
        )
        if index >= 0 and typical > 15 and rng.random() < 0.3:
            painter.random_object(spot, typical * 0.45, index, level=2)


def spread_out(
    rng: Generator, count: int, gap: float, middle: ndarray, reach: float
) -> list[ndarray]:
    """Up to ``count`` random points within ``reach`` of ``middle``, no two closer than ``gap``."""
    points = np.empty((0, 2))
    for candidate in middle + rng.uniform(-reach, reach, (count * 6, 2)):
        if len(points) < count and (
            not len(points) or ((points - candidate) ** 2).sum(1).min() > gap * gap
        ):
            points = np.vstack([points, candidate])
    return list(points)


KINDS = [pile, few_large, table, coins, swarm]
KIND_ODDS = [0.42, 0.16, 0.16, 0.13, 0.13]


def draw(seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    painter = Painter(rng)
    KINDS[rng.choice(len(KINDS), p=KIND_ODDS)](painter)
    image = photograph(rng, painter.rgb)
    owner, parents = keep_visible(painter.owner, painter.parents, painter.areas)
    return Scene(image, owner, parents)


def photograph(rng: Generator, rgb: ndarray) -> ndarray:
    """Uneven light, blur, exposure and sensor noise; (256, 256, 3) uint8."""
    v, u = whole_frame()
    tilt = rng.normal(0, rng.choice([0.03, 0.2]), 2)
    rgb = rgb * (1 + tilt[0] * u + tilt[1] * v).astype(np.float32)[..., None]
    if rng.random() < 0.3:
        rgb *= rng.uniform(0.4, 1)
    if rng.random() < 0.25:
        rgb = rgb.mean(2, keepdims=True)
    if rng.random() < 0.5:
        sigma = rng.uniform(0.3, 1.1)
        rgb = ndimage.gaussian_filter(rgb, (sigma, sigma, 0), truncate=2.5)
    bright = np.partition(rgb[::4, ::4, :1].ravel(), -80)[-80]
    rgb *= np.clip(rng.uniform(0.4, 0.9) / (bright + 1e-3), 1, 4)  # never almost black
    noise = rng.uniform(0, 0.04)
    grain = rng.standard_normal((SIZE, SIZE, 1 if rng.random() < 0.5 else 3), np.float32)
    rgb = rgb + grain * np.float32(noise)
    image = (np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


def keep_visible(owner: ndarray, parents: list[int], areas: list[int]) -> tuple[ndarray, ndarray]:
    """Give the pixels of objects that are too small, too hidden, or almost equal to their whole to
    that whole, and renumber the rest."""
    target, wholes = heirs(visible_areas(owner, parents), parents, areas)
    n = len(parents)
    kept = np.flatnonzero(target == np.arange(n))
    renumber = np.full(n + 1, -1)  # the last entry serves the index -1
    renumber[kept] = np.arange(len(kept))
    lookup = np.concatenate([[0], renumber[target] + 1]).astype(np.uint8)
    return lookup[owner], renumber[wholes[kept]]


def visible_areas(owner: ndarray, parents: list[int]) -> ndarray:
    """Visible pixels of each object, its parts included."""
    n = len(parents)
    area = np.bincount(owner.ravel(), minlength=n + 1)[1:].copy()
    for k in range(n - 1, -1, -1):  # a part comes after its whole
        if parents[k] >= 0:
            area[parents[k]] += area[k]
    return area


def heirs(area: ndarray, parents: list[int], areas: list[int]) -> tuple[ndarray, ndarray]:
    """The object that gets the pixels of each one (itself if it is kept), and the new wholes."""
    wholes = np.array(parents, int)
    target = np.arange(len(parents))
    for k in range(len(parents)):
        whole = wholes[k] = target[wholes[k]] if wholes[k] >= 0 else -1
        hidden = area[k] < MIN_AREA or area[k] < 0.25 * areas[k]
        if hidden or (whole >= 0 and area[k] > 0.85 * area[whole]):
            target[k] = whole
    return target, wholes
