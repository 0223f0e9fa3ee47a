"""Write the built-in cells' kernels (`cells.inc`), or with --check see whether the file is what the equations give."""

from __future__ import annotations

import sys
from pathlib import Path

from ostinato.cells import CELLS
from ostinato.kernels.cell_kernels import why_no_kernel
from ostinato.kernels.emit import emit

TARGET = Path(__file__).parents[1] / "src/ostinato/kernels/native/cells.inc"
HEADER = "// Printed from the equations in Python by tools/emit_cells.py: change those, and run it again.\n"


def generate() -> str:
    """The file's text; cells of the same equations stand there once."""
    kinds = [kind for kind in CELLS.values() if why_no_kernel(kind) is None]
    wanted = [(kind, False) for kind in kinds] + [(kind, True) for kind in kinds if kind.normalises]
    codes = {code.fingerprint: code for code in (emit(*each) for each in wanted)}
    functions = "\n".join(code.functions for code in codes.values())
    entries = ",\n    ".join(code.entry for code in codes.values())
    return f"{HEADER}\n{functions}\nconst Cell CELLS[] = {{\n    {entries},\n}};\n"


if __name__ == "__main__":
    text = generate()
    if "--check" in sys.argv:
        if TARGET.read_text() != text:
            sys.exit(f"{TARGET} is not what the equations give: run python tools/emit_cells.py")
    else:
        TARGET.write_text(text)
