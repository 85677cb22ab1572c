"""Give MLX a fast BLAS on Linux x86. Imported before ``mlx.core``; does nothing elsewhere.

MLX's Linux wheel links the reference BLAS (3 GFLOP/s on two cores). Its ``cblas_sgemm`` is an
ordinary global symbol, so an MKL loaded first, with global visibility, takes its place
(210 GFLOP/s). MKL comes with the ``cpu`` extra; ``SAM_MLX_MKL=0`` leaves it alone.
"""

import ctypes
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, files


def preload_mkl() -> bool:
    """Load MKL's single dynamic library; False when there is nothing to do or to load."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    if os.environ.get("SAM_MLX_MKL") == "0" or "mlx.core" in sys.modules:
        return False
    try:
        library = next(f for f in files("mkl") or () if f.name.startswith("libmkl_rt.so"))
    except (PackageNotFoundError, StopIteration):
        return False
    os.environ.setdefault("MKL_INTERFACE_LAYER", "LP64")
    os.environ.setdefault("MKL_THREADING_LAYER", "INTEL")
    try:
        ctypes.CDLL(str(library.locate()), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


preload_mkl()
