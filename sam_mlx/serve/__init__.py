"""One server for label tools: ``sam-mlx serve``."""
