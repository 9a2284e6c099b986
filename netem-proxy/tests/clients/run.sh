#!/bin/sh
# Toxiproxy's clients in other languages drive `netem-proxy serve`, each unchanged and from its registry:
#   toxiproxy-python (PyPI), toxiproxy-node-client (npm), toxiproxy_rust (crates.io).
#
# The Rust one is not a dev-dependency of the workspace because it needs the system's OpenSSL to build, and `cargo test`
# is to need a Rust toolchain only.
#
#   tests/clients/run.sh [NETEM_PROXY]     the binary; default: what `cargo build -p netem-proxy` makes
#
# Everything is installed into a temporary folder. What cannot be installed (no interpreter, no registry) is skipped, loudly;
# exit 0 unless a client fails.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=
finish() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

skip() {
    echo "SKIP $1: $2" >&2
}

if [ $# -gt 0 ]; then
    binary=$1
else
    (cd "$here" && cargo build --quiet --package netem-proxy --bin netem-proxy)
    target=$(cd "$here" && cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    binary=$target/debug/netem-proxy
fi

: >"$work/address"
"$binary" serve -port 0 -seed 7 >"$work/address" 2>"$work/log" &
server=$!
address=
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    address=$(sed -n 's/^listening on //p' "$work/address")
    if [ -n "$address" ]; then break; fi
    sleep 0.1
done
if [ -z "$address" ]; then
    cat "$work/log" >&2
    echo "error: $binary serve does not start" >&2
    exit 1
fi

failed=0
# name, then the command; each gets the address as its last argument.
drive() {
    name=$1
    shift
    if "$@" "$address"; then
        echo "ok   $name"
    else
        echo "FAIL $name" >&2
        failed=1
    fi
}

if ! command -v python3 >/dev/null; then
    skip toxiproxy-python "there is no python3"
elif ! { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet toxiproxy-python==0.1.1; } >"$work/pip" 2>&1; then
    skip toxiproxy-python "it cannot be installed: $(tail -n 1 "$work/pip")"
else
    drive toxiproxy-python "$work/venv/bin/python" "$here/python_client.py"
fi

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    skip toxiproxy-node-client "there is no node, or no npm"
elif ! (mkdir "$work/node" && cd "$work/node" && npm install --silent --no-audit --no-fund toxiproxy-node-client@4.1.0) >"$work/npm" 2>&1; then
    skip toxiproxy-node-client "it cannot be installed: $(tail -n 1 "$work/npm")"
else
    cp "$here/node_client.mjs" "$work/node/"
    drive toxiproxy-node-client node "$work/node/node_client.mjs"
fi

cp -r "$here/rust" "$work/rust"
if ! cargo build --quiet --manifest-path "$work/rust/Cargo.toml" --target-dir "${CLIENTS_TARGET_DIR:-$work/target}" >"$work/cargo" 2>&1; then
    skip toxiproxy_rust "it cannot be built: $(grep -m 1 '^error' "$work/cargo" || tail -n 1 "$work/cargo")"
else
    drive toxiproxy_rust "${CLIENTS_TARGET_DIR:-$work/target}/debug/rust-client"
fi

exit $failed
