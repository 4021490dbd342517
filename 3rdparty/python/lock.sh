#!/usr/bin/env bash
# Makes every lock file anew from the .in files. Needs `uv` (pip install uv) and a package index, nothing else.
#
#   3rdparty/python/lock.sh                        keep the locked versions where the .in files still allow them
#   3rdparty/python/lock.sh --upgrade              take the newest versions
#   3rdparty/python/lock.sh --upgrade-package X    take the newest X
#
# The locks are plain requirement files with hashes and no addresses: Pants' own lock format records where each file
# was downloaded.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
root="$(cd ../.. && pwd)"
command -v uv >/dev/null || { echo "lock.sh: uv is needed: pip install uv" >&2; exit 2; }
python="$(command -v python3.11 || command -v python3)"

# The index and wheel folders that pip is configured with; PyTorch's CPU page where no folder holds our torch.
mapfile -t index < <("$python" -I -S "$root/build-support/pants/settings.py" uv-index | sed '/^$/d')
mapfile -t find_links < <("$python" -I -S "$root/build-support/pants/settings.py" uv-find-links)

# compile LOCK IN [options]; uv reads no pip.conf, so the extra indexes of this machine cannot leak in.
compile() {
  local lock="$1" input="$2"
  shift 2
  uv pip compile --quiet --no-config --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 ${index[@]+"${index[@]}"} \
    "$@" --output-file "$lock" "$input" >/dev/null
  echo "$lock: $(grep -c '^[a-zA-Z0-9]' "$lock") packages"
}

compile default.lock default.in "${find_links[@]}" "$@"
grep -q '^torch==.*+cpu ' default.lock || { echo "lock.sh: default.lock did not get a CPU build of torch" >&2; exit 1; }
# The same packages at the same versions, but the index's own (CUDA) torch. Never both in one file: pip would then
# be free to take either.
trap 'rm -f same-versions.txt' EXIT  # a fixed name, since the lock quotes it
grep -v '^torch==' default.lock | grep -E '^[a-zA-Z0-9].*==' | sed 's/ *\\$//' >same-versions.txt
compile default.cuda.lock default.in --constraint same-versions.txt "$@"

# Each tool has a resolve of its own, since Pants installs the whole of it; versions agree with the code's.
for tool in mypy pytest ruff setuptools shellcheck; do
  compile "$tool.lock" "$tool.in" --constraint default.lock "${find_links[@]}" "$@"
done

# The official scoring needs an older pandas than our code has.
compile scoring.lock scoring.in "$@"

# The ISIC Archive's client runs as a program of its own, beside our packages.
compile isic.lock isic.in "$@"
