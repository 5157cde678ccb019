"""What traits are worth, in nats: a table a file, each written by `python -m bench.markdown_fit`.

Fitted by maximum likelihood: from the markdown of published packages one mark or line after the other was deleted, and
the weights make the place where it had stood the likeliest of all places that were tried.
"""
