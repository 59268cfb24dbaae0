"""Trees to run commands in: made by the recipes of tests/data/observed/recipes, one for each recipe."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.observed.commands import DATA, PATH

from cbx_sandbox.facts import HostFacts

RECIPES = DATA / "recipes"
SCRATCH = "/var/tmp"  # /tmp may be a tmpfs, and is an empty one in the commands' view
BASE = "project"  # the recipe that the others go on from


@dataclass(frozen=True, slots=True)
class World:
    """A tree: ``root`` holds the project, the home directory and the bare remote."""

    root: str

    @property
    def cwd(self) -> str:
        """Where commands begin."""
        return f"{self.root}/project"

    @property
    def home(self) -> str:
        """The home directory."""
        return f"{self.root}/home"

    @property
    def env(self) -> dict[str, str]:
        """The environment, whole."""
        return {
            "PATH": PATH,
            "HOME": self.home,
            "LANG": "C.UTF-8",
            "TMPDIR": "/run/tmp",
            "USER": "root",
            "LOGNAME": "root",
        }

    def facts(self) -> HostFacts:
        """Return what the analysis may know of the tree as it is now."""
        return HostFacts(self.cwd, self.env, home=self.home)


@dataclass
class Worlds:
    """The trees of one measurement; each is made when it is first asked for."""

    base: str
    made: dict[str, World] = field(default_factory=dict)

    def get(self, recipe: str) -> World:
        """Return the tree of a recipe."""
        if recipe not in self.made:
            self.made[recipe] = self._make(recipe)
        return self.made[recipe]

    def _make(self, recipe: str) -> World:
        world = World(f"{self.base}/{recipe}")
        if recipe == BASE:
            os.mkdir(world.root)
            _follow(recipe, world, world.root)
            return world
        shutil.copytree(self.get(BASE).root, world.root, symlinks=True)
        for name in ("notes",):  # the one link that is absolute
            link = f"{world.cwd}/links/{name}"
            os.unlink(link)
            os.symlink(f"{world.home}/notes.txt", link)
        subprocess.run(
            ["git", "remote", "set-url", "origin", f"{world.root}/remote.git"], cwd=world.cwd, env=world.env, check=True
        )
        _follow(recipe, world, world.cwd)
        return world


def _follow(recipe: str, world: World, cwd: str) -> None:
    with open(RECIPES / f"{recipe}.sh", "rb") as script:
        subprocess.run(["bash", "-eu"], stdin=script, cwd=cwd, env=world.env | {"TMPDIR": SCRATCH}, check=True)


@contextlib.contextmanager
def worlds() -> Iterator[Worlds]:
    """Give trees that are gone afterwards."""
    base = tempfile.mkdtemp(prefix="cbx-observed-", dir=SCRATCH)
    try:
        yield Worlds(base)
    finally:
        shutil.rmtree(base)


def recipes() -> tuple[str, ...]:
    """Name all recipes."""
    return tuple(sorted(path.stem for path in Path(RECIPES).glob("*.sh")))
