"""Checkpoints: from a name to a model, and back to files.

``locate`` finds what a name stands for; ``load`` does the rest, one line per step: open ``files``,
``unwrap`` tensors, rename them as our modules (``families``), infer their ``sizes``, ``adjust`` to
another input size, reorder axes as MLX does (``layouts``), merge ``adapters``. ``save`` writes a
model with its ``card``.
"""
