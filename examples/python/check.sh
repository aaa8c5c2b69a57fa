#!/usr/bin/env bash
# Builds the module once, and tests it under each Python that is installed: `bash examples/python/check.sh [options of maturin build]`.
#
# The first Python of the PATH and the system's run all tests, each in an environment of its own below the target folder; the others of pyenv
# run the benchmark on small input, which compares with the serial code. Exit status 3 says that a tool is missing; the last line says which.
set -euo pipefail
cd "$(dirname "$0")"
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/python

missing() { echo "$*"; exit 3; }
# The executable itself, in place of a link or of pyenv's script that looks for it.
executable() { "$1" -c 'import os, sys; sys.version_info >= (3, 9) and print(os.path.realpath(sys.executable))' 2>/dev/null || true; }
is_among() { case " $2 " in *" $1 "*) true ;; *) false ;; esac }

tested=
for interpreter in $(type -ap python3) /usr/bin/python3; do
  found=$(executable "$interpreter")
  [ -z "$found" ] || is_among "$found" "$tested" || tested="$tested $found"
done
[ -n "$tested" ] || missing "there is no Python from 3.9 on"

rm -rf "$target"
mkdir -p "$target"
wheel=
for interpreter in $tested; do
  environment=$target/$(echo "$interpreter" | tr -c 'a-zA-Z0-9.\n' _)
  if ! "$interpreter" -m venv "$environment" >"$environment.log" 2>&1; then
    echo "no tests under $interpreter: it cannot make a virtual environment"
    continue
  fi
  if ! timeout 200 "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt >"$environment.log" 2>&1; then
    tail -n 3 "$environment.log"
    missing "maturin, pytest or gunicorn cannot be had"
  fi
  if [ -z "$wheel" ]; then
    "$environment/bin/maturin" build --quiet --locked --interpreter "$environment/bin/python" --out "$target/wheels" "$@"
    wheel=$(echo "$target"/wheels/*.whl)
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --target "$target/plain" "$wheel"
  fi
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$wheel"
  echo "under $interpreter:"
  timeout 180 "$environment/bin/python" -m pytest --quiet
  "$environment/bin/python" -m fastjson.bench --rounds 3
done
[ -n "$wheel" ] || missing "no Python can make a virtual environment"

for interpreter in "${HOME:-}"/.pyenv/versions/*/bin/python3; do
  found=$(executable "$interpreter")
  if [ -n "$found" ] && ! is_among "$found" "$tested"; then
    PYTHONPATH=$target/plain "$found" -m fastjson.bench --records 20000 --rounds 2
  fi
done
