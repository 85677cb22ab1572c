"""napari-segment-anything: its widget, without a window."""

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from stand_ins import Widget, stand_in

stand_in(
    "napari.layers.shapes._shapes_constants", "napari.utils", "magicgui.widgets", "qtpy.QtCore"
)
checkpoint, picture, out = sys.argv[1:]
cache = Path.home() / ".cache" / "napari-segment-anything"
cache.mkdir(parents=True, exist_ok=True)
shutil.copy(checkpoint, cache / "sam_vit_b_01ec64.pth")
from napari_segment_anything import SAMWidget

widget = SAMWidget(Widget())
layer = widget._im_layer_widget.value
layer.ndim, layer.rgb, layer.data = 2, True, np.array(Image.open(picture).convert("RGB"))
widget._load_model("vit_b")

widget._pts_layer.data = np.array([[70.0, 60], [90, 120]])
widget._pts_layer.face_color = np.array([[0, 0, 1, 1], [1, 0, 0, 1]])
widget._boxes_layer.data = []
widget._on_interactive_run()
found = {"points": widget._mask_layer.data, "logits": widget._logits}
widget._boxes_layer.data = [np.array([[40.0, 40], [40, 100], [110, 100], [110, 40]])]
widget._on_interactive_run()  # refines with the logits from before
found["box"] = widget._mask_layer.data
np.savez(out, **found)
