"""The command line ``mlp``."""

from __future__ import annotations

from app.cli.program import main

__all__ = ["main"]
