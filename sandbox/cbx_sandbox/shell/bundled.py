"""What lies beside the code, read by the loader of the module: importlib.resources takes longer to import."""

from __future__ import annotations

import sys
from importlib import machinery, util
from types import ModuleType
from typing import Any


def text(package: str, name: str) -> str:
    """Return the text of a file in a package that is imported. Raises OSError where there is none."""
    spec = sys.modules[package].__spec__
    assert spec is not None
    loader: Any = spec.loader
    data: bytes = loader.get_data(f"{(spec.submodule_search_locations or [''])[0]}/{name}")
    return data.decode("utf-8")


def extension(package: str, name: str) -> ModuleType:
    """Import an extension module without the package that it lies in. Raises ImportError where there is none."""
    outer = util.find_spec(package)
    places = None if outer is None else outer.submodule_search_locations
    spec = machinery.PathFinder.find_spec(f"{package}.{name}", places) if places else None
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no {package}.{name}")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
