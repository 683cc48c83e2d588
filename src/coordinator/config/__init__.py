"""The configuration: one frozen `Settings`, gathered from flags, environment, file and defaults."""

from coordinator.config.settings import RELOADABLE, Changes, Described, Settings, changes

__all__ = ["RELOADABLE", "Changes", "Described", "Settings", "changes"]
