"""The long-running process: passes, leadership, listener link, health and service manager."""
