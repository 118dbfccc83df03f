#!/usr/bin/env bash
# The tests that need the real Model Optimizer, which ended with openvino-dev 2024.6.0: no Python above 3.12 has it.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.ci-venv-mo/bin/python
if [ ! -x $python ]; then
    fitting=
    for candidate in python3 python3.12 python3.11 python3.10; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
            fitting=$candidate
            break
        fi
    done
    if [ -z "$fitting" ]; then
        echo "Skipped: openvino-dev needs Python 3.12 or older, and $(python3 --version) is all there is here"
        exit 0
    fi
    "$fitting" -m venv .ci-venv-mo
fi
$python -m pip install --quiet --disable-pip-version-check --requirement .ci/model_optimizer.txt

OMZ_TEST_MODEL_OPTIMIZER="$PWD/$python" .ci-venv/bin/python -m pytest -k "model_optimizer or openvino_2024" \
    tests/omz_model_tools/convert/onnx/test_model_optimizer.py tests/parity/test_roads.py tests/flows/test_onnx_zoo.py \
    tests/flows/test_omz_gpt2.py
