#!/bin/sh
# Makes the virtual environment build/peer with a current PyTorch, for `make bench`: sh tests/bench/peer.sh [VERSION]
#
# The package index has PyTorch for Linux only as it is built for CUDA, which asks for 2.7 GB of libraries for graphics cards.
# On the CPU nothing of them is ever called, but the program loader wants to find them. So PyTorch is installed without them,
# and libraries that hold their names alone take their places: 1.5 GB on disk instead of 6. Only CUDA's small run-time
# libraries, which PyTorch calls while it starts, are the real ones. If that fails, everything is installed.
set -e
cd "$(dirname "$0")/../.."
peer=build/peer
torch="torch${1:+==$1}"
python=$peer/bin/python

say() { printf 'bench-peer: %s\n' "$*"; }
pip() { "$python" -m pip --quiet --disable-pip-version-check "$@"; }
works() { "$python" -W ignore -c 'import torch; torch.rand(2, 2) @ torch.rand(2, 2); print(torch.__version__)' 2>/dev/null; }

# What torch asks for: its pure Python packages, or those of CUDA's run time in the versions that it names.
requirements() {
    "$python" - "$1" <<'END'
import importlib.metadata
import re
import sys
for line in importlib.metadata.requires("torch"):
    requirement, _, marker = line.partition(";")
    if "extra" in marker:
        continue
    toolkit = re.match(r"cuda-toolkit\[.*\](.*)", requirement)
    if sys.argv[1] == "cuda" and toolkit:
        print("cuda-toolkit[cudart,cupti,cufile,nvrtc]" + toolkit[1])
    elif sys.argv[1] == "python" and not re.match("cuda|nvidia|triton", requirement):
        print(requirement)
END
}

# stand_in LIBRARY PATTERN VERSION: a library with the names among torch's unresolved ones that match the pattern. Calling one
# would end the program.
stand_in() {
    nm -D --undefined-only --with-symbol-versions "$libraries"/libtorch*.so | awk '{ print $2 }' |
        sed -n "s/^\($2\)${3:+@$3}\$/void \1(void) { __builtin_trap(); }/p" | sort -u >"$build/names.c"
    [ -z "$3" ] || echo "$3 { *; };" >"$build/names.map"
    "${CC:-gcc}" -shared -nostdlib -fno-builtin -w -Wl,-soname,"$1" ${3:+-Wl,--version-script="$build/names.map"} \
        -o "$libraries/$1" "$build/names.c"
}

# In place of each library that is named but not there.
stand_ins() {
    libraries=$(echo "$peer"/lib/python3*/site-packages/torch/lib)
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    ldd "$libraries"/libtorch*.so | sed -n 's/^[[:space:]]*\(lib[^ ]*\) => not found$/\1/p' | sort -u >"$build/missing"
    while read -r library; do
        case $library in
            libcuda.so*) ;;
            libnccl.so*) stand_in "$library" 'p\{0,1\}nccl[A-Za-z0-9_]*' ;;
            libcusparseLt.so*) stand_in "$library" 'cusparseLt[A-Za-z0-9_]*' ;;
            libnvshmem_host.so*) stand_in "$library" '.*' NVSHMEM ;;
            *) stand_in "$library" '.*' "$library" ;;
        esac
    done <"$build/missing"
}

if version=$(works); then
    say "PyTorch $version is in $peer"
    exit
fi
say "installing $torch into $peer (about 600 MB to fetch)"
rm -rf "$peer"
# Debian's Python is the one whose `venv` may be missing; any Python 3 will do.
/usr/bin/python3 -m venv "$peer" 2>/dev/null || { rm -rf "$peer"; python3 -m venv "$peer"; }
pip install --no-deps "$torch"
requirements python | xargs -d '\n' "$python" -m pip --quiet --disable-pip-version-check install
requirements cuda | xargs -d '\n' "$python" -m pip --quiet --disable-pip-version-check install
stand_ins
if ! version=$(works); then
    say "not without the CUDA libraries: installing everything"
    rm -f "$libraries"/libcu*.so.* "$libraries"/libnccl.so.* "$libraries"/libnv*.so.*
    pip install "$torch"
    version=$(works)
fi
say "PyTorch $version is in $peer"
