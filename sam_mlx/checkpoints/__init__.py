"""Checkpoints: from a name to a model, and back to files.

``locate`` finds what a name stands for; ``load`` does the rest, each step a line of it: ``files``
opened, tensors taken out of what is around them (``unwrap``), named as our modules are
(``families``), their ``sizes``, another input size (``adjust``), MLX's axes (``layouts``),
``adapters`` merged. ``save`` writes a model, with its ``card``.
"""
