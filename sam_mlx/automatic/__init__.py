"""Everything in an image (original: ``segment_anything/automatic_mask_generator.py``).

A grid of points is put to the model (``crops``), and of its answers (``predictions``) those are
kept that the model thinks good, that hardly depend on the threshold, and that no better one
repeats (``selection``). ``generator`` does both; its arguments are declared in ``options``.
"""
