"""The parts of the build that pyproject.toml cannot say; see build_support/."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from build_support import vendored  # noqa: E402
from build_support.extension import BuildNative, native  # noqa: E402

# Before setup(), which collects the licences of the vendored sources with the metadata.
vendored.ensure(ROOT)

setup(ext_modules=[native(ROOT)], cmdclass={"build_ext": BuildNative})
