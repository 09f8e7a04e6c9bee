"""The workshop's commands ``convert`` and ``parity``; everything heavy is imported inside them."""

from __future__ import annotations

import typer

from edge_xray_converter.convert_cli import convert_command
from edge_xray_converter.parity_cli import parity_command

PANEL = "Workshop"


def register(app: typer.Typer) -> None:
    """Add this room's commands to the front door.

    Args:
        app: the ``edge-xray`` application.
    """
    app.command("convert", rich_help_panel=PANEL)(convert_command)
    app.command("parity", rich_help_panel=PANEL)(parity_command)
