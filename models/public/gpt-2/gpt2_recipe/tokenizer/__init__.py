"""A checkpoint's tokenizer: vocabulary, merges and added tokens, checked, and the files to put beside the IR."""

from gpt2_recipe.tokenizer.added_tokens import END_OF_TEXT, AddedToken, from_fact

__all__ = ["END_OF_TEXT", "AddedToken", "from_fact"]
