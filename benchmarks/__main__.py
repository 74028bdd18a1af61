"""List the benchmarks, or run one of them: ``make bench ARGS=cluster``."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path
from pkgutil import iter_modules

HERE = Path(__file__).resolve().parent


def found() -> dict[str, str]:
    """Return the name of each benchmark, and what it says of itself."""
    listed = {}
    for module in iter_modules([str(HERE)]):
        if not module.name.startswith("_"):
            text = (HERE / module.name / "__main__.py" if module.ispkg else HERE / f"{module.name}.py").read_text()
            if '__name__ == "__main__"' in text:  # the others are parts of these
                listed[module.name] = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    return listed


def main() -> int:
    """Run the one that is named, with the rest of the arguments."""
    known = found()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in known:
        print("Which one? make bench ARGS=NAME, with options of its own behind the name:")
        print("\n".join(f"  {name:14} {said}" for name, said in known.items()))
        return int(bool(name))
    sys.argv = [f"make bench ARGS={name}", *sys.argv[2:]]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
