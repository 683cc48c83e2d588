"""Hands work between AI agents, dependably, with all state in PostgreSQL."""

__version__ = "0.1.0"
