"""What comes from the hub, when the user asks for it: refusals · repository · download · report.

The only room that uses the network, and only as `python -m dgemma_engine.hub`, a process of its own.
"""
