"""X-AnyLabeling's whole window: the model is chosen, its address confirmed in the dialog, a point
is clicked. Prints the shapes that came, and keeps a picture of the window.
"""

import json
import sys
import time
from pathlib import Path

address, picture, kept = sys.argv[1:]
home = Path.home()

from PyQt6 import QtCore, QtWidgets
from PyQt6.QtTest import QTest

app = QtWidgets.QApplication(["x"])

from anylabeling import config as settings

settings.set_work_directory(str(home))
settings.current_config_file = str(home / ".xanylabelingrc")
mine = {"remote_server_settings": {"server_url": address, "api_key": ""}, "language": "en_US",
        "auto_save": False}  # fmt: skip
Path(settings.current_config_file).write_text(json.dumps(mine))
config = settings.get_config(settings.current_config_file)

from anylabeling.resources import resources  # noqa: F401  the icons and models' files
from anylabeling.views.labeling.widgets.remote_server_dialog import RemoteServerDialog
from anylabeling.views.mainwindow import MainWindow


def until(true, what, seconds=240):
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise SystemExit(f"{what}: it took too long")
        app.processEvents()
        QTest.qWait(20)
    return found


window = MainWindow(app, config=config, filename=picture)
window.resize(1100, 760)
window.show()
view = window.labeling_widget.view
until(lambda: not view.image.isNull(), "the picture")
panel = view.auto_labeling_widget
panel.show()


def confirm():
    """Press the button of the dialog that asks for the address."""
    for dialog in app.topLevelWidgets():
        if isinstance(dialog, RemoteServerDialog) and dialog.isVisible():
            assert dialog.get_server_url() == address
            dialog.accept()
            return
    QtCore.QTimer.singleShot(50, confirm)


name = next(name for name in panel.model_info if "remote_server" in name.lower())
QtCore.QTimer.singleShot(50, confirm)
panel.on_model_selected("Others", name)
until(lambda: panel.button_add_point.isVisible(), "the model")
widgets = [w for w in panel.supported_remote_widgets if getattr(panel, w).isVisible()]

QTest.mouseClick(panel.button_add_point, QtCore.Qt.MouseButton.LeftButton)
canvas = view.canvas
spot = QtCore.QPointF(138, 53)
at = (spot + canvas.offset_to_center()) * canvas.scale
start = time.monotonic()
QTest.mouseMove(canvas, at.toPoint())
QTest.mouseClick(
    canvas, QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier, at.toPoint()
)


def found():
    return [s for s in canvas.shapes if s.label == "AUTOLABEL_OBJECT" and len(s.points) > 2]


shapes = until(found, "the shape")
seconds = time.monotonic() - start
QTest.qWait(200)
window.grab().save(kept)
print(
    json.dumps(
        {
            "widgets": widgets,
            "seconds": seconds,
            "shapes": [[[p.x(), p.y()] for p in shape.points] for shape in shapes],
        }
    )
)
sys.stdout.flush()
view.dirty = False
import os

os._exit(0)  # its threads outlive the window
