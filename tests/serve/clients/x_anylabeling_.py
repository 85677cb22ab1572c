"""X-AnyLabeling's own client class: asks the server, and prints what it understood as JSON."""

import json
import sys
from pathlib import Path

from PyQt6 import QtGui, QtWidgets

app = QtWidgets.QApplication([])

from anylabeling import config
from anylabeling.services.auto_labeling.remote_server import RemoteServer

address, picture, token = sys.argv[1:]
said = []
# The dialog for the address writes it into this file.
settings = {"remote_server_settings": {"server_url": address, "api_key": token}}
config.current_config_file = str(Path.home() / ".xanylabelingrc")
Path(config.current_config_file).write_text(json.dumps(settings))
about = {"type": "remote_server", "name": "remote_server", "display_name": "Remote-Server"}
client = RemoteServer(about, said.append)
client.timeout = 400  # of a machine with other work
image = QtGui.QImage(picture)


def ask(*marks, epsilon=0.001, image_path=picture, text=None, model="nano"):
    client.set_model_id(model)
    client.set_mask_fineness(epsilon)
    client.set_auto_labeling_marks(list(marks))
    found = client.predict_shapes(image, image_path, text)
    return {
        "replace": found.replace,
        "shapes": [
            {
                "label": shape.label,
                "type": shape.shape_type,
                "score": shape.score,
                "closed": shape.is_closed(),
                "points": [[p.x(), p.y()] for p in shape.points],
            }
            for shape in found.shapes
        ],
    }


def point(x, y, label=1):
    return {"type": "point", "data": [x, y], "label": label}


def box(*corners, label=1):
    return {"type": "rectangle", "data": list(corners), "label": label}


answers = {
    "models": client.get_available_models(),
    "mode": client.get_batch_processing_mode(),
    "exact": ask(point(138, 53), epsilon=0),
    "fine": ask(point(138, 53)),
    "coarse": ask(point(138, 53), epsilon=0.01),
    "no path": ask(point(138, 53), epsilon=0, image_path=None),
    "box": ask(box(165, 82, 110, 28), epsilon=0),
    "both": ask(box(110, 28, 165, 82), point(115, 33, 0), epsilon=0),
    "two boxes": ask(box(110, 28, 165, 82), box(30, 30, 80, 90), epsilon=0),
    "everything": ask(epsilon=0),
}
calm = len(said)
answers["negative box"] = ask(box(110, 28, 165, 82, label=0))
answers["text"] = ask(text="a coin")
answers["other model"] = ask(point(1, 1), model="other")
print(json.dumps({"answers": answers, "calm": calm, "said": [str(line) for line in said]}))
