"""A prompt to try things with."""

import numpy as np

CLICK = {"point_coords": np.array([[200.0, 130.0]]), "point_labels": np.array([1])}
