"""Our own DiffusionGemma: config · cache · attention · experts · layers · diffusion_gemma · load."""

from .cache import KVCache
from .config import ModelConfig, NanoTraits, read_config
from .diffusion_gemma import DiffusionGemma
from .load import load_model

__all__ = ["DiffusionGemma", "KVCache", "ModelConfig", "NanoTraits", "load_model", "read_config"]
