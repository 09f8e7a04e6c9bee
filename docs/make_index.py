"""Write ``models.json``: which models are shipped, with the hash of each whole file.

python docs/make_index.py models --default edge-xray-lite0
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from edge_xray.labelled import file_sha256


def main() -> int:
    """Parse the command line and write the index."""
    parser = argparse.ArgumentParser(description="Write models.json.")
    parser.add_argument("models", type=Path)
    parser.add_argument("--default", required=True, help="name of the model used by default")
    arguments = parser.parse_args()
    models = {
        path.stem: {"file": path.name, "sha256": file_sha256(path)}
        for path in sorted(arguments.models.glob("*.tflite"))
    }
    if arguments.default not in models:
        parser.error(f"--default must be one of {sorted(models)}, got {arguments.default!r}")
    text = json.dumps({"default": arguments.default, "models": models}, indent=1) + "\n"
    (arguments.models / "models.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
