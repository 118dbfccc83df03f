#!/usr/bin/env bash
# The table of docs/install.md: the wheel in an empty environment of each Python, with each OpenVINO, and the three
# commands on gpt-2-mini. Not a part of .ci/run, whose machine has one Python: bash .ci/try_versions.sh python3.10 ...
set -euo pipefail
cd "$(dirname "$0")/.."
openvinos=${OPENVINOS:-"2025.0.0 2025.2.0 2025.4.1 2026.0.0 2026.4.1"}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

attempt() { # python openvino
    local bin=$folder/environment/bin
    "$1" -m venv "$folder/environment" && mkdir "$folder/work" && cd "$folder/work" &&
        "$bin/python" -m pip install --quiet --disable-pip-version-check "$folder"/dist/*.whl openvino=="$2" &&
        "$bin/omz_downloader" --name gpt-2-mini &&
        "$bin/omz_converter" --name gpt-2-mini &&
        "$bin/gpt2_text_prediction_demo" -m public/gpt-2-mini/FP16/gpt-2-mini.xml -i "The poem was written by"
}

git archive --prefix=source/ HEAD | tar x -C "$folder" # what pip builds from, it leaves files in
"$1" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$folder/dist" "$folder/source"
for python in "$@"; do
    for openvino in $openvinos; do
        rm -rf "$folder/environment" "$folder/work"
        result=ok
        (attempt "$python" "$openvino") >"$folder/log" 2>&1 || result="$(tail -n 1 "$folder/log")"
        printf '%s | openvino %s | %s %s | %s\n' \
            "$("$python" -V)" "$openvino" "$(uname -s)" "$(uname -m)" "$result"
    done
done
