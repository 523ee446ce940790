"""How a run ends that cannot say anything about the package."""


class CompatError(RuntimeError):
    """The tests cannot be run; the text says why, and what to do."""
