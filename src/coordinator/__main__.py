"""Lets `python -m coordinator` stand in for the `coordinator` script."""

from coordinator.cli import main

if __name__ == "__main__":
    main()
