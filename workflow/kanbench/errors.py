"""The one exception for wrong input: its message is one line that says what was found and what is allowed."""


class InputError(ValueError):
    """A configuration, name, file or device that cannot be used."""


def one_line(text: object) -> str:
    """Text from a file as one line that a terminal shows as it is: no line breaks, no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
