#!/usr/bin/env python3
"""The demo from a bare checkout; installed, the command gpt2_text_prediction_demo is the same."""

import sys

from gpt2_text_prediction.cli.commands import demo

if __name__ == "__main__":
    sys.exit(demo())
