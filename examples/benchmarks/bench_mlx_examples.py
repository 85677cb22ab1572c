"""One measurement of the SAM in Apple's mlx-examples; called by run.py.

That SAM cannot be installed: ``--package`` names its folder in a clone.
"""

import ctypes
import os
import sys
from pathlib import Path

from examples.benchmarks import loop


def main():
    args = loop.parse_arguments()
    kind = args.measurement.partition("_")[0]
    if kind == "import":
        before = f"import mlx.core, sys; sys.path.insert(0, {str(args.package)!r})"
        return loop.report(args, lambda: loop.seconds_of(before, "import segment_anything"))
    if kind == "read":
        return loop.report(args, lambda: loop.read_file(args.model))

    # The same BLAS as sam_mlx uses, on all cores, but without its allocator settings.
    library = next(Path(sys.prefix, "lib").glob("libmkl_rt.so*"), None)
    if sys.platform == "linux" and library and os.environ.get("SAM_MLX_LINUX_TUNING") != "0":
        os.environ.update(MKL_INTERFACE_LAYER="LP64", MKL_THREADING_LAYER="INTEL")
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(args.package))

    import mlx.core as mx
    from segment_anything import SamAutomaticMaskGenerator
    from segment_anything.predictor import SamPredictor
    from segment_anything.sam import load as load_model

    dtype = getattr(mx, args.dtype)

    def measure(work, finish=mx.eval):
        loop.report(args, work, finish, mx.get_peak_memory if mx.cuda.is_available() else None)

    def load():
        model = load_model(args.model)
        model.set_dtype(dtype)
        mx.eval(model.parameters())
        return model

    if kind == "load":
        return measure(load, lambda _: None)
    model = load()
    if kind == "upscale":
        masks = mx.array(loop.low_res_masks().transpose(0, 2, 3, 1))
        sizes = loop.INPUT_SIZE, loop.ORIGINAL_SIZE
        return measure(lambda: model.postprocess_masks(masks, *sizes) > 0)
    if kind == "encoder":
        images = mx.array(loop.images(args.measurement)).astype(dtype)
        return measure(lambda: model.vision_encoder(images))
    if kind == "decoder":
        embedding = mx.array(loop.embedding()).astype(dtype)
        points = tuple(map(mx.array, loop.points(args.measurement)))
        pe_layer = model.shared_image_embedding

        def decode():
            sparse, dense = model.prompt_encoder(points, None, None, pe_layer)
            pe = pe_layer(model.prompt_encoder.image_embedding_size)
            return model.mask_decoder(embedding, pe, sparse, dense, multimask_output=True)

        return measure(decode)
    if kind == "set":
        predictor = SamPredictor(model)

        def set_image():
            predictor.set_image(loop.read_image(args.image))
            return predictor.features

        return measure(set_image)
    image = loop.read_image(args.image)
    SamAutomaticMaskGenerator(model, **loop.WARM_UP).generate(image)
    generator = SamAutomaticMaskGenerator(model, args.points_per_side, **loop.AUTOMATIC)
    measure(lambda: generator.generate(image), lambda _: None)


if __name__ == "__main__":
    main()
