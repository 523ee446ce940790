"""Compiles aiecs_redis._native: only what changed, on all cores, in a folder for each mode."""

from __future__ import annotations

import json
import os
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

from . import flags, toolchain

HIREDIS = ("alloc", "async", "hiredis", "net", "read", "sds", "sockcompat", "ssl")
# As system headers: their own warnings, ev.c's too, are not ours to fix.
INCLUDES = ["-isystem", "vendored/hiredis", "-isystem", "vendored/libev"]


def native(root: Path) -> Extension:
    """Our files and hiredis'; libev comes in through csrc/libev.c, which includes ev.c."""
    own = sorted(path.relative_to(root).as_posix() for path in root.glob("csrc/*.c"))
    hiredis = [f"vendored/hiredis/{name}.c" for name in HIREDIS]
    return Extension("aiecs_redis._native", [*own, *hiredis], libraries=["ssl", "crypto"])


class BuildNative(build_ext):
    """build_ext that keeps its objects between builds and compiles in parallel."""

    def build_extension(self, ext: Extension) -> None:
        mode = flags.from_environment()
        folder = Path("build", "native", f"{sysconfig.get_config_var('SOABI')}-{mode.label}")
        units = [Unit(self.compiler, source, folder, mode) for source in ext.sources]
        outdated = [unit for unit in units if unit.outdated()]
        link = mode.linked(installed=not self.inplace)
        library = folder / ("_native.so" if link == mode.link else "_native-lean.so")
        if outdated or not library.is_file() or self.force:
            toolchain.check(self._toolchain(ext, mode))
            for linked in folder.glob("_native*.so"):  # from older objects
                linked.unlink()
            with ThreadPoolExecutor(self.parallel or os.cpu_count()) as pool:
                list(pool.map(Unit.compile, outdated))
            self.compiler.link_shared_object(
                [str(unit.object) for unit in units],
                str(library),
                libraries=ext.libraries,
                library_dirs=ext.library_dirs,
                extra_postargs=link,
            )
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        self.copy_file(str(library), str(target))

    def _toolchain(self, ext: Extension, mode: flags.Flags) -> toolchain.Toolchain:
        includes = [f"-I{folder}" for folder in self.compiler.include_dirs]
        libraries = [f"-L{folder}" for folder in self.compiler.library_dirs]
        libraries += [f"-l{name}" for name in ext.libraries]
        return toolchain.Toolchain(
            [*self.compiler.compiler_so, *includes, *mode.compile],
            [*self.compiler.linker_so, *mode.link],
            libraries,
        )


class Unit:
    """One C file, its object, and the two files beside it that tell when it is outdated."""

    def __init__(self, compiler, source: str, folder: Path, mode: flags.Flags) -> None:
        own = mode.own if source.startswith("csrc/") else ["-w"]
        self.compiler = compiler
        self.source = source
        self.folder = folder
        self.object = folder / Path(source).with_suffix(".o")
        self.dependencies = self.object.with_suffix(".d")
        self.recipe_file = self.object.with_suffix(".json")
        self.flags = [*mode.compile, *own, *INCLUDES, "-MD", "-MF", str(self.dependencies)]

    def recipe(self) -> str:
        """Everything but the files' content that decides what comes out."""
        return json.dumps([self.compiler.compiler_so, self.compiler.include_dirs, self.flags])

    def outdated(self) -> bool:
        try:
            if self.recipe_file.read_text() != self.recipe():
                return True
            built = self.object.stat().st_mtime
            rule = self.dependencies.read_text().replace("\\\n", " ")
            return any(os.stat(name).st_mtime > built for name in rule.partition(":")[2].split())
        except OSError:
            return True

    def compile(self) -> None:
        self.object.parent.mkdir(parents=True, exist_ok=True)
        self.recipe_file.unlink(missing_ok=True)
        self.compiler.compile([self.source], str(self.folder), extra_postargs=self.flags)
        self.recipe_file.write_text(self.recipe())
