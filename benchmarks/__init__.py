"""How fast, and at what price. Each module measures one thing; `python -m benchmarks` runs all."""
