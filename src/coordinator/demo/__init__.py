"""The main job on a server of one's own: shown by three agents (demo), or to build on (dev)."""

from coordinator.demo.development import dev
from coordinator.demo.show import demo

__all__ = ["demo", "dev"]
