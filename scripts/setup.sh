# Sourced by run, test and check: makes .venv and installs lmkit, editable, with the tools of the groups asked for.
#
#     set_up [GROUP...]        groups are those of [dependency-groups] in pyproject.toml
#
# Sets $root (the checkout) and $bin (the folder of the programs in .venv). What it says goes to standard error, so that
# `scripts/run eval RUN --json` has nothing but JSON on standard output. Written for bash 3.2, which macOS has.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
stamps="$venv/lmkit-stamps"         # one file for lmkit and one for each group, written last: what was installed
log="$venv/lmkit-install.log"       # what pip said the last time
unfinished="$venv/lmkit-unfinished" # holds the process that is installing; one that was killed leaves it behind

say() { printf 'lmkit: %s\n' "$*" >&2; }

find_python() {  # prints a Python that is new enough and can make environments
    local name
    for name in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
        # Run it rather than look for it: version managers put commands on the path that only print an error.
        if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$name"
            return
        elif [ "$name" = "${PYTHON:-}" ]; then
            break  # a Python asked for by name is not replaced by another in silence
        fi
    done
    say "${PYTHON:+PYTHON=$PYTHON will not do: }needs Python 3.11 or newer with the modules venv and ensurepip" \
        "(Debian and Ubuntu: the package python3-venv). Install one, or name it: PYTHON=/path/to/python3.11 $0"
    return 1
}

find_bin() {  # Windows has its own name for the folder
    bin="$venv/bin"
    if [ -d "$venv/Scripts" ]; then bin="$venv/Scripts"; fi
}

make_venv() {
    find_bin
    if [ -e "$unfinished" ]; then
        local other
        other="$(cat "$unfinished")"
        if [ -n "$other" ] && [ "$other" != $$ ] && kill -0 "$other" 2>/dev/null; then
            say "process $other is setting up $venv. Wait for it to end; if it is something else, delete that folder."
            return 1
        fi
        say "the last set-up was interrupted: starting again"
        rm -rf "$venv"
    elif [ -e "$venv" ] && ! "$bin/python" -c 'import pip' >/dev/null 2>&1; then
        say "$venv has no working Python with pip: making it again"  # moved, or its Python was removed
        rm -rf "$venv"
    fi
    if [ -e "$venv" ]; then
        echo $$ >"$unfinished"
        return
    fi
    local python
    python="$(find_python)" || return 1
    say "making $venv with $("$python" --version)"
    mkdir "$venv"
    echo $$ >"$unfinished"
    "$python" -m venv "$venv" >&2 || return 1
    find_bin
}

group_requirements() {  # one requirement a line; every Python that may be here has tomllib
    "$bin/python" -c 'import sys, tomllib
groups = tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]
print(*groups[sys.argv[1]], sep="\n")' "$1"
}

install() {  # pip writes into the log; here a line a minute says that it still works
    # A program in the background does not hear Ctrl-C. Leaving here keeps the mark: the next call starts afresh.
    trap 'kill $pip 2>/dev/null; exit 130' INT
    trap 'kill $pip 2>/dev/null; exit 143' TERM HUP
    "$bin/python" -m pip install --disable-pip-version-check --no-input --constraint scripts/constraints.txt "$@" \
        >"$log" 2>&1 </dev/null &
    pip=$!
    local began=$SECONDS shown=0 minutes
    while kill -0 $pip 2>/dev/null; do
        sleep 1
        minutes=$(((SECONDS - began) / 60))
        if [ $minutes -gt $shown ]; then
            shown=$minutes
            say "still installing after $minutes min: $(tail -n 1 "$log" | cut -c 1-100)"
        fi
    done
    wait $pip
    local status=$?
    trap - INT TERM HUP
    return $status
}

set_up() (  # a subshell: the caller's folder, traps and variables stay as they are
    cd "$root" || exit 1
    # A stamp holds what decides an install, the place included: the programs of a checkout that was moved are broken.
    wanted="$root
$(cat pyproject.toml scripts/constraints.txt)"
    find_bin
    missing=()
    for part in lmkit "$@"; do
        # Not executable: a link to a Python that was removed.
        if [ ! -x "$bin/python" ] || [ -e "$unfinished" ] || [ "$(cat "$stamps/$part" 2>/dev/null)" != "$wanted" ]; then
            missing+=("$part")
        fi
    done
    if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

    make_venv || exit 1
    if [ ! -e "$stamps" ]; then missing=(lmkit "$@"); fi  # the environment is a new one
    what=()
    for part in "${missing[@]}"; do
        if [ "$part" = lmkit ]; then what+=(--editable .); continue; fi
        while IFS= read -r line; do what+=("${line%$'\r'}"); done < <(group_requirements "$part")
    done
    say "installing into .venv: ${missing[*]} (the first time takes some minutes)"
    install "${what[@]}"
    status=$?
    rm -f "$unfinished"
    if [ $status -ne 0 ]; then
        tail -n 20 "$log" >&2
        say "the installation failed; the end of $log stands above. Calling this again tries again."
        exit 1
    fi
    mkdir -p "$stamps"
    for part in "${missing[@]}"; do printf '%s\n' "$wanted" >"$stamps/$part"; done
)

enter() {  # set_up, and end the script where it fails
    set_up "$@" || exit $?
    find_bin
}
