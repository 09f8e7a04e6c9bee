"""Where the process begins, as ``edge-xray`` and as ``python -m edge_xray``.

What the command line imports takes a tenth of a second, and Ctrl-C in it is no error either.
"""

from __future__ import annotations

import sys

from edge_xray.errors import ExitCode


def main() -> int:
    """Run the command of the process; returns its exit code, see `edge_xray.cli.main`."""
    try:
        from edge_xray import cli

        return cli.main()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
