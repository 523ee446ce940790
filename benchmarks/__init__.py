"""Reproducible comparison of asyncio Redis clients: ``python -m benchmarks``."""
