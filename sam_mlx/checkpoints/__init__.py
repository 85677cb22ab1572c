"""Checkpoints: where a name leads, what a file holds, and how its tensors become a model's.

``locate`` (a name to a path), ``read`` (a path to sizes and tensors, whatever the layout),
``load`` (tensors into a module), ``save``. The families of foreign names, each in a file of its
own, are listed in ``names``.
"""
