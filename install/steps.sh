# What the scripts of this directory share: talk, steps that are taken back on failure, one run at a time.
# Read by bash 3.2 and later. Messages name the thing and what to do next; no secret is ever an argument.

me=${0##*/}
umask 022
export LC_ALL=C
root=      # of --root: everything lies below it; empty for the system itself
stage=     # a directory of this run alone, on the file system of what is installed; gone at its end
committed= # nothing is taken back any more
undo_count=0
undos=()

say() { printf '%s: %s\n' "$me" "$*"; }
warn() { printf '%s: %s\n' "$me" "$*" >&2; }

die() {
    warn "$*"
    exit 1
}

usage() { # MESSAGE
    die "$*; see $me --help"
}

absolute() { # NAME -> the same file, whatever the directory
    case $1 in
        /* | *://* | '' | cnapi) printf '%s\n' "$1" ;;
        *) printf '%s\n' "$PWD/$1" ;;
    esac
}

check_root() { # of --root, and who we are
    [[ $EUID -eq 0 ]] || die "run it as root"
    [[ -n $root ]] || return 0
    root=$(CDPATH='' cd -P -- "$root" 2>/dev/null && pwd) || die "--root: no such directory"
    [[ $root != / ]] || root=
}

# ---- taking back --------------------------------------------------------------------------------------------------

undo_with() { # COMMAND ...: what takes the step back that comes next or has just been made
    undos[undo_count]=$(printf '%q ' "$@")
    undo_count=$((undo_count + 1))
}

finish() { # runs as the script ends, however it ends
    local status=$?
    trap '' INT TERM HUP
    set +e
    if [[ -z $committed && $undo_count -gt 0 ]]; then
        [[ $status -ne 0 ]] || status=1
        warn "taking back what was done"
        while [[ $undo_count -gt 0 ]]; do
            undo_count=$((undo_count - 1))
            eval "${undos[undo_count]}" || warn "could not take back: ${undos[undo_count]}"
        done
    fi
    [[ -z $stage ]] || rm -rf -- "$stage"
    exit "$status"
}

begin() {
    set -eu -o pipefail
    trap finish EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# ---- files --------------------------------------------------------------------------------------------------------

# Only root may have a hand in what root runs: no link, no directory that others can write to, in any part of the way.
trust() { # DIR, which need not be there
    local path=$1
    while [[ ${#path} -gt ${#root} ]]; do
        [[ ! -L $path ]] || die "$path: a link; root's files go into directories of root's own, remove it"
        if [[ -e $path ]]; then
            [[ -d $path ]] || die "$path: not a directory; move it away"
            [[ -n $(find "$path" -prune -user "$EUID" ! -perm -0020 ! -perm -0002) ]] ||
                die "$path: not root's alone; run: chown root $path; chmod go-w $path"
        fi
        path=${path%/*}
    done
}

directory() { # DIR [MODE]: is there; taken back when it was not
    [[ ! -d $1 ]] || return 0
    local above=${1%/*}
    [[ -z $above || -d $above ]] || directory "$above"
    undo_with rmdir "$1"
    mkdir "$1"
    chmod "${2:-755}" "$1"
}

exclusive() { # one run of these scripts at a time; before it, what a killed run has left is removed
    local each found=
    for each in bin etc home versions; do trust "$top/$each"; done
    directory "$top"
    [[ ! -e $top/.lock ]] || found=yes
    # The kernel holds the lock, so that it ends with this process, however that ends. It belongs to descriptor 9, which
    # nobody may inherit who can outlast us: see system.
    exec 9>"$top/.lock"
    release_tool lock 9 "$top/.lock" || die "$top/.lock: wait for the other run's end"
    [[ -n $found ]] || undo_with rm -f "$top/.lock"
    for each in "$top"/.stage.*; do
        [[ $each = "$stage" ]] || rm -rf -- "$each"
    done
    [[ -n $stage ]] || stage=$(mktemp -d "$top/.stage.XXXXXX")
    undo_with rm -rf "$stage"
    export TMPDIR=$stage # nothing of ours goes into a directory that others write to
}

release_tool() { "$python" -I -S "$here/release.py" "$@"; }

# What is new is made in $stage, on the same file system, so that a killed run leaves nothing beside the target.

put() { # FILE MODE, content on stdin: whole or not at all; what was there comes back on failure
    local new saved
    new=$(mktemp "$stage/new.XXXXXX")
    cat >"$new"
    chmod "$2" "$new"
    if [[ -e $1 || -L $1 ]]; then
        saved=$(mktemp "$stage/saved.XXXXXX")
        cp -p -- "$1" "$saved"
        undo_with mv -f "$saved" "$1"
    else
        undo_with rm -f "$1"
    fi
    mv -f -- "$new" "$1"
}

point() { # LINK TARGET: one rename, so that it always leads to one of the two
    local old
    old=$(readlink "$1" 2>/dev/null) || old=
    [[ $old != "$2" ]] || return 0
    if [[ -n $old ]]; then undo_with repoint "$1" "$old"; else undo_with rm -f "$1"; fi
    if [[ -e $1 || -L $1 ]]; then repoint "$1" "$2"; else ln -s "$2" "$1"; fi
}

repoint() {
    rm -f -- "$stage/link"
    ln -s "$2" "$stage/link"
    release_tool replace "$stage/link" "$1"
}
