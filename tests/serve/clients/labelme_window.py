"""labelme's whole window: a model is chosen in its menu, a point is clicked. Prints the masks that
came, and keeps a picture of the window. Run by ``python -m sam_mlx.osam``.
"""

import json
import os
import sys
import time

picture, kept = sys.argv[1:]

from labelme.app import MainWindow
from PyQt5 import QtCore, QtWidgets
from PyQt5.QtTest import QTest

MODEL = "Sam (speed)"


def until(true, what, seconds=240):
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise SystemExit(f"{what}: it took too long")
        QTest.qWait(20)
    return found


app = QtWidgets.QApplication(["labelme"])
settings = {"auto_save": False, "labels": ["coin"], "display_label_popup": False}
window = MainWindow(config_overrides=settings, file_or_dir=picture)
window.resize(1100, 760)
window.show()
canvas = window._canvas_widgets.canvas
until(lambda: canvas.pixmap is not None and not canvas.pixmap.isNull(), "the picture")
window._docks.unique_label_list.setCurrentRow(0)


def choose(box, text):
    box.setCurrentIndex(box.findText(text))
    assert box.currentText() == text


choose(window._ai_annotation._model_combo, MODEL)
window._actions.create_ai_points_to_shape_mode.trigger()
choose(window._ai_annotation._output_format_combo, "Mask")
QTest.qWait(200)
origin = canvas._compute_image_origin_offset()
at = (QtCore.QPointF(138, 53) + origin) * canvas.scale
start = time.monotonic()
QTest.mouseMove(canvas, at.toPoint())
QTest.mouseClick(
    canvas, QtCore.Qt.LeftButton, QtCore.Qt.ControlModifier, at.toPoint()
)  # with Ctrl, one point is all of it
shape = until(lambda: canvas.shapes, "the shape")[0]
seconds = time.monotonic() - start
clicked = [p / canvas.scale - o for p, o in
           ((at.toPoint().x(), origin.x()), (at.toPoint().y(), origin.y()))]  # fmt: skip
QTest.qWait(300)
window.grab().save(kept)
print(
    json.dumps(
        {
            "label": shape.label,
            "type": shape.shape_type,
            "seconds": seconds,
            "scale": canvas.scale,
            "clicked": clicked,
            "corner": [shape.points[0].x(), shape.points[0].y()],
            "mask": shape.mask.astype(int).tolist(),
        }
    )
)
sys.stdout.flush()
os._exit(0)  # its threads outlive the window
