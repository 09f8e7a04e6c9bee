"""What a run leaves in its folder, by name."""

from __future__ import annotations

from edge_xray.unseen_films import SPLIT_NAME

STATE_FILE = "state.keras"
"""Where training goes on: weights, optimizer, history."""

BEST_FILE = "best.weights.h5"
MODEL_FILE = "model.keras"
RECORD_FILE = "record.json"
CURVES_FILE = "curves.png"

LOCK_FILE = "run.lock"
"""Keeps a second run out of the folder: both would write one checkpoint."""

RUN_FILES = (STATE_FILE, BEST_FILE, MODEL_FILE, RECORD_FILE, SPLIT_NAME)
"""What --restart throws away."""
