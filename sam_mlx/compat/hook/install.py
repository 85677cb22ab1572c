"""Stands in sys.modules under the client's name until ``install`` has put the rest there."""

from sam_mlx.compat import install

install(__name__)
