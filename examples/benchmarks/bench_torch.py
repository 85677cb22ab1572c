"""One measurement of the original, Meta's package in PyTorch; called by run.py."""

import contextlib
import os

from examples.benchmarks import loop


def main():
    # ``convert`` imports sam_mlx, whose allocator and thread settings the original does not have.
    os.environ["SAM_MLX_LINUX_TUNING"] = "0"
    args = loop.parse_arguments()
    kind = args.measurement.partition("_")[0]
    if kind == "import":
        # Stand-ins for a missing torchvision are loaded before: they are not the original's.
        before = "import torch; from convert.reference import ensure_torchvision as e; e()"
        return loop.report(args, lambda: loop.seconds_of(before, "import segment_anything"))
    if kind == "read":
        return loop.report(args, lambda: loop.read_file(args.model))

    import torch

    from convert.reference import import_segment_anything

    package = import_segment_anything()
    kinds = {"cuda": torch.cuda, "mps": torch.backends.mps}
    device = next((name for name, kind in kinds.items() if kind.is_available()), "cpu")

    def finish(_):
        if device != "cpu":
            getattr(torch, device).synchronize()

    def measure(work):
        half = contextlib.nullcontext()
        if args.dtype != "float32":  # autocast is the only way that the original supports
            half = torch.autocast(device, getattr(torch, args.dtype))
        with torch.no_grad(), half:
            loop.report(
                args, work, finish, torch.cuda.max_memory_allocated if device == "cuda" else None
            )

    def load():
        return package.sam_model_registry["vit_b"](args.model).to(device)

    def channels_first(array):
        return torch.tensor(array.transpose(0, 3, 1, 2).copy(), device=device)

    if kind == "load":
        return measure(load)
    model = load()
    if kind == "upscale":
        masks = torch.tensor(loop.low_res_masks(), device=device)
        sizes = loop.INPUT_SIZE, loop.ORIGINAL_SIZE
        return measure(lambda: model.postprocess_masks(masks, *sizes) > 0)
    if kind == "encoder":
        images = channels_first(loop.images(args.measurement))
        return measure(lambda: model.image_encoder(images))
    if kind == "decoder":
        embedding = channels_first(loop.embedding())
        points = tuple(torch.tensor(x, device=device) for x in loop.points(args.measurement))

        def decode():
            sparse, dense = model.prompt_encoder(points, None, None)
            pe = model.prompt_encoder.get_dense_pe()
            return model.mask_decoder(embedding, pe, sparse, dense, multimask_output=True)

        return measure(decode)
    if kind == "set":
        predictor = package.SamPredictor(model)
        return measure(lambda: predictor.set_image(loop.read_image(args.image)))
    image = loop.read_image(args.image)
    package.SamAutomaticMaskGenerator(model, **loop.WARM_UP).generate(image)
    generator = package.SamAutomaticMaskGenerator(model, args.points_per_side, **loop.AUTOMATIC)
    measure(lambda: generator.generate(image))


if __name__ == "__main__":
    main()
