"""What goes wrong by a user's input or set-up; everything else is a bug and stays loud."""


class UserError(Exception):
    """One line that says what is wrong and what to do about it."""
