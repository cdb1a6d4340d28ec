"""Errors that a user of griddispatch can mend."""


class InputError(ValueError):
    """Wrong input: a file, a row, a field or a parameter.

    The message names what is wrong, where it stands, and what to do about it.
    """
