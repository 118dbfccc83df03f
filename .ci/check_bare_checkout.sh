#!/usr/bin/env bash
# The demo's script must run from a checkout with only its own requirements installed: no package of ours.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=demos/gpt2_text_prediction_demo/python
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

.venv/bin/omz_downloader --name gpt-2-mini -o "$folder"
.venv/bin/omz_converter --name gpt-2-mini -d "$folder" --precisions FP16
python3 -m venv "$folder/bare"
"$folder/bare/bin/python" -m pip install --quiet --disable-pip-version-check --requirement $demo/requirements.txt
"$folder/bare/bin/python" -W error $demo/gpt2_text_prediction_demo.py \
    -m "$folder/public/gpt-2-mini/FP16/gpt-2-mini.xml" -i "The poem was written by"
