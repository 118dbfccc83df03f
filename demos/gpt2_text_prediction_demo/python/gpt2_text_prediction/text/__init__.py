"""Text to token ids and back: the tokenizer, the stream decoder, and the rules by which a text ends."""

from gpt2_text_prediction.text.stopping import StoppingDetokenizer
from gpt2_text_prediction.text.tokenizer import (
    END_OF_TEXT,
    GPT2Tokenizer,
    find_tokenizer_files,
    load_tokenizer,
    tokenizer_files,
)

__all__ = [
    "END_OF_TEXT",
    "GPT2Tokenizer",
    "StoppingDetokenizer",
    "find_tokenizer_files",
    "load_tokenizer",
    "tokenizer_files",
]
