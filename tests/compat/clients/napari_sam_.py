"""napari-sam: its predictions on a picture and on a stack, without a window."""

import sys
from types import SimpleNamespace

import numpy as np
from PIL import Image
from stand_ins import stand_in

stand_in(
    "qtpy.QtWidgets", "qtpy.QtGui", "qtpy.QtCore", "napari", "vispy.util.keys", "superqt.utils"
)
checkpoint, picture, out = sys.argv[1:]
from napari_sam._widget import SAM_MODELS, SamWidget

image = np.array(Image.open(picture).convert("RGB"))
widget = SamWidget.__new__(SamWidget)
widget.device = "cpu"
widget.cb_model_type.currentIndex = lambda: list(SAM_MODELS).index("vit_b")
widget.get_weights_path = lambda model_type: checkpoint
widget._check_activate_btn = widget.update_model_type_combobox = lambda: None
widget._load_model()

widget.image_layer = SimpleNamespace(ndim=2, rgb=True, data=image)
widget.set_image()
widget.sam_logits = None
widget.check_prev_mask.isChecked = lambda: True
first = widget.predict_sam([np.array([70, 60])], [1], None)
second = widget.predict_sam([np.array([70, 60]), np.array([90, 120])], [1, 0], None)
box = widget.predict_sam(None, None, np.array([[40, 40], [40, 100], [110, 100], [110, 40]]))

stack = np.stack([image[..., 0], image[::-1, :, 0]])
widget.image_layer = SimpleNamespace(ndim=3, rgb=False, data=stack, contrast_limits=(0, 200))
widget.label_layer = SimpleNamespace(data=np.zeros(stack.shape, int))
widget.set_image()  # keeps the features of both
widget.sam_logits = [None, None]
slices = [widget.predict_sam([np.array([i, 70, 60])], [1], None, i) for i in (0, 1)]
np.savez(out, first=first, second=second, box=box, slices=np.stack(slices))
