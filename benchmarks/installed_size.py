"""Measure what an environment takes on disk, by distribution.

    python benchmarks/installed_size.py ENVIRONMENT [--most MIB]

ENVIRONMENT is a virtual environment's folder. pip and setuptools are listed and not counted: a device
needs neither once the kit is installed. With ``--most`` the exit code is 1 when the sum is larger.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

MIB: Final = 2**20
INSTALLERS: Final = frozenset({"pip", "setuptools", "wheel"})


def size_of(distribution: Distribution) -> int:
    """Bytes of a distribution's files, compiled bytecode included.

    Args:
        distribution: an installed one, with its list of files (RECORD).
    """
    paths = {Path(str(file.locate())) for file in distribution.files or ()}
    return sum(path.stat().st_size for path in paths if path.is_file())


def installed_sizes(environment: Path) -> dict[str, int]:
    """Bytes by distribution name and version.

    Args:
        environment: a virtual environment's folder.
    """
    folders = [
        str(folder)
        for pattern in ("lib/python3*/site-packages", "Lib/site-packages")
        for folder in environment.glob(pattern)
    ]
    return {
        f"{distribution.metadata['Name']} {distribution.version}": size_of(distribution)
        for distribution in distributions(path=folders)
    }


def main() -> int:
    """Print the table, largest first."""
    parser = argparse.ArgumentParser(description="What an environment takes on disk.")
    parser.add_argument("environment", type=Path, help="a virtual environment's folder")
    parser.add_argument("--most", type=float, metavar="MIB", help="fail above this many MiB")
    arguments = parser.parse_args()
    sizes = installed_sizes(arguments.environment)
    total = 0
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        counted = name.split()[0].lower() not in INSTALLERS
        total += size if counted else 0
        print(f"{size / MIB:8.1f} MiB  {name}{'' if counted else '  (not counted)'}")
    print(f"{total / MIB:8.1f} MiB  in all")
    if not sizes:
        print(f"{arguments.environment}: expected a virtual environment, found no packages")
        return 2
    return int(arguments.most is not None and total / MIB > arguments.most)


if __name__ == "__main__":
    sys.exit(main())
