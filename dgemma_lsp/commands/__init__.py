"""The commands, one per file: what they take and what they print. What is heavy is imported when one runs."""
