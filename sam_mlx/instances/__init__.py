"""All instances in a picture by a model's second decoder (original: micro-sam).

The decoder makes maps of the whole picture at once (``modeling.instance_decoder``). What makes
instances of them is micro-sam's, with its names and defaults: "ais" floods them from seeds
(``watershed``), "apg" puts a point of each seed to the model as a prompt (``prompting``).
``segmenter`` does both; its arguments are declared in ``options``. ``tiles`` floods the maps of
large pictures.
"""
