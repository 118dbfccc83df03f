"""`python -m gpt2_text_prediction`: the demo."""

import sys

from gpt2_text_prediction.cli.commands import demo

if __name__ == "__main__":
    sys.exit(demo())
