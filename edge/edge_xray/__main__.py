"""Where the process begins, as ``edge-xray`` and as ``python -m edge_xray``.

What the command line imports takes a tenth of a second, and Ctrl-C in it is no error either; nor is it in the
moments at the end, when processes that decoded films are ended.
"""

from __future__ import annotations

import os
import sys

from edge_xray.errors import ExitCode


def main() -> int:
    """Run the command of the process; returns its exit code, see `edge_xray.cli.main`."""
    # NumPy's linear algebra starts a thread for each processor, which spins while it waits for work that never comes: a
    # third of a short scan's CPU time. Whoever wants them can say so.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from edge_xray import cli

        return cli.main()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    finally:
        import signal

        # All is done and said, and the process ends in a second or two by itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
