#!/bin/sh
# Make a virtual environment with the engine, its command line and the development tools.
# Usage: tools/install.sh FOLDER      ($PYTHON names the interpreter)
set -eu
venv=$1
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"

if ! "$venv/bin/python" -c "import torch" 2>/dev/null; then
    echo "Installing torch 2.13.0"
    # Without a GPU the CPU build saves gigabytes, where its index can be reached.
    command -v nvidia-smi >/dev/null 2>&1 ||
        $pip install --retries 0 --timeout 10 torch==2.13.0 \
            --index-url https://download.pytorch.org/whl/cpu >/dev/null 2>&1 ||
        true
    "$venv/bin/python" -c "import torch" 2>/dev/null || $pip install torch==2.13.0
fi
echo "Installing the engine and its tools"
$pip install -e ".[cli,dev]"
