"""The one exception for wrong input: its message is one line that says what was found and what is allowed."""


class InputError(ValueError):
    """A configuration, name, file or device that cannot be used."""
