"""Our own DiffusionGemma: config · cache · attention · experts · layers · diffusion_gemma · load."""

from .cache import KVCache
from .config import ModelConfig, NanoTraits, read_config
from .diffusion_gemma import DiffusionGemma
from .load import load_model
from .rows import Rows

__all__ = ["DiffusionGemma", "KVCache", "ModelConfig", "NanoTraits", "Rows", "load_model", "read_config"]
