"""micro-sam's models with their second decoder: every form of file, and what may be wrong."""

import pytest

torch = pytest.importorskip("torch")

from PIL import Image

from sam_mlx import Sam, SamPredictor, sam_model_registry
from sam_mlx.cli import main
from sam_mlx.modeling.instance_decoder import InstanceDecoderConfig
from tests.support import models
from tests.support.checkpoints import equal
from tests.support.micro_sam import decoder_state, original_decoder

pytestmark = pytest.mark.original
WIDTH = 8


@pytest.fixture(scope="module", params=[False, True], ids=["interpolated", "transposed"])
def states(request) -> tuple[dict, dict]:
    decoder = original_decoder(models.SMALL, WIDTH, request.param)
    return models.original(models.SMALL).state_dict(), decoder_state(decoder)


@pytest.fixture
def model(states, tmp_path) -> Sam:
    return loaded(tmp_path / "model.pt", model_state=states[0], decoder_state=states[1])


def loaded(path, **content) -> Sam:
    torch.save(content, path)
    return Sam.from_pretrained(path)


def test_one_file(states, model):
    transposed = any(".block." in name for name in states[1] if "samplers" in name)
    assert model.config.decoders[1] == InstanceDecoderConfig(WIDTH, transposed)
    assert repr(model).endswith("decoder sam and instances)")


@pytest.mark.parametrize("name", ["vit_b.pt", "vit_b_lm"])
def test_a_file_beside_the_models(states, model, tmp_path, name):
    sam, decoder = states
    path = tmp_path / name
    torch.save(sam, path)
    torch.save(decoder, path.with_name(f"{path.stem}_decoder{path.suffix}"))
    equal(Sam.from_pretrained(path), model)


def test_the_files_own_decoder_comes_first(states, model, tmp_path):
    other = decoder_state(original_decoder(models.SMALL, WIDTH, seed=1))
    torch.save(other, tmp_path / "model_decoder.pt")
    equal(Sam.from_pretrained(tmp_path / "model.pt"), model)


def test_a_trainers_checkpoint(states, model, tmp_path):
    sam, decoder = states
    best = {
        "model_state": {f"sam.{name}": tensor for name, tensor in sam.items()},
        "decoder_state": decoder,
        "optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}},
        "epoch": 3,
    }
    equal(loaded(tmp_path / "best.pt", **best), model)


def test_a_folder(model, tmp_path):
    model.save_pretrained(tmp_path / "folder")
    again = Sam.from_pretrained(tmp_path / "folder")
    assert again.config == model.config
    equal(again, model)


def test_prompts_are_answered_as_without_it(states, model, photograph, tmp_path):
    alone = loaded(tmp_path / "alone.pt", **states[0])
    answers = []
    for sam in (alone, model):
        predictor = SamPredictor(sam)
        predictor.set_image(photograph)
        answers.append(predictor.predict([[30, 20]], [1])[0])
    assert (answers[0] == answers[1]).all()


def test_a_released_variant_keeps_its_name(tmp_path):
    from sam_mlx.registry import VARIANTS, named, with_decoder

    config = with_decoder(VARIANTS["vit_b"], InstanceDecoderConfig())
    assert named(config).variant == "vit_b" and named(config).decoders == config.decoders
    nano = Sam.from_pretrained("nano")
    wide = Sam(with_decoder(nano.config, InstanceDecoderConfig(4)))
    wide.save_pretrained(tmp_path / "nano")
    assert sam_model_registry["nano"](tmp_path / "nano").config == wide.config


def test_a_decoder_without_its_model(states, tmp_path):
    torch.save(states[1], tmp_path / "vit_b_decoder.pt")
    with pytest.raises(ValueError, match="an instance decoder without its model; give the model's"):
        Sam.from_pretrained(tmp_path / "vit_b_decoder.pt")
    with pytest.raises(ValueError, match="an instance decoder without its model"):
        loaded(tmp_path / "wrapped.pt", decoder_state=states[1])


def test_a_network_without_prompts(states, tmp_path):
    """What ``train_instance_segmentation`` of micro-sam leaves."""
    sam, decoder = states
    encoder = {
        name.replace("image_encoder.", "encoder."): tensor
        for name, tensor in sam.items()
        if name.startswith("image_encoder.")
    }
    with pytest.raises(
        ValueError, match="without SAM's prompt encoder and mask decoder; micro_sam"
    ):
        loaded(tmp_path / "best.pt", model_state=encoder | decoder)


def test_a_decoder_of_another_model(states, tmp_path):
    other = decoder_state(original_decoder(models.STRUCTURES["vit_b"], WIDTH))
    narrow = dict(other)
    narrow["base.block.1.weight"] = narrow["base.block.1.weight"][:, :32]
    with pytest.raises(ValueError, match="embeddings of 32 channels, and the encoder gives 64"):
        loaded(tmp_path / "model.pt", model_state=states[0], decoder_state=narrow)


def test_an_incomplete_decoder(states, tmp_path):
    for lacking in ("deconv3.block.2.running_var", "decoder_head.block.4.bias"):
        rest = {name: tensor for name, tensor in states[1].items() if name != lacking}
        with pytest.raises(ValueError, match="tensors differ") as error:
            loaded(tmp_path / "model.pt", model_state=states[0], decoder_state=rest)
        assert "instance_decoder." in str(error.value)


def damaged(states) -> dict[str, dict]:
    sam, decoder = states
    narrow = decoder["base.block.1.weight"][:, :32]
    return {
        "without its model": {"decoder_state": decoder},
        "of 32 channels": {"model_state": sam,
                           "decoder_state": decoder | {"base.block.1.weight": narrow}},
        "tensors differ": {"model_state": sam,
                           "decoder_state": {n: decoder[n] for n in list(decoder)[:-1]}},
    }  # fmt: skip


@pytest.mark.parametrize("why", ["without its model", "of 32 channels", "tensors differ"])
def test_the_shell_says_so_in_one_line_and_writes_nothing(states, tmp_path, capsys, why):
    torch.save(damaged(states)[why], tmp_path / "model.pt")
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    for more in ([], ["--tile", "64"]):
        out = str(tmp_path / "out")
        command = [
            "auto",
            str(tmp_path / "a.png"),
            "-o",
            out,
            "--model",
            str(tmp_path / "model.pt"),
        ]
        assert main([*command, *more]) == 2
        said = capsys.readouterr()
        assert why in said.err and len(said.err.strip().splitlines()) == 1 and said.out == ""
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "model.pt"]


def test_a_decoder_for_something_else_is_left_out(states, tmp_path):
    other = dict(states[1])
    other["out_conv.weight"], other["out_conv.bias"] = (
        other[f"out_conv.{part}"][:2] for part in ("weight", "bias")
    )
    with pytest.warns(UserWarning, match="second decoder is left out: it makes 2 maps"):
        model = loaded(tmp_path / "model.pt", model_state=states[0], decoder_state=other)
    assert len(model.config.decoders) == 1


def test_other_files_beside_are_not_read(states, tmp_path, recwarn):
    sam, decoder = states
    torch.save(sam, tmp_path / "vit_b.pt")
    torch.save({"weight": torch.ones(2)}, tmp_path / "vit_b_decoder.pt")
    assert len(Sam.from_pretrained(tmp_path / "vit_b.pt").config.decoders) == 1
    assert not recwarn
    (tmp_path / "vit_b_decoder.pt").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="vit_b_decoder.pt.*is read without it"):
        assert len(Sam.from_pretrained(tmp_path / "vit_b.pt").config.decoders) == 1
