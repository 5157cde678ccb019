"""How nano was made, and can be made again."""
