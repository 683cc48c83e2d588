"""The commands: the only place that reads the environment and sets exit codes."""

from coordinator.cli.app import main

__all__ = ["main"]
