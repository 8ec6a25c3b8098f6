"""Write Spack's files in one order: it keeps sets, so each run writes the same words in another one.

ordered.py PACKAGES.YAML PROVIDERS.JSON...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(words: list[str]) -> None:
    """Order the sections of packages.yaml, and the virtual packages and providers of each index."""
    packages = Path(words[0])
    head, *sections = packages.read_text().split("\n  ")
    whole: list[str] = []
    for each in sections:
        if each.startswith((" ", "-")):
            whole[-1] += f"\n  {each}"
        else:
            whole.append(each.rstrip("\n"))
    packages.write_text("\n  ".join([head, *sorted(each.rstrip("\n") for each in whole)]) + "\n")
    for name in words[1:]:
        index = json.loads(Path(name).read_text())
        found = index["provider_index"]["providers"]
        index["provider_index"]["providers"] = {
            virtual: sorted(([spec, sorted(those, key=json.dumps)] for spec, those in pairs), key=json.dumps)
            for virtual, pairs in sorted(found.items())
        }
        Path(name).write_text(json.dumps(index, separators=(",", ":")))


main(sys.argv[1:])
