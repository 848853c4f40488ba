"""``make bench NAME=…``: runs one benchmark; without a name it lists them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    """Run ``benchmarks/<name>.py`` as a program, or list what there is."""
    names = sorted(p.stem for p in FOLDER.glob("*.py") if not p.stem.startswith("_"))
    if len(sys.argv) < 2 or not sys.argv[1]:
        for name in names:
            lines = (FOLDER / f"{name}.py").read_text().splitlines()
            print(f"{name:12} {lines[0].strip(chr(34))}")
        return 0
    name = sys.argv.pop(1)
    if name not in names:
        print(f"there is no benchmark {name!r}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
