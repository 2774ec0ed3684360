"""The stages: one file each, config and input artifacts in, one output artifact out.

Importing this package registers every file in it, and is cheap: heavy libraries are imported inside the
stage functions, which run in processes of their own.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
