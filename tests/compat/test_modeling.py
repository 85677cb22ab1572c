"""The model and its parts for clients, against Meta's on nano's weights."""

import copy
import pickle

import mlx.core as mx
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import sam_mlx
from convert.meta import build_meta
from sam_mlx import compat as package
from sam_mlx.compat import modeling
from sam_mlx.compat.hq import modeling as hq
from sam_mlx.compat.hq.automatic_mask_generator import SamAutomaticMaskGenerator
from sam_mlx.compat.segment_anything import SamPredictor, sam_model_registry
from sam_mlx.modeling.layers import weights_of
from sam_mlx.registry import VARIANTS
from tests.support import compat
from tests.support.automatic import original_of
from tests.support.compat import nano_pair, same
from tests.support.hq import hq_nano
from tests.support.mobile_sam import mobile_sam_state
from tests.support.originals import segment_anything

pytestmark = pytest.mark.original


@pytest.fixture(scope="module")
def pair():
    return nano_pair()


@pytest.fixture
def sam():
    """A model of the test's own, to be changed."""
    return package.Sam(sam_mlx.Sam.from_pretrained("nano"))


@torch.no_grad()
def test_parts(pair):
    """As MedSAM calls them, each fed with the original's inputs."""
    reference, ours = pair
    x = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (2, 3, 320, 320))).float()
    image = reference.image_encoder(x)
    same(ours.image_encoder(x), image, 1e-5)  # 6.0e-6, of noise

    prompts = dict(
        points=(torch.rand(2, 3, 2) * 320, torch.tensor([[1, 0, -1], [0, 1, 1]])),
        boxes=torch.rand(2, 1, 4) * 320,
        masks=torch.randn(2, 1, 160, 160),
    )
    for names in ([], ["points"], ["boxes"], ["masks"], ["points", "boxes", "masks"]):
        given = dict.fromkeys(prompts) | {name: prompts[name] for name in names}
        sparse, dense = reference.prompt_encoder(**given)
        our_sparse, our_dense = ours.prompt_encoder(**given)
        same(our_sparse, sparse, 2e-5)  # sines of large angles
        same(our_dense.contiguous(), dense.contiguous(), 1e-5)
        rest = dict(
            image_embeddings=image[:1],
            image_pe=reference.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
        )
        for wanted in (True, False):
            logits, iou = reference.mask_decoder(**rest, multimask_output=wanted)
            found = ours.mask_decoder(**rest, multimask_output=wanted)
            same(found[0], logits.contiguous(), 4e-4)
            same(found[1], iou.contiguous(), 2e-6)
        same(
            ours.mask_decoder.predict_masks(**rest)[0],
            reference.mask_decoder.predict_masks(**rest)[0],
            4e-4,
        )


def test_sizes(pair):
    reference, ours = pair
    assert type(ours.image_encoder) is modeling.ImageEncoderViT
    assert isinstance(ours.mask_decoder, modeling.MaskDecoder)
    assert isinstance(ours, modeling.Sam) and package.Sam is modeling.Sam
    for part, names in {
        "image_encoder": ["img_size"],
        "prompt_encoder": [
            "embed_dim", "image_embedding_size", "input_image_size", "mask_input_size",
            "num_point_embeddings",
        ],
        "mask_decoder": ["num_mask_tokens", "num_multimask_outputs", "transformer_dim"],
    }.items():  # fmt: skip
        for name in names:
            same(getattr(getattr(ours, part), name), getattr(getattr(reference, part), name))
    for name in ("mask_threshold", "image_format", "pixel_mean", "pixel_std", "device"):
        same(getattr(ours, name), getattr(reference, name))
    pe = reference.prompt_encoder.get_dense_pe().contiguous()
    same(ours.prompt_encoder.get_dense_pe(), pe, 1e-5)


