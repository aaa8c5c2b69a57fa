#!/bin/sh
# Builds the add-on and puts it beside index.js. It needs cargo alone, neither npm nor headers of Node.js.
set -eu
cd "$(dirname "$0")"
cargo build --release --locked -p fastjson_node "$@"
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
# A new file under the name, not new bytes in the old one: a program that has loaded it goes on.
cp "$target/release/libfastjson_node.so" fastjson.node.new
mv fastjson.node.new fastjson.node
