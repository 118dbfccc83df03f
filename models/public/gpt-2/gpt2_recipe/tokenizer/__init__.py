"""A checkpoint's tokenizer: vocabulary, merges and added tokens, checked, and the files to put beside the IR."""

from gpt2_recipe.tokenizer.added_tokens import END_OF_TEXT, AddedToken, from_fact
from gpt2_recipe.tokenizer.tokenizer_json import TokenizerSettings, is_gpt2_split, make_tokenizer_json

__all__ = ["END_OF_TEXT", "AddedToken", "TokenizerSettings", "from_fact", "is_gpt2_split", "make_tokenizer_json"]
