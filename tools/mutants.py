"""Wrong kernels, one at a time: each must fail the tests. Exit code 1 if one survives, or if the right ones fail.

A wrong kernel is a text of one file of the kernels and what stands in its place, in `mutations/`. The source tree is
copied, and only the copy is changed.

python tools/mutants.py            # all of them, half an hour
python tools/mutants.py zoneout    # those with all these words in their name or their list's
python tools/mutants.py --check    # whether each text is still there, exactly once
"""

# ruff: noqa: T201 - what it prints is its result

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LISTS = Path(__file__).parent / "mutations"
KERNELS = "src/ostinato/kernels"
TESTS = ["tests/test_cells.py", "tests/test_kernels.py", "tests/test_own_cells.py", "tests/test_tree_kernels.py"]
# printed anew, any other text would differ: that the text is right is for the other tests to tell
TESTS += ["--deselect", "tests/test_kernels.py::test_built_in_kernels_are_fresh"]
MINUTES = 60
"""Of the tests of the right kernels; wrong ones that take four times as long hang."""


class Mutant(NamedTuple):
    """One replacement in one file."""

    list: str
    name: str
    file: str
    old: str
    new: str


def read() -> list[Mutant]:
    """All that `mutations/` lists."""
    lists = ((path.stem, tomllib.loads(path.read_text())["mutant"]) for path in sorted(LISTS.glob("*.toml")))
    return [Mutant(name, **entry) for name, entries in lists for entry in entries]


def check(mutants: list[Mutant], root: Path) -> None:
    """Leave if a text that is to be replaced is not there exactly once, and name all of these."""
    counts = [(each, (root / KERNELS / each.file).read_text().count(each.old)) for each in mutants]
    stale = [
        f"{each.list}, {each.name}: {each.file} has {n} times, not once:\n{each.old}" for each, n in counts if n != 1
    ]
    if stale:
        sys.exit("\n".join(stale))


class Copy:
    """The source tree in a folder of its own, with a native module of one instruction set, quickly compiled."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.build = folder / "tree", folder / "build"
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        # an editable install finds its package before PYTHONPATH does
        hook = "sys.meta_path = [each for each in sys.meta_path if 'ScikitBuild' not in type(each).__name__]"
        (folder / "hook").mkdir()
        (folder / "hook/sitecustomize.py").write_text(f"import sys\n{hook}\n")
        path = os.pathsep.join([str(folder / "hook"), str(self.folder / "src")])
        self.environment = os.environ | {
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",  # what is kept of a file goes by its size and second
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }
        lists = self.folder / "CMakeLists.txt"
        lists.write_text(lists.read_text().replace("-O3", "-O1"))
        nanobind = self._run(sys.executable, "-m", "nanobind", "--cmake_dir").stdout.strip()
        options = [f"-Dnanobind_DIR={nanobind}", f"-DPython_EXECUTABLE={sys.executable}", "-DOSTINATO_ISAS=plain"]
        options += ["-DSKBUILD_PROJECT_NAME=ostinato", "-DSKBUILD_PROJECT_VERSION=mutant"]
        self._run("cmake", "-G", "Ninja", "-S", str(self.folder), "-B", str(self.build), *options)
        self.make()
        code = "import ostinato.kernels._native as native; print(native.__file__)"
        found = self._run(sys.executable, "-c", code).stdout
        if not found.startswith(str(folder)):
            sys.exit(f"the copy would be tested with {found.strip()}")

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "capture_output": True}
        done = subprocess.run(command, **options, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}")
        return done

    def make(self) -> None:
        """Build the native module and put it where it is imported from."""
        self._run("cmake", "--build", str(self.build))
        for library in self.build.glob("_native*"):
            shutil.copy(library, self.folder / KERNELS)

    def test(self, seconds: float) -> tuple[bool, str]:
        """Whether the tests pass in so much time, and the first that does not."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS]
        options: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "capture_output": True}
        try:
            done = subprocess.run(command, **options, text=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return False, f"no end after {seconds:.0f} s"
        if done.returncode < 0:
            return False, f"ended by signal {-done.returncode}"
        if done.returncode > 1:
            sys.exit(f"the tests did not run:\n{done.stdout}\n{done.stderr}")
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return done.returncode == 0, (failed[0].split(" - ")[0] if failed else done.stdout.splitlines()[-1])

    def survives(self, mutant: Mutant, seconds: float) -> tuple[bool, str]:
        """Whether the tests pass with one replacement, which is taken back then."""
        path = self.folder / KERNELS / mutant.file
        text = path.read_text()
        path.write_text(text.replace(mutant.old, mutant.new))
        try:
            self.make()  # in Python's too, for the module is still the last mutant's
            return self.test(seconds)
        finally:
            path.write_text(text)


def main() -> None:
    """Test the right kernels, then each wrong one."""
    mutants = read()
    if sys.argv[1:] == ["--check"]:
        return check(mutants, ROOT)
    wanted = [each for each in mutants if all(word in f"{each.list} {each.name}" for word in sys.argv[1:])]
    if not wanted:
        sys.exit(f"no mutant is called {' '.join(sys.argv[1:])}")
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        check(wanted, copy.folder)
        started = time.monotonic()
        passed, detail = copy.test(60 * MINUTES)
        print(f"{'passes' if passed else 'FAILS':10}unchanged: {detail}", flush=True)
        if not passed:
            sys.exit(1)
        patience = 60 + 4 * (time.monotonic() - started)
        survivors = 0
        for mutant in wanted:
            started = time.monotonic()
            survived, detail = copy.survives(mutant, patience)
            survivors += survived
            seconds = time.monotonic() - started
            print(f"{'SURVIVES' if survived else 'killed':10}{mutant.name} ({seconds:.0f} s): {detail}", flush=True)
    print(f"{len(wanted) - survivors} of {len(wanted)} killed")
    return sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
