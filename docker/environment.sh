# Sourced by start and test: a virtual environment that holds what pyproject.toml pins.

# What Python has compiled is kept: the next start and the next test need not do it again.
unset PYTHONDONTWRITEBYTECODE

make_environment() { # make_environment GROUP: .venv with that dependency group
    local group=$1 python stamp
    for python in python3.11 python3; do
        if command -v "$python" >/dev/null \
            && "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
            break
        fi
        python=""
    done
    if [ -z "$python" ]; then
        echo "Mothertongue needs Python 3.11, and there is none here. Install it (Debian: apt-get install python3.11 python3.11-venv) and start again." >&2
        exit 1
    fi
    stamp=$(cat pyproject.toml requirements.lock | sha256sum | cut -c1-16)
    if [ "$(cat ".venv/installed-$group" 2>/dev/null)" = "$stamp" ]; then return; fi
    echo "Installing what is pinned into .venv (about 2 GB, a few minutes, once) ..."
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --upgrade "pip>=25.1"
    # torch first and by itself: later packages then do not bring another build of it.
    # On a machine without a GPU, MOTHERTONGUE_TORCH_INDEX may name an index of small CPU
    # builds (https://download.pytorch.org/whl/cpu).
    .venv/bin/python -m pip install --quiet torch==2.13.0 \
        ${MOTHERTONGUE_TORCH_INDEX:+--index-url "$MOTHERTONGUE_TORCH_INDEX"}
    .venv/bin/python -m pip install --quiet --group "$group" -c requirements.lock
    echo "$stamp" > ".venv/installed-$group"
    # The group test holds the group worker.
    if [ "$group" = test ]; then echo "$stamp" > .venv/installed-worker; fi
}
