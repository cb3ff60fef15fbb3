#!/usr/bin/env bash
# Makes .venv with the packages of requirements.txt, and the gRPC code in generated/ from this repository's .proto files.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
[ -x .venv/bin/pip ] || python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
mkdir -p generated
.venv/bin/python -m grpc_tools.protoc -I ../../proto/proto --python_out=generated --grpc_python_out=generated \
  ../../proto/proto/*.proto
