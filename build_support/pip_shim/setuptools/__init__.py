"""Stands in for setuptools while pip downloads the pinned archives, see ../../fetch.py."""