@pytest.mark.parametrize("shape", [(3, 320, 200), (2, 3, 100, 320)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_preprocess(pair, shape, dtype):
    reference, ours = pair
    pixels = torch.randint(0, 256, shape).to(dtype)
    same(ours.preprocess(pixels), reference.preprocess(pixels), 1e-6)


def test_postprocess_masks(pair):
    reference, ours = pair
    for B in (1, 3):
        logits = torch.randn(B, 3, 160, 160) * 9
        for size in ((97, 131), [131, 97], torch.Size([320, 320])):
            inner = reference_size(size)
            same(
                ours.postprocess_masks(logits, inner, size),
                reference.postprocess_masks(logits, inner, tuple(size)).contiguous(),
                5e-4,  # 2.7e-4, of noise up to 40: PyTorch rounds positions to float32
            )


def reference_size(size):
    resize = sam_mlx.compat.utils.transforms.ResizeLongestSide
    return resize.get_preprocess_shape(*size, 320)


@pytest.mark.slow
def test_call(pair):
    reference, ours = pair
    resize = sam_mlx.compat.utils.transforms.ResizeLongestSide(320)
    images = [compat.picture()[:200], compat.picture()[:, :99]]
    prompts = [
        dict(point_coords=torch.rand(2, 1, 2) * 300, point_labels=torch.tensor([[1], [0]])),
        dict(boxes=torch.tensor([[9.0, 9, 90, 80]]), mask_inputs=torch.randn(1, 1, 160, 160)),
    ]
    batch = [
        dict(
            image=torch.from_numpy(resize.apply_image(image)).permute(2, 0, 1),
            original_size=image.shape[:2],
            **prompt,
        )
        for image, prompt in zip(images, prompts)
    ]
    for wanted in (True, False):
        answers = ours(batch, multimask_output=wanted), reference(batch, wanted)
        for given, found, expected in zip(batch, *answers, strict=True):
            logits = reference.postprocess_masks(
                expected["low_res_logits"], given["image"].shape[-2:], given["original_size"]
            )
            near = logits.abs() < 4e-4  # of noise, a few: rounding decides on which side of 0
            expected["masks"][near] = found["masks"][near]
            same(found, {name: tensor.contiguous() for name, tensor in expected.items()}, 4e-4)


def test_state_dict_is_the_originals(pair):
    reference, ours = pair
    state = reference.state_dict()
    assert set(ours.state_dict()) == set(state)
    for name, tensor in ours.state_dict().items():
        same(tensor, state[name])
    part = ours.mask_decoder.state_dict()
    assert set(part) == set(reference.mask_decoder.state_dict())
    assert sum(p.numel() for p in ours.parameters()) == sum(
        p.numel() for p in reference.parameters()
    )
    assert set(dict(ours.prompt_encoder.named_parameters())) == set(
        dict(reference.prompt_encoder.named_parameters())
    )


def test_load_state_dict(sam):
    state = {name: torch.randn_like(t) for name, t in sam.state_dict().items()}
    found = sam.load_state_dict(state)
    assert (found.missing_keys, found.unexpected_keys) == ([], [])
    for name, tensor in sam.state_dict().items():
        same(tensor, state[name])
    decoder = {name: t + 1 for name, t in sam.mask_decoder.state_dict().items()}
    sam.mask_decoder.load_state_dict(decoder)
    for name, tensor in sam.state_dict().items():
        same(tensor, state[name] + name.startswith("mask_decoder."))


def test_load_state_dict_that_does_not_fit(sam, pair):
    """The errors and the two lists are the original's."""
    reference = original_of(sam.mlx)
    state = sam.state_dict()
    name = "mask_decoder.iou_token.weight"
    lacking = {n: t for n, t in state.items() if n != name} | {"more": torch.zeros(1)}
    wrong = state | {name: torch.zeros(1, 5)}
    for model in (reference, sam):
        with pytest.raises(RuntimeError, match=name):
            model.load_state_dict(lacking)
        with pytest.raises(RuntimeError, match=name):
            model.load_state_dict(wrong)
        with pytest.raises(RuntimeError, match="more"):
            model.load_state_dict(state | {"more": torch.zeros(1)})
        found = model.load_state_dict(lacking, strict=False)
        assert found.missing_keys == [name] and found.unexpected_keys == ["more"]


def test_devices(sam):
    assert sam.device == torch.device("cpu")
    assert sam.to("cpu") is sam and sam.eval() is sam and sam.cpu() is sam
    assert sam.to(device=torch.device("cpu"), non_blocking=True) is sam
    box = torch.tensor([[9.0, 9, 90, 80]])
    for device in ("meta", torch.device("meta"), torch.zeros(1, device="meta")):
        sam.to("cpu")
        sam.to(device)
        predictor = sam_mlx.compat.predictor.SamPredictor(sam)
        predictor.set_image(compat.picture())
        results = [
            *predictor.predict_torch(None, None, box),
            *sam.prompt_encoder(boxes=box),
            sam.prompt_encoder.get_dense_pe(),
            sam.pixel_mean,
            predictor.features,
            next(iter(sam.parameters())),
        ]
        assert {str(t.device) for t in [*results, sam, predictor, sam.mask_decoder]} == {"meta"}
    assert predictor.predict_torch is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that is not there")
@pytest.mark.parametrize(
    "ask", [lambda sam: sam.cuda(), lambda sam: sam.to("cuda"), lambda sam: sam.to(0)]
)
def test_a_device_that_is_not_there_is_the_cpu(sam, ask):
    sam_mlx.compat.tensors.usable_device.cache_clear()
    ask(sam)
    with pytest.warns(UserWarning, match="tensors stay on the CPU"):
        assert sam.device == torch.device("cpu")


def test_precision(small):
    sam = package.Sam(copy.deepcopy(small[1]))
    x = torch.ones(1, 3, 128, 128)
    whole = sam.image_encoder(x)
    for change, dtype in ((sam.half, torch.float16), (sam.bfloat16, torch.bfloat16)):
        change()
        assert sam.image_encoder(x).dtype == dtype
        assert (sam.image_encoder(x).float() - whole).abs().max() < 0.1
        sam.load_state_dict(sam.state_dict())
        assert sam.image_encoder(x).dtype == dtype
    sam.to(torch.float32)
    assert sam.mlx.dtype == mx.float32
    with pytest.raises(ValueError, match="float64"):
        sam.to(torch.float64)


def test_pixel_constants_can_be_assigned(sam):
    """As by clients that scale pixels themselves."""
    x = torch.rand(1, 3, 320, 320)
    sam.pixel_mean, sam.pixel_std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    same(sam.preprocess(x), x)


def test_copies_and_pickles(sam):
    for other in (copy.deepcopy(sam), pickle.loads(pickle.dumps(sam))):
        assert other.image_encoder.sam is other and other.mlx is not sam.mlx
        for name, w in weights_of(sam.mlx).items():
            assert mx.array_equal(weights_of(other.mlx)[name], w)


def test_what_else_a_module_has_is_refused(sam):
    for part in (sam, sam.image_encoder):
        with pytest.raises(AttributeError, match=f"{type(part).__name__} has no modules: it is no"):
            part.modules()
        assert not hasattr(part, "register_forward_hook")


def test_training_is_refused(sam):
    refused = pytest.raises(NotImplementedError, match="train with Meta's package")
    sam.train(False)
    for p in sam.image_encoder.parameters():  # clients freeze what they do not train
        p.requires_grad = False
        assert not p.requires_grad
    with refused:
        sam.train()
    with refused:
        sam.mask_decoder.requires_grad_()
    with refused:
        next(iter(sam.parameters())).requires_grad = True
    with refused:
        torch.optim.AdamW(sam.mask_decoder.parameters())
    with refused:
        sam.image_encoder(torch.zeros(1, 3, 320, 320, requires_grad=True))
    with torch.no_grad():
        sam.image_encoder(torch.zeros(1, 3, 320, 320, requires_grad=True))


def test_registry(tmp_path):
    ours = sam_model_registry
    assert set(ours) == {*segment_anything.sam_model_registry, "vit_t"}
    with pytest.warns(UserWarning, match="is a SAM nano, and is loaded as such; vit_l was asked"):
        assert ours["vit_l"](checkpoint="nano").mlx.config.variant == "nano"
    with pytest.raises(FileNotFoundError):
        ours["vit_b"](checkpoint=str(tmp_path / "missing.pth"))


def test_random_weights(monkeypatch):
    """Without a checkpoint, as in the original."""
    monkeypatch.setitem(VARIANTS, "vit_b", VARIANTS["nano"])
    sam = sam_model_registry["vit_b"]()
    assert sam.mlx.config.variant == "nano"
    with torch.no_grad():
        assert sam.image_encoder(torch.zeros(1, 3, 320, 320)).isfinite().all()


def test_parts_alone_are_refused():
    for kind in (modeling.ImageEncoderViT, modeling.PromptEncoder, modeling.MaskDecoder):
        with pytest.raises(NotImplementedError, match="sam_model_registry"):
            kind()
    with pytest.raises(NotImplementedError, match="sam_model_registry"):
        modeling.Sam(image_encoder=None, prompt_encoder=None, mask_decoder=None)


def test_mobile_sam(tmp_path):
    """Its file loads under ``vit_t``; a state dict with its names too, batch norms folded."""
    state = mobile_sam_state(build_meta(VARIANTS["vit_t"]))
    torch.save(state, tmp_path / "mobile_sam.pt")
    sam = sam_model_registry["vit_t"](checkpoint=tmp_path / "mobile_sam.pt")
    assert sam.mlx.config.variant == "vit_t"
    other = sam_model_registry["vit_t"]()
    for strict in (True, False):
        found = other.load_state_dict(state, strict)
        assert (found.missing_keys, found.unexpected_keys) == ([], [])
        for name, w in weights_of(sam.mlx).items():
            assert mx.array_equal(weights_of(other.mlx)[name], w)


WRONG = {
    "NaN": lambda t: t * float("nan"), "infinity": lambda t: t + float("inf"),
    "float64 beyond float32": lambda t: t.double() + 1e39, "a number": lambda t: 3,
    "None": lambda t: None, "text": lambda t: "abc", "a list": lambda t: t.tolist(),
    "complex": lambda t: t + 1j, "another shape": lambda t: t[:, :5],
    "an object": lambda t: object(), "sparse": lambda t: t.to_sparse(),
    "no memory": lambda t: t.to("meta"), "objects": lambda t: np.array([[None]]),
    "quantized": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_state_that_is_refused_changes_nothing(kind, sam):
    name = "mask_decoder.iou_token.weight"
    before = {n: np.array(w) for n, w in weights_of(sam.mlx).items()}
    state = {n: t + 1 for n, t in sam.state_dict().items()}
    for part, prefix in ((sam, ""), (sam.mask_decoder, "mask_decoder.")):
        given = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        given[name.removeprefix(prefix)] = WRONG[kind](state[name])
        with pytest.raises(RuntimeError, match=r"Error\(s\) in loading state_dict for Sam: ") as e:
            part.load_state_dict(given)
        assert len(str(e.value)) < 500
        for n, w in weights_of(sam.mlx).items():
            np.testing.assert_array_equal(np.array(w), before[n])


@pytest.mark.parametrize("given", [None, [], "abc", 3, [("a", 1)]])
def test_a_state_that_is_no_mapping(given, sam):
    for model in (sam, original_of(sam.mlx)):
        with pytest.raises(TypeError, match="state_dict"):
            model.load_state_dict(given)


def test_a_state_of_parameters(sam):
    """Those of another model, for instance; they were refused for their gradients."""
    name = "mask_decoder.iou_token.weight"
    state = {n: torch.nn.Parameter(t + 1) for n, t in sam.state_dict().items()}
    sam.load_state_dict(state)
    same(sam.state_dict()[name], state[name].detach(), 0)


def test_a_state_that_half_precision_cannot_hold(sam):
    state = sam.state_dict()
    sam.half()
    before = np.array(sam.mlx.mask_decoder.iou_token.weight)
    state["mask_decoder.iou_token.weight"] = state["mask_decoder.iou_token.weight"] + 1e6
    with pytest.raises(RuntimeError, match="state_dict in float16 holds NaN or infinite values"):
        sam.load_state_dict(state)
    np.testing.assert_array_equal(np.array(sam.mlx.mask_decoder.iou_token.weight), before)


def test_states_lie_in_memory_as_loaded_weights_do(sam):
    turned = {
        n: t.permute(*reversed(range(t.ndim))).contiguous().permute(*reversed(range(t.ndim)))
        for n, t in sam.state_dict().items()
    }
    sam.load_state_dict(turned)
    assert all(memoryview(w).c_contiguous for w in weights_of(sam.mlx).values())


def test_the_encoders_layers_tell_their_channels(pair):
    """torch-em's decoder asks for them; nothing else of the layers is there."""
    original, ours = (model.image_encoder for model in pair)
    for layer in (lambda encoder: encoder.patch_embed.proj, lambda encoder: encoder.neck[2]):
        theirs = layer(original)
        assert layer(ours).in_channels == theirs.in_channels
        assert layer(ours).out_channels == theirs.out_channels
    with pytest.raises(AttributeError, match="Cellpose.*needs Meta's package"):
        _ = ours.patch_embed.proj.weight
    with pytest.raises(AttributeError, match="neck.1. has no weight"):
        _ = ours.neck[1].weight


@pytest.mark.slow
def test_precisions_and_layouts(sam):
    """bfloat16 raised in predict; a memory format was taken for a device."""
    predictor = SamPredictor(sam)
    picture = compat.picture()[:100]
    predictor.set_image(picture)
    expected = predictor.predict(np.array([[30, 40]]), np.array([1]))
    for convert in (sam.bfloat16, sam.half, sam.float):
        assert convert() is sam
        predictor.set_image(picture)
        masks, iou, logits = predictor.predict(np.array([[30, 40]]), np.array([1]))
        assert masks.dtype == bool and np.isfinite(iou.astype(float)).all()
        assert (masks == expected[0]).mean() > 0.97 and logits.shape == (3, 160, 160)
    for part in (sam, sam.image_encoder, sam.prompt_encoder, sam.mask_decoder):
        assert part.to(memory_format=torch.channels_last) is part
        assert part.to("cpu", torch.float32, True, memory_format=torch.channels_last) is part
    assert sam.device == torch.device("cpu") and sam.mlx.dtype == mx.float32
    images = torch.zeros(1, 3, 320, 320)
    same(
        sam.image_encoder(images.to(memory_format=torch.channels_last)),
        sam.image_encoder(images), 0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["forward", "blocks", "use_checkpoint", "img_size", "device", "training", "encode"]
)
def test_attributes_that_would_change_nothing_are_not_set(sam, name):
    for part in (sam.image_encoder, sam.prompt_encoder, sam.mask_decoder):
        with pytest.raises(AttributeError, match=f"{name} was set, which would change nothing"):
            setattr(part, name, torch.nn.Identity())
    for part in ("image_encoder", "mask_decoder", "prompt_encoder", "forward", "preprocess"):
        with pytest.raises(AttributeError, match=f"Sam.{part} was set, which would change nothing"):
            setattr(sam, part, torch.nn.Identity())
    sam.model_type = "vit_b"  # a client's own note
    sam.mask_threshold = 1.0
    assert sam.model_type == "vit_b" and copy.deepcopy(sam).mask_threshold == 1.0


def test_parameters_are_copied_and_pickled(sam, tmp_path):
    """A class within a function cannot be pickled, and deepcopy asked is_leaf."""
    name, parameter = next(sam.named_parameters())
    for clone in (pickle.loads(pickle.dumps(parameter)), copy.deepcopy(parameter)):
        same(clone.as_subclass(torch.Tensor), sam.state_dict()[name], 0)
    with pytest.raises(NotImplementedError, match="is to require a gradient"):
        copy.deepcopy(parameter).requires_grad_()
    torch.save(dict(sam.mask_decoder.named_parameters()), tmp_path / "parameters.pth")
    loaded = torch.load(tmp_path / "parameters.pth", weights_only=True)
    assert loaded.keys() == sam.mask_decoder.state_dict().keys()


NAN = float("nan")


def test_answers_without_numbers_come_with_a_warning(sam):
    """NaN came back as scores, with empty masks, as from the original."""
    predictor = SamPredictor(sam)
    predictor.set_image(compat.picture()[:100])
    message = "the model's answer holds NaN or infinite values: the prompt"
    for prompt in (
        dict(point_coords=np.array([[NAN, 5]]), point_labels=np.array([1])),
        dict(box=np.array([0, 0, np.inf, 5])),
        dict(mask_input=np.full((1, 160, 160), NAN)),
    ):
        with pytest.warns(UserWarning, match=message):
            assert np.isnan(predictor.predict(**prompt)[1]).all()
    with pytest.raises(ValueError, match="images holds NaN"):
        predictor.set_torch_image(torch.full((1, 3, 240, 320), NAN), (60, 80))
    point = np.array([[3, 5]]), np.array([1])
    predictor.features = torch.full((1, 128, 40, 40), NAN)
    with pytest.warns(UserWarning, match="so does the image embedding"):
        predictor.predict(*point)
    predictor.features = torch.zeros(1, 128, 20, 20)
    with pytest.raises(ValueError, match=r"image_embedding has shape \(1, 20, 20, 128\)"):
        predictor.predict(*point)


@pytest.mark.parametrize("size", [(10**6, 10**6), (-1, 5), (0, 3), (10**400, 1)])
def test_sizes_are_bounded(sam, size):
    with pytest.raises(ValueError, match="^(original_size|input_size) (is|would take)"):
        sam.postprocess_masks(torch.zeros(1, 1, 160, 160), (240, 320), size)
    with pytest.raises(ValueError, match="^(original_size|input_size) (is|would take)"):
        sam.postprocess_masks(torch.zeros(1, 1, 160, 160), size, (60, 80))


def test_sam_hq_is_for_its_own_package(pair):
    with pytest.raises(NotImplementedError, match="decoder is 'sam_hq'.*also segment_anything_hq"):
        package.Sam(hq_nano())
    with pytest.raises(
        NotImplementedError, match="decoder is 'sam'.*segment_anything_hq hand over"
    ):
        hq.Sam(pair[1].mlx)
    model = hq.Sam(hq_nano())
    assert model.mask_decoder.num_mask_tokens == 5
    with pytest.raises(NotImplementedError, match="refine the best of three"):
        SamAutomaticMaskGenerator(model).generate(compat.picture(), multimask_output=False)


@torch.no_grad()
def test_sam_hqs_parts_one_by_one():
    """``predict_masks`` gives all masks apart, as ONNX exporters take them."""
    ours = hq.Sam(hq_nano())
    original = original_of(ours.mlx)
    pixels = original.preprocess(torch.tensor(compat.picture()).permute(2, 0, 1)[None].float())
    embeddings, early = original.image_encoder(pixels)
    theirs = original.mask_decoder
    fine = theirs.embedding_encoder(embeddings)
    fine = fine + theirs.compress_vit_feat(early[0].permute(0, 3, 1, 2))
    boxes = torch.tensor([[110.0, 28, 165, 82]])
    sparse, dense = original.prompt_encoder(points=None, boxes=boxes, masks=None)
    inputs = embeddings, original.prompt_encoder.get_dense_pe(), sparse, dense, fine
    for found, expected in zip(
        ours.mask_decoder.predict_masks(*inputs), theirs.predict_masks(*inputs)
    ):
        same(found, expected, atol=2e-4)  # measured 7e-5, of 54
