"""What this machine's GPU can compute: prints ``missing=`` and the name of the first that fails.

``missing=`` alone means that everything works. Each is tried in a process of its own, because a GPU
that lacks something may abort the process. For workflows, whose virtual GPUs may lack much.
"""

import subprocess
import sys

PROBES = {
    "a GPU": "assert mx.default_device() == mx.Device(mx.gpu)",
    "a product": "x = mx.ones((64, 64)); assert (x @ x).sum().item() == 64**3",
    "fused attention": (
        "q = mx.ones((1, 2, 64, 64)); "
        "x = mx.fast.scaled_dot_product_attention(q, q, q, scale=1.0); "
        "assert mx.allclose(x, q)"
    ),
    "bfloat16": "x = mx.ones((64, 64), mx.bfloat16); assert (x @ x)[0, 0].item() == 64",
}


def works(code: str) -> bool:
    command = [sys.executable, "-c", f"import mlx.core as mx; {code}"]
    return subprocess.run(command, timeout=600, stdout=subprocess.DEVNULL).returncode == 0


def main() -> None:
    print(f"missing={next((name for name, code in PROBES.items() if not works(code)), '')}")


if __name__ == "__main__":
    main()
