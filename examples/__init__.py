"""The examples of the documentation, each a module that runs; `demo.py` runs them all."""
