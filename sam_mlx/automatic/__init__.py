"""Everything in an image (original: ``segment_anything/automatic_mask_generator.py``).

The model is asked about a grid of points (``crops``). Of its answers (``predictions``), those stay
that it scores highly, that hardly depend on the threshold, and that do not repeat a better one
(``selection``). ``generator`` does both; its arguments are declared in ``options``.
"""
