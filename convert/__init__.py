import sam_mlx  # noqa: F401  first: on Linux it must come before mlx.core, see sam_mlx/machine/linux.py
