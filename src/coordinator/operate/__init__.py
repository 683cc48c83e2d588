"""Read-only views of the coordination: what operators look at."""
