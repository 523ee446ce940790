"""Watching over Redis. Run one with `python -m examples.operations.monitoring` and so on."""
