"""Make MLX's CPU backend fast on Linux x86. Imported before ``mlx.core``; does nothing elsewhere.

Users of the package run Metal; this is for development and tests. Five settings of the process,
which ``SAM_MLX_LINUX_TUNING=0`` leaves alone:

* MLX's wheel links the reference BLAS (3 GFLOP/s on two cores). Its ``cblas_sgemm`` is an ordinary
  global symbol, so an MKL loaded first, with global visibility, takes its place (210 GFLOP/s).
  MKL comes with the ``cpu`` extra.
* In MLX's threads MKL takes half of the cores, because the package works on two streams at a time
  (``streams``); in the thread that imports the package, where PyTorch's products use it, all.
* MKL's threads spin for 0.2 s after each product, in case another follows. 2 ms are enough to keep
  its speed (0 would cost half of it) and leave the cores to others.
* glibc returns every large buffer to the system, and pays a page fault per 4 KB when it comes back.
  So freed memory is kept during the package's own calls (``own_memory``) and returned afterwards: a
  LayerNorm of eight decoder states takes 3 ms a prompt instead of 12.
* That applies only to malloc's main arena, so other threads use it as well.
"""

import ctypes
import mmap
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8  # malloc.h
DEFAULT_MMAP_MAX = 65536
MMAP_THRESHOLD_MAX = 32 << 20  # where glibc's own adaptation ends; it trims at twice that
KEPT_BYTES = 256 << 20  # of freed memory between two calls
MKL_DOMAIN_BLAS = 1  # mkl_types.h


_lock = threading.Lock()
_callers = 0  # of own_memory, in all threads
_before = 0  # bytes of the process when the first of them came


def wanted() -> bool:
    linux = sys.platform == "linux" and os.uname().machine == "x86_64"
    return linux and os.environ.get("SAM_MLX_LINUX_TUNING") != "0"


def glibc() -> ctypes.CDLL | None:
    """Unless the user has set malloc's own settings."""
    if not wanted() or any(n.startswith(("MALLOC_", "GLIBC_TUNABLES")) for n in os.environ):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


LIBC = glibc()
if LIBC is not None:
    LIBC.mallopt(M_ARENA_MAX, 1)


@contextmanager
def own_memory() -> Iterator[None]:
    """Keep freed memory for the next buffers of this call, and give most of it back at its end."""
    global _callers, _before
    if LIBC is None:
        yield
        return
    with _lock:
        _callers += 1
        if _callers == 1:
            _before = resident_bytes()
            LIBC.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
            LIBC.mallopt(M_MMAP_MAX, 0)
    try:
        yield
    finally:
        with _lock:
            _callers -= 1
            if _callers == 0:
                LIBC.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
                LIBC.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX)
                LIBC.mallopt(M_TRIM_THRESHOLD, 2 * MMAP_THRESHOLD_MAX)
                if resident_bytes() > _before + KEPT_BYTES:
                    LIBC.malloc_trim(0)


def resident_bytes() -> int:
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read(256).split()[1]) * mmap.PAGESIZE


def tune() -> bool:
    """Apply the other settings; True when MKL was loaded."""
    if not wanted() or "mlx.core" in sys.modules:
        return False
    library = next(Path(sys.prefix, "lib").glob("libmkl_rt.so*"), None)  # where pip puts it
    if library is None:
        return False
    with _environment(MKL_INTERFACE_LAYER="LP64", MKL_THREADING_LAYER="INTEL", KMP_BLOCKTIME="2"):
        try:
            mkl = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            return False
        mkl.MKL_Get_Max_Threads()  # loads the layers, which read the environment now
    if "MKL_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0))
        mkl.MKL_Domain_Set_Num_Threads(max(1, cores // 2), MKL_DOMAIN_BLAS)
        # MLX's products run in its own threads. PyTorch's run in this one, and the library above
        # affects them as well.
        mkl.MKL_Set_Num_Threads_Local(cores)
    return True


def leave_threads() -> None:
    """To be called when the process exits while another thread is within MLX.

    Before Python 3.14, such a thread is unwound once it returns to the interpreter; C++ answers
    with std::terminate, which aborts the process. Here the thread waits instead.
    """
    if sys.platform != "linux" or sys.version_info >= (3, 14):
        return
    with suppress(OSError, AttributeError):
        wait = ctypes.cast(ctypes.CDLL(None).pause, ctypes.c_void_p)
        ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE(wait)


def why_not_compile() -> str | None:
    """What keeps MLX's CPU backend from compiling functions, if anything.

    It runs g++ and loads what g++ writes to the folder for temporary files.
    """
    if sys.platform != "linux":
        return None
    if shutil.which("g++") is None:
        return "there is no g++"
    variables = ("TMPDIR", "TMP", "TEMP", "TEMPDIR")  # in the order C++ tries
    folder = next(filter(None, map(os.environ.get, variables)), "/tmp")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(mmap.PAGESIZE))
            file.flush()
            mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_EXEC).close()
    except OSError as error:
        return f"{folder}, the folder for temporary files, takes no programs ({error.strerror})"
    return None


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables that are not set yet, for a while; children do not inherit them."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


tune()
try:
    import mlx.core  # noqa: F401
except ImportError as error:
    if sys.platform != "linux" or "libmlx" not in str(error):
        raise
    raise ImportError(
        "MLX has no backend here, as pip leaves it on Linux: pip install 'mlx[cpu]', or "
        f"'mlx[cuda13]' for an Nvidia GPU ({error})"
    ) from None
