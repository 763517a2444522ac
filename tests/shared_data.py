"""Real data beside the project's root; tests that need it are skipped where it is absent."""

from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared"
