"""A page to click in, and the server behind it: ``sam-mlx web``."""
