"""The parts of the build that pyproject.toml cannot say; see build_support/."""

import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from build_support import readme, vendored  # noqa: E402
from build_support.extension import BuildNative, native  # noqa: E402

# Before setup(), which collects the licences of the vendored sources with the metadata.
vendored.ensure(ROOT)

repository = readme.repository()
setup(
    ext_modules=[native(ROOT)],
    cmdclass={"build_ext": BuildNative},
    long_description=readme.for_index((ROOT / "README.md").read_text("utf-8"), repository),
    long_description_content_type="text/markdown",
    project_urls={"Source": repository} if repository else {},
)
