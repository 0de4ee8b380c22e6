"""The wheel holds all that runs: it works where there is no clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("clipgres", "worker", "webapp", "migrations", "demo")
LEFT_OUT = shutil.ignore_patterns("__pycache__")
PIP = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")

PROGRAM = """
import clipgres.cli, worker.tasks, webapp, demo.site
from clipgres.migrations import head_revision
from clipgres.models import describe_model
from demo.gallery_files import read_gallery
print(clipgres.cli.__file__, describe_model("tiny-clip").dimension, head_revision(), len(read_gallery()))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of a wheel that was built from a copy, since building leaves files in the source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=LEFT_OUT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*PIP, "--wheel-dir", str(folder), str(source)], check=True, cwd=folder)
    [wheel] = folder.glob("clipgres-*.whl")
    ZipFile(wheel).extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_a_package_is_in_it(unpacked: Path, package: str) -> None:
    listed = subprocess.run(["git", "ls-files", "-z", package], check=False, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone, so nothing says which files belong")
    names = [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]
    left_out = {name for name in names if not (unpacked / name).is_file()}
    assert names
    assert left_out == set()


def test_it_works_outside_the_clone(unpacked: Path, tmp_path: Path) -> None:
    path = os.pathsep.join(filter(None, [str(unpacked), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    file, dimension, revision, pictures = done.stdout.split()
    assert Path(file).is_relative_to(unpacked)
    assert (dimension, bool(revision), int(pictures) >= 1_000) == ("512", True, True)
