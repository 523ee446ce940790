"""What setup.py is made of: the vendored sources, the toolchain checks and the compile step."""
