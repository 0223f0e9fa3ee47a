"""Wrong kernels, one at a time: each must fail the tests. Exit code 1 if one survives, or if the right ones fail.

python tools/mutants.py            # all of them, some minutes
python tools/mutants.py zoneout    # those with the word in their name
"""

# ruff: noqa: T201 - what it prints is its result

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
KERNELS = "src/ostinato/kernels"
TESTS = ["tests/test_cells.py", "tests/test_kernels.py"]
MINUTES = 5
"""Of one run of the tests: a mutant that hangs is found out too."""


class Mutant(NamedTuple):
    """One replacement in one file."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "the recurrent product is zero",
        "passes.py",
        "new, p = p.inputs.new_empty, with_contiguous(p)",
        "new, p = p.inputs.new_empty, with_contiguous("
        "p._replace(weight_hh=None if p.weight_hh is None else torch.zeros_like(p.weight_hh)))",
    ),
    Mutant(
        "W_hh is transposed by gate",
        "passes.py",
        "new, p = p.inputs.new_empty, with_contiguous(p)",
        "h = p.state[0].shape[1]\n    new, p = p.inputs.new_empty, with_contiguous("
        "p._replace(weight_hh=None if p.weight_hh is None else p.weight_hh.unflatten(0, (-1, h)).mT.flatten(0, 1)))",
    ),
    Mutant(
        "the gates are packed in the opposite order",
        "native/plan.hpp",
        "pack_vector(weight + (gate * H + block * W) * depth,",
        "pack_vector(weight + ((G - 1 - gate) * H + block * W) * depth,",
    ),
    Mutant(
        "the backward product reads the gates in the opposite order",
        "native/backward.hpp",
        "u < plan.H ? static_cast<const T*>(weight) + (g * plan.H + u) * columns : nullptr;",
        "u < plan.H ? static_cast<const T*>(weight) + ((plan.G - 1 - g) * plan.H + u) * columns : nullptr;",
    ),
    Mutant(
        "bias_hh is dropped",
        "passes.py",
        "new, p = p.inputs.new_empty, with_contiguous(p)",
        "new, p = p.inputs.new_empty, with_contiguous(p._replace(bias_hh=None))",
    ),
    Mutant(
        "the initial state is ignored",
        "native/plan.hpp",
        "if (from < 0 || from >= length(b)) return static_cast<const T*>(layer.initial[part]) + b * H;",
        "if (from < 0 || from >= length(b)) return zeros;",
    ),
    Mutant(
        "the initial state is ignored where it is carried in place",
        "native/forward.hpp",
        "      if (carried[p])\n        std::memcpy(carried[p] + i * plan.padded + from, "
        "static_cast<const T*>(l.initial[p]) + b * plan.H + from,\n                    sizeof(T) * (to - from));",
        "      if (carried[p]) std::memset(carried[p] + i * plan.padded + from, 0, sizeof(T) * (to - from));",
    ),
    Mutant(
        "lengths are ignored",
        "native/plan.hpp",
        "INLINE int64_t length(int64_t b) const { return layer.lengths ? layer.lengths[b] : layer.steps; }",
        "INLINE int64_t length(int64_t) const { return layer.steps; }",
    ),
    Mutant(
        "the outputs beyond a row's length are not zero",
        "native/forward.hpp",
        "for (int64_t t = length; l.history[p] && t < l.steps; ++t)",
        "for (int64_t t = length + 1; l.history[p] && t < l.steps; ++t)",
    ),
    Mutant(
        "the opposite direction runs forwards",
        "native/plan.hpp",
        "return layer.reverse ? layer.steps - 1 - s : s;",
        "return s;",
    ),
    Mutant(
        "the opposite direction starts at the padded end",
        "native/plan.hpp",
        "if (from < 0 || from >= length(b))",
        "if (from < 0 || from >= layer.steps)",
    ),
    Mutant(
        "resets are ignored by the recurrent product",
        "native/forward.hpp",
        "(l.resets || from_start(t, b))",
        "from_start(t, b)",
    ),
    Mutant(
        "resets are ignored where the state is carried in place",
        "native/forward.hpp",
        "carried[p] && from != plan.zeros ? carried[p]",
        "carried[p] ? carried[p]",
    ),
    Mutant(
        "resets are ignored in the backward pass",
        "native/backward.hpp",
        "carried[p][m][u] = reset ? T(0) : carried[p][m][u] +",
        "carried[p][m][u] = carried[p][m][u] +",
    ),
    Mutant(
        "a new value that zoneout keeps out comes in",
        "native/forward.hpp",
        "else if (stay[u] < T(0.5)) to[u] = fresh + stay[u] * (before[p][m][u] - fresh);",
        "else if (stay[u] < T(0.5)) to[u] = fresh;",
    ),
    Mutant(
        "the gradient that goes around the cell by zoneout is dropped",
        "native/backward.hpp",
        "carried[p][m][u] + stayed[p][i * plan.padded + u]",
        "carried[p][m][u]",
    ),
    Mutant(
        "zoneout lets the whole gradient into the cell",
        "native/backward.hpp",
        "carried[p][m][u] = d - kept;",
        "carried[p][m][u] = d;",
    ),
    Mutant(
        "the gradient of the last state is ignored",
        "native/backward.hpp",
        "if (plan.layer.d_final[p])",
        "if (plan.layer.d_final[p] && plan.B < 0)",
    ),
    Mutant(
        "the gradient by the initial state is zero",
        "native/backward.hpp",
        "std::memcpy(static_cast<T*>(l.d_initial[p]) + b * H, carry[p] + i * plan.padded, sizeof(T) * H);",
        "std::memset(static_cast<T*>(l.d_initial[p]) + b * H, 0, sizeof(T) * H);",
    ),
    Mutant(
        "the gradient by W_hh lacks the first step",
        "native/backward.hpp",
        "hidden[base + i] = before[0][n];",
        "hidden[base + i] = s ? before[0][n] : plan.zeros;",
    ),
    Mutant(
        "the gradients by weights are those of the first steps alone",
        "native/backward.hpp",
        "      first = false;\n",
        "",
    ),
    Mutant(
        "low_memory forgets the gradients by weights of the pieces before",
        "native/backward.hpp",
        "bool first = !l.accumulate;",
        "bool first = true;",
    ),
    Mutant(
        "low_memory forgets the gradients by vectors of the pieces before",
        "native/backward.hpp",
        "T total = l.accumulate ? static_cast<T*>(l.d_vectors)[v * H + u] : T(0);",
        "T total = T(0);",
    ),
    Mutant(
        "low_memory does not carry the gradient from piece to piece",
        "passes.py",
        "        d_final = list(out.state)\n",
        "",
    ),
    Mutant(
        "the gradients by vectors are those of one thread",
        "native/backward.hpp",
        "for (int n = 0; n < plan.threads; ++n) total += d_vectors",
        "for (int n = 0; n < 1; ++n) total += d_vectors",
    ),
    Mutant(
        "every thread takes the rows of the first",
        "native/plan.hpp",
        "return by_units ? 0 : thread * run_of_rows();",
        "return by_units ? 0 : 0 * thread;",
    ),
    Mutant(
        "two saved gates of the LSTM are swapped",
        "native/cells.inc",
        "      const V n14 = n13 * saved_1;\n      const V n15 = V(T(1.0)) - saved_2;",
        "      const V n14 = n13 * saved_2;\n      const V n15 = V(T(1.0)) - saved_1;",
    ),
    Mutant(
        "saved values of an own cell are read in the opposite order",
        "emit.py",
        'out.given(node, f"saved_{at}", f"V::load(t.saved[m] + {at} * t.stride + u)")',
        'out.given(node, f"saved_{at}", f"V::load(t.saved[m] + {len(saved) - 1 - at} * t.stride + u)")',
    ),
    Mutant(
        "a maximum loses NaN",
        "native/vec.hpp",
        "return select(ge(a, b), a, select(ne(a, a), a, b)); }",
        "return select(ge(a, b), a, b); }",
    ),
    Mutant(
        "tanh is 1 too soon",
        "native/vec.hpp",
        "const T edge = sizeof(T) == 4 ? T(20) : T(44);",
        "const T edge = sizeof(T) == 4 ? T(14) : T(36);",
    ),
    Mutant(
        "log1p is log of the sum",
        "native/vec.hpp",
        "corrected = log(u) - ((u - one) - x) / u;",
        "corrected = log(u);",
    ),
    Mutant(
        "a power's square is left out",
        "emit.py",
        'return _apply("*", squared, base) if exponent % 2 else squared',
        'return _apply("*", squared, base) if exponent % 2 else half',
    ),
    Mutant(
        "the second derivative forgets the gradient of the outputs",
        "operator.py",
        "*d_weights, None, None, *nothing, found[9 + count :]",
        "*d_weights, None, None, *nothing, [None] * len(given)",
    ),
    Mutant(
        "a signal is not asked for",
        "native/bindings.cpp",
        "return PyErr_CheckSignals() != 0;",
        "return false;",
    ),
]


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

    def test(self) -> tuple[bool, str]:
        """Whether the tests pass, and the first that does not."""
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS]
            options: dict[str, Any] = {"cwd": self.folder, "env": self.environment | {"OSTINATO_CACHE": cache}}
            try:
                done = subprocess.run(
                    command, **options, capture_output=True, text=True, check=False, timeout=60 * MINUTES
                )
            except subprocess.TimeoutExpired:
                return False, f"no end after {MINUTES} minutes"
        if done.returncode < 0:
            return False, f"ended by signal {-done.returncode}"
        if done.returncode > 1:
            sys.exit(f"the tests did not run:\n{done.stdout}\n{done.stderr}")
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return done.returncode == 0, (failed[0].split(" - ")[0] if failed else done.stdout.splitlines()[-1])

    def survives(self, mutant: Mutant) -> tuple[bool, str]:
        """Whether the tests pass with one replacement, which is taken back then."""
        path = self.folder / KERNELS / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            sys.exit(f"{mutant.name}: {mutant.file} has {text.count(mutant.old)} times, not once:\n{mutant.old}")
        path.write_text(text.replace(mutant.old, mutant.new))
        try:
            self.make()  # in Python's too, for the module is still the last mutant's
            return self.test()
        finally:
            path.write_text(text)


def main() -> None:
    """Test the right kernels, then each wrong one."""
    wanted = [mutant for mutant in MUTANTS if all(word in mutant.name for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        passed, detail = copy.test()
        print(f"{'passes' if passed else 'FAILS':10}unchanged: {detail}", flush=True)
        if not passed:
            sys.exit(1)
        survivors = 0
        for mutant in wanted:
            started = time.monotonic()
            survived, detail = copy.survives(mutant)
            survivors += survived
            seconds = time.monotonic() - started
            print(f"{'SURVIVES' if survived else 'killed':10}{mutant.name} ({seconds:.0f} s): {detail}", flush=True)
    print(f"{len(wanted) - survivors} of {len(wanted)} killed")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
