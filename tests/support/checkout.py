"""Paths within the checkout under test, and of data that may be beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared"
"""Real videos and real OpenFace output; absent from a user's clone."""
