"""Fine-tuning on labelled pictures: data, training, and how good a model is.

>>> from sam_mlx.tuner import TrainingOptions
>>> TrainingOptions(train="full", iters=100).highest_rate
1e-05

``finetune(Job(...))`` trains and writes a folder, ``evaluate`` measures any model on examples.
"""

from .data import LabelledPicture, open_data
from .evaluation import evaluate
from .examples import Example, examples_of
from .options import TrainingOptions
from .run import Job, finetune
from .survey import survey
from .trainer import Trainer

__all__ = [
    "Example",
    "Job",
    "LabelledPicture",
    "Trainer",
    "TrainingOptions",
    "evaluate",
    "examples_of",
    "finetune",
    "open_data",
    "survey",
]
