"""One measurement of sam_mlx; called by run.py."""

from examples.benchmarks import loop


def main():
    args = loop.parse_arguments()
    kind = args.measurement.partition("_")[0]
    if kind == "import":
        # The libraries that sam_mlx loads before MLX count as part of MLX's own import.
        before = f"import runpy; runpy.run_path({str(loop.ROOT / 'sam_mlx/machine/linux.py')!r})\n"
        return loop.report(
            args, lambda: loop.seconds_of(before + "import mlx.core", "import sam_mlx")
        )
    if kind == "read":
        return loop.report(args, lambda: loop.read_file(args.model))

    from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor, transforms  # before mlx.core
    from sam_mlx.decoding import decode_in_parts

    # isort: split
    import mlx.core as mx

    def measure(work, finish=mx.eval):
        loop.report(args, work, finish, mx.get_peak_memory if mx.cuda.is_available() else None)

    def load():
        return Sam.from_pretrained(args.model, dtype=args.dtype)

    if kind == "load":
        return measure(load, lambda model: mx.eval(model.parameters()))
    if kind == "upscale":
        masks = mx.array(loop.low_res_masks())
        sizes = loop.INPUT_SIZE, loop.ORIGINAL_SIZE, loop.IMAGE_SIZE
        return measure(lambda: transforms.upscale_masks(masks, *sizes, threshold=0.0))
    model = load()
    if kind == "encoder":
        images = mx.array(loop.images(args.measurement))
        return measure(lambda: model.encode_image(images))
    if kind == "decoder":
        embedding = mx.array(loop.embedding())
        points = tuple(map(mx.array, loop.points(args.measurement)))
        return measure(lambda: decode_in_parts(model, embedding, points))
    if kind == "set":
        predictor = SamPredictor(model)
        return measure(lambda: predictor.set_image(args.image))
    image = loop.read_image(args.image)
    SamAutomaticMaskGenerator(model, **loop.WARM_UP).generate(image)
    generator = SamAutomaticMaskGenerator(model, args.points_per_side, **loop.AUTOMATIC)
    measure(lambda: generator.generate(image), lambda _: None)


if __name__ == "__main__":
    main()
