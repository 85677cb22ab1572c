"""The package as one module."""

import pkgutil

from sam_mlx import masks


def test_every_public_function_is_found_in_the_package():
    submodules = {module.name for module in pkgutil.iter_modules(masks.__path__)}
    assert not submodules & set(masks.__all__)  # or one would hide the other
    public = {
        name
        for submodule in submodules
        for name, found in vars(getattr(masks, submodule)).items()
        if not name.startswith("_") and getattr(found, "__module__", "").endswith(submodule)
    }
    assert public - {"Array"} <= set(masks.__all__)
    assert all(hasattr(masks, name) for name in masks.__all__)
