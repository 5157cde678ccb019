"""The diffusion engine: holes in, text out. The only package of the project that imports torch."""
