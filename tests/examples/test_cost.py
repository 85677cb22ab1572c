"""What the model costs a GPU, counted from its graph: bounds, and the counting itself."""

import mlx.core as mx
import numpy as np
import pytest

from examples.benchmarks.cost import __main__ as cost
from examples.benchmarks.cost.chips import CHIPS, floors, total_seconds
from examples.benchmarks.cost.kernels import Array, Graph, Step, reshaped
from examples.benchmarks.cost.memory import Queue, bytes_alive
from examples.benchmarks.cost.record import as_on_a_gpu, record, rehearse
from examples.benchmarks.cost.work import Setting
from sam_mlx.machine import budget
from sam_mlx.modeling import ops
from sam_mlx.registry import VARIANTS

MEMORY = int(8e9 * cost.WORKING_SHARE)
# Launches, evaluations, arrays to numpy, MB read and written, MB alive: as they are today. What
# makes one larger makes the model slower or larger on a GPU; what makes it smaller lowers it here.
BOUNDS = {
    "vit_b": {
        "encoder, 1": (390, 81, 0, 15709, 310),
        "encoder, 4": (1492, 325, 0, 62813, 332),
        "decoder, 1": (230, 1, 0, 241, 90),
        "decoder, 8": (228, 1, 0, 1281, 539),
        "decoder, 64": (212, 1, 0, 9600, 3407),
        "decoder, 8 in parts": (228, 1, 0, 1281, 539),
        "decoder, 64 in parts": (1672, 9, 0, 10137, 1055),
        "upscaling 3": (18, 1, 1, 88, 47),
    },
    "nano": {  # 8 points a side
        "encoder, 1": (164, 19, 0, 994, 99),
        "encoder, 4": (208, 25, 0, 3964, 197),
        "decoder, 64 in parts": (402, 3, 0, 1994, 846),
        "selection, 512x512": (175, 6, 3, 242, 74),
        "selection, 1200x1800": (1735, 20, 6, 1470, 127),
        "automatic, 1200x1800": (2306, 44, 7, 4493, 846),  # one evaluation is made once a model
    },
    "vit_l": {
        "encoder, 1": (690, 133, 0, 33880, 414),
        "encoder, 4": (2620, 533, 0, 135511, 437),
    },
    "vit_h": {"encoder, 1": (858, 157, 0, 50227, 498)},
    "vit_t": {
        "encoder, 1": (307, 36, 0, 5847, 353),
        "encoder, 4": (1223, 145, 0, 23415, 367),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDS)
def test_cost_does_not_grow(name):
    bounds = BOUNDS[name]
    setting = Setting(VARIANTS[name], mx.float32, points_per_side=8)
    found = cost.costs(setting, MEMORY, tuple(bounds))
    for row, bound in bounds.items():
        c = found[row]
        moved = (c.read + c.written) / 1e6
        counts = c.launches, c.evaluations, c.reads, moved, c.alive / 1e6
        assert all(a <= b for a, b in zip(counts, bound)), f"{row}: {counts}, bound {bound}"


@pytest.mark.slow
def test_automatic_masks_of_a_large_picture():
    """Arrays to numpy, and memory, with as many points as users have."""
    setting = Setting(VARIANTS["vit_b"], mx.float32, points_per_side=32)
    found = cost.costs(setting, MEMORY, ("selection, 1200", "automatic, 1200"))
    automatic, selection = found["automatic, 1200x1800"], found["selection, 1200x1800"]
    assert automatic.reads <= 91 and automatic.alive <= 1255e6
    assert selection.reads <= 49 and selection.alive <= 278e6


def test_arithmetic_of_an_encoder():
    """By hand: two for each parameter of a linear layer and cell, and attention's products."""
    setting = Setting(VARIANTS["vit_b"], mx.float32)
    found = cost.costs(setting, MEMORY, ("encoder, 1",))["encoder, 1"]
    dim, cells, padded = 768, 64 * 64, 70 * 70  # windows are padded
    linear = 2 * dim * dim * (8 * 3 * padded + 4 * 3 * cells + 12 * 9 * cells)
    attention = 4 * dim * (4 * cells * cells + 8 * 25 * 196 * 196)
    relative = 4 * dim * (4 * cells * 64 + 8 * padded * 14)
    ends = 2 * cells * (dim * dim + dim * 256 + 9 * 256 * 256)
    # Fused attention works in tiles of 32: 196 cells of a window are 224.
    tiles = 4 * dim * 8 * 25 * (224 * 224 - 196 * 196)
    assert found.flops == linear + attention + relative + ends + tiles


def kernels_of(function, *arrays, values=()):
    steps = Graph(record(function, *arrays, values=list(values))).steps()
    return [kernel for step in steps for kernel in step.kernels]


def test_products_and_additions():
    x, w, b = mx.zeros((100, 64)), mx.zeros((64, 32)), mx.zeros(32)
    product, addition = kernels_of(lambda x, w, b: x @ w + b, x, w, b)
    assert (product.kind, product.flops) == ("product", 2 * 100 * 64 * 32)
    assert product.read == 4 * (100 * 64 + 64 * 32) and product.written == 4 * 100 * 32
    assert addition.kind == "strided"  # the bias has another layout
    assert addition.read == 4 * (100 * 32 + 32)  # and is read once
    assert kernels_of(lambda x, w, b: mx.addmm(b, x, w), x, w, b)[0].written == 4 * 100 * 32
    assert [k.kind for k in kernels_of(lambda x: x * 2, x)] == ["flat"]


def test_views_cost_nothing_and_copies_do():
    x = mx.zeros((6, 10, 4))
    assert kernels_of(lambda x: x[2:].swapaxes(0, 1).reshape(10, 4, 2, 2), x) == []
    (copy,) = kernels_of(lambda x: x.swapaxes(0, 1).reshape(-1), x)
    assert copy.read == copy.written == 4 * 240


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (2, 0, 1, 3), (1, 2, 3, 0), (0, 2, 1, 3)])
@pytest.mark.parametrize("shape", [(6, 20, 1), (24, 5), (2, 3, 4, 5), (120,), (1, 6, 4, 5)])
def test_reshapes_are_views_where_numpys_are(axes, shape):
    x = np.zeros((2, 3, 4, 5)).transpose(axes)
    ours = reshaped(Array(x.shape, tuple(s // 8 for s in x.strides), 8, "x"), shape)
    theirs = x.view()
    try:
        theirs.shape = shape
    except AttributeError:  # numpy would have to copy
        assert ours is None
    else:
        steps = [s // 8 for s, n in zip(theirs.strides, shape) if n > 1]
        assert [s for s, n in zip(ours.strides, shape) if n > 1] == steps


def test_attention_by_width_of_heads():
    def attend(q):
        return mx.fast.scaled_dot_product_attention(q, q, q, scale=1.0)

    (fused,) = kernels_of(attend, mx.zeros((1, 2, 64, 64)))
    assert fused.kind == "attention" and fused.flops == 4 * 2 * 64 * 64 * 64
    apart = kernels_of(attend, mx.zeros((1, 2, 64, 16)))
    assert [k.name for k in apart] == ["scaled queries", "scores", "softmax of scores", "values"]
    assert apart[1].written == 4 * 2 * 64 * 64


def test_a_function_that_reads_what_it_evaluates():
    """It goes the way that its values lead, and each evaluation has the kernels that it adds."""
    x = mx.array([3.0, 1.0])

    def work(x):
        y = x + 1
        mx.async_eval(y)
        mx.eval(y)
        if np.array(y).max() > 3:  # as it is
            y = mx.exp(y) - 1
        return y.sum().item()

    values = rehearse(lambda: work(x))
    assert [np.max(value) for value in values][0] == 4
    steps = Graph(record(work, x, values=values)).steps()
    assert [len(step.kernels) for step in steps] == [1, 0, 0, 3, 0]
    assert [step.reads for step in steps] == [False, False, True, True, False]
    assert [step.waits for step in steps][:2] == [False, True]


def test_memory_alive():
    """Metal keeps what a command buffer refers to, and nothing after a wait."""
    size = 4 << 20  # bytes of each array

    def chain(wait: bool):
        def work(x):
            for _ in range(8):
                x = mx.exp(x)
                if wait:
                    mx.eval(x)
            return x

        graph = Graph(record(work, mx.zeros(1 << 20), values=[]))
        steps = graph.steps()
        return lambda queue: bytes_alive(steps, graph.given, queue)

    together, apart = chain(wait=False), chain(wait=True)
    assert together(Queue()) == 8 * size  # one command buffer
    # Each kernel is sent alone; the one before it is done only when a third is sent.
    assert together(Queue(kernels=0, under_way=1)) == 3 * size
    assert apart(Queue()) == 2 * size


def test_the_form_for_gpus_is_left_as_it_was():
    before = budget.budget(), ops.plain_forms_only()
    with as_on_a_gpu(MEMORY):
        assert ops.plain_forms_only() and budget.budget() != before[0]
    assert (budget.budget(), ops.plain_forms_only()) == before


def test_no_chip_is_faster_than_its_floors():
    setting = Setting(VARIANTS["nano"], mx.float16)
    steps: list[Step] = cost.costs(setting, MEMORY, ("decoder, 8",))["decoder, 8"].steps
    for chip in CHIPS:
        assert total_seconds(steps, chip, mx.float16) > max(floors(steps, chip, mx.float16)) > 0


def test_tables(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cost", "--model", "nano", "--only", "decoder, 1"])
    cost.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| decoder, 1")]
    assert len(rows) == 2 and rows[0][1:4] == ["230", "1", "0"]
    assert len(rows[1]) == 1 + len(CHIPS)
