# Releases: what `make dist` packs, checked, unpacked, made into a version beside the others. Needs steps.sh.
#
#   $top/versions/VERSION-SUM/       a virtual environment, with what is not Python in share/thoth
#   $top/versions/VERSION-SUM_/      the same, made anew while the other one is in use
#   $top/versions/VERSION-SUM/.done  the sums of its files, once it is complete; without it, a killed run has left it
#   $top/current                     a link to the one in use, changed by a rename
#   $top/.switching                  while services change over: the version before
#
# A virtual environment holds its own path, so it is made where it stays, and only the link moves.

packages="py311-cryptography py311-bcrypt py311-nacl" # pkgsrc's, compiled
wished="py311-zstandard"                              # without it, nodes compress with gzip alone

# ---- Python -------------------------------------------------------------------------------------------------------

works() { # PYTHON: 3.11 or newer, with what a virtual environment and the library need
    "$1" -I -c 'import sys, venv, sqlite3, ssl, zlib, hashlib; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() { # [PYTHON] -> $python, absolute
    local found
    if [[ -n ${1-} ]]; then
        python=$(type -P "$1") || die "--python $1: not a program"
        works "$python" || die "--python $1: not a Python of 3.11 or newer with venv, sqlite3, ssl and zlib"
        [[ $python = /* ]] || python=$PWD/$python
        return 0
    fi
    for found in /opt/local/bin/python3.1[1-9] /opt/local/bin/python3 /opt/tools/bin/python3.1[1-9] \
        "$(type -P python3 || true)"; do
        if [[ -x $found ]] && works "$found"; then
            python=$found
            return 0
        fi
    done
    die "no Python of 3.11 or newer with venv, sqlite3, ssl and zlib. A global zone has none of its own: set up pkgsrc" \
        "(its tools set, in /opt/tools, is made for global zones), then run: pkgin install python311 py311-sqlite3" \
        "$packages, and, if nodes have zstd, $wished; or name another Python with --python"
}

python_in_use() { # the interpreter that the virtual environment in use was made with, if it is still there
    local found
    found=$(sed -n 's/^executable = //p' "$top/current/pyvenv.cfg" 2>/dev/null) || return 0
    ! works "$found" || printf '%s\n' "$found"
}

# ---- fetching and checking ----------------------------------------------------------------------------------------

fetch() { # FILE|URL SHA256 TARGET: the file, which has this digest
    local got wanted
    wanted=$(printf %s "$2" | tr A-F a-f)
    [[ $wanted =~ ^[0-9a-f]{64}$ ]] || usage "--sha256: not 64 hex digits"
    case $1 in
        https://*)
            # -f: an error page is no release. A body that was cut short fails too, and nothing is tried for ever.
            curl -fsSL --proto '=https' --connect-timeout 20 --max-time 1800 --speed-limit 100 --speed-time 60 \
                -o "$3" -- "$1" || die "$1: cannot be fetched; nothing was changed"
            ;;
        *://*) die "$1: neither a file nor an https address; fetch it yourself and name the file" ;;
        *)
            [[ -r $1 && -f $1 ]] || die "$1: cannot be read; nothing was changed"
            cp -- "$1" "$3" || die "$1: cannot be copied into $top; nothing was changed"
            ;;
    esac
    got=$(release_tool sha256 "$3")
    [[ $got = "$wanted" ]] ||
        die "$1: its SHA-256 is $got and not $wanted: it is not what was released; nothing was changed"
}

unpack() { # TARBALL NAME -> $release: the directory that it holds, inside of $stage
    mkdir "$stage/unpacked"
    release=$(release_tool unpack "$1" "$stage/unpacked") || die "$2: not a release; nothing was changed"
}

check_release() { # of $release: all its files are there and whole -> $version, and $name of its directory
    local sum
    sum=$(release_tool check "$release") ||
        die "$release: not a whole release; unpack one that make dist has made, or name it with --from"
    version=$(<"$release/VERSION")
    [[ $version =~ ^[0-9][0-9A-Za-z.+]*$ ]] || die "$release/VERSION: not a version"
    name=$version-${sum:0:12}
}

install_wheels() { # into the virtual environment $made: by the release's own pip, which knows nothing but its wheels
    local pip told
    for pip in "$release"/wheels/pip-*.whl; do :; done
    told=$("$made/bin/python" -I "$pip/pip" install --isolated --quiet --no-index --find-links "$release/wheels" \
        --no-cache-dir --disable-pip-version-check --root-user-action ignore --no-warn-script-location \
        "manta-thoth==$version" 2>&1) && return 0
    case $told in
        *"No matching distribution"*)
            die "$python lacks what the release does not bring along ($(end_of "$told"));" \
                "what is compiled comes from pkgsrc: pkgin install $packages"
            ;;
        *) die "$made: pip cannot fill it ($(end_of "$told")); look whether its disk has room" ;;
    esac
}

end_of() { printf '%s' "$1" | tr -s '\n' ' ' | tail -c 300; }

# ---- versions -----------------------------------------------------------------------------------------------------

make_version() { # of $release, or one that is there and whole -> $made, its directory
    local each
    directory "$top/versions"
    case $(in_use) in # it stays until the link moves
        "$name") each="$name ${name}_" ;;
        "${name}_") each="${name}_ $name" ;;
        *) each=$name ;;
    esac
    [[ -z ${anew-} ]] || each=${each#* } # -f: another one than that
    for each in $each; do
        made=$top/versions/$each
        ! is_whole "$made" || return 0
    done
    rm -rf -- "$made"
    undo_with rm -rf "$made"
    "$python" -I -m venv --without-pip --system-site-packages "$made" || die "$python: cannot make $made"
    install_wheels
    mkdir -p "$made/share/thoth"
    cp -R "$release/install" "$release/smf" "$release/cron" "$release/systemd" "$release/nodes" "$release/VERSION" \
        "$made/share/thoth"
    chmod -R u+rwX,go+rX,go-w "$made/share/thoth" # however the release was unpacked: thoth runs some of it
    check_version "$made"
    release_tool seal "$made" || die "$made: cannot be completed"
}

is_whole() { # DIR: complete, as it was made, and its commands start
    local told
    [[ -e $1/.done ]] || return 1
    told=$(release_tool whole "$1" 2>&1) && told=$( (check_version "$1") 2>&1) && return 0
    say "$1: damaged, so it is made anew: $told"
    return 1
}

check_version() { # DIR: its commands start
    local told
    told=$("$1/bin/thoth" --version) || die "$version: its thoth does not start"
    [[ $told = "thoth $version" ]] || die "$version: its thoth says that it is '$told'"
    "$1/bin/sdc-thoth" --help >/dev/null || die "$version: its sdc-thoth does not start"
}

in_use() { # -> the name of the version in use; nothing when there is none
    local link
    link=$(readlink "$top/current" 2>/dev/null) || return 0
    printf '%s\n' "${link##*/}"
}

forget_versions() { # NAME ...: all but these
    local each kept
    for each in "$top"/versions/*; do
        for kept in "$@"; do
            [[ ${each##*/} != "$kept" ]] || continue 2
        done
        rm -rf -- "$each"
    done
}
