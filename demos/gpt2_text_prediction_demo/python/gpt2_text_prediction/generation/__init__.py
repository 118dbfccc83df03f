"""Token ids from logits: logits processors, sampling, beam search, prompt lookup, and the requests that use them."""

from gpt2_text_prediction.generation.request import GenerateRequest, Prompt, RequestParams
from gpt2_text_prediction.generation.sampling import Sampling, choose
from gpt2_text_prediction.generation_config import read_generation_config

__all__ = ["GenerateRequest", "Prompt", "RequestParams", "Sampling", "choose", "read_generation_config"]
