# What an analyzer finds in its shell, besides the variables THOTH_DUMP, MANTA_INPUT_FILE, THOTH_INFO, THOTH_TYPE
# and THOTH_NAME: functions that ask for changes of the dump's document. A bash reads this as it starts (BASH_ENV),
# so the functions are there in bash scripts that an analyzer starts, in subshells and in pipelines too.
#
# A change is two files in $THOTH_CHANGES, its head (what, NUL, of which property) and its value, and then a line in
# the file `order`: one short append, so that changes which are made at the same time stay whole. They are read when
# the analyzer has ended: thoth/analysis/changes.py.
#
# For bash 3.2 and later, under any options that an analyzer sets (-e, -u, -f, -C, another IFS).

_thoth_largest=67108864 # bytes of a value; the reader refuses one that is longer

_thoth_fail() {
    printf '%s: %s\n' "$1" "$2" >&2
    return 1
}

# _thoth_change FUNCTION WHAT PROPERTY [VALUE]: without VALUE it is what comes on stdin.
_thoth_change() {
    local head from=argument
    [ -d "$THOTH_CHANGES" ] || command mkdir -p -- "$THOTH_CHANGES" || return 1
    head=$(command mktemp "$THOTH_CHANGES/change.XXXXXXXX") || return 1
    if [ "$#" -gt 3 ]; then
        printf '%s' "$4" >| "$head.value" || return 1
    else
        from=stdin
        command head -c "$((_thoth_largest + 1))" >| "$head.value" || return 1
        if [ ! -s "$head.value" ]; then
            command rm -f -- "$head" "$head.value"
            _thoth_fail "$1" 'there is no value: standard input is empty'
            return 1
        fi
    fi
    printf '%s\0%s\0%s' "$2" "$from" "$3" >| "$head" || return 1
    printf '%s\n' "${head##*/}" >> "$THOTH_CHANGES/order"
}

# _thoth_property FUNCTION PROPERTY: whether an analyzer may change it.
_thoth_property() {
    case "$2" in
        properties.?*) return 0 ;;
        '') _thoth_fail "$1" 'name a property' ; return 1 ;;
    esac
    case " $THOTH_RESERVED " in
        *" ${2%%.*} "*) _thoth_fail "$1" "'$2' is set by Thoth itself; choose another name" ; return 1 ;;
    esac
}

thoth_set() {
    if [ "$#" -lt 1 ] || [ "$#" -gt 2 ]; then
        _thoth_fail thoth_set 'usage: thoth_set PROPERTY [VALUE]; quote a value that has blanks'
        return 1
    fi
    _thoth_property thoth_set "$1" || return 1
    if [ "$#" -eq 2 ]; then
        _thoth_change thoth_set set "$1" "$2"
    else
        _thoth_change thoth_set set "$1"
    fi
}

thoth_unset() {
    if [ "$#" -ne 1 ]; then
        _thoth_fail thoth_unset 'usage: thoth_unset PROPERTY'
        return 1
    fi
    _thoth_property thoth_unset "$1" || return 1
    _thoth_change thoth_unset unset "$1" ''
}

thoth_ticket() {
    if [ "$#" -gt 1 ]; then
        _thoth_fail thoth_ticket 'usage: thoth_ticket [TICKET]'
        return 1
    fi
    if [ "$#" -eq 1 ]; then
        _thoth_change thoth_ticket ticket '' "$1"
    else
        _thoth_change thoth_ticket ticket ''
    fi
}

thoth_unticket() {
    if [ "$#" -ne 0 ]; then
        _thoth_fail thoth_unticket 'usage: thoth_unticket'
        return 1
    fi
    _thoth_change thoth_unticket unticket '' ''
}

# The frames on stdin, one a line, become the dump's stack, unless Thoth itself has found one in the dump.
thoth_stack() {
    if [ "$#" -ne 0 ]; then
        _thoth_fail thoth_stack 'usage: thoth_stack < FRAMES'
        return 1
    fi
    _thoth_change thoth_stack stack ''
}

# A file below the analyzer's directory, which has to stay there, becomes the dump in its expanded form.
thoth_store() {
    local directory
    if [ "$#" -ne 1 ] || [ ! -f "$1" ]; then
        _thoth_fail thoth_store 'usage: thoth_store FILE'
        return 1
    fi
    directory=$(CDPATH='' cd -P -- "$(command dirname -- "$1")" && printf '%s.' "$(pwd -P)") || return 1
    _thoth_change thoth_store store '' "${directory%.}/${1##*/}"
}

# The part of https://github.com/trentm/json that analyzers use, where that is not installed.
if ! type -P json > /dev/null; then
    json() {
        local python=$THOTH_PYTHON # ours may lie where the analyzer's user cannot go
        if [ ! -x "$python" ] && ! python=$(type -P python3); then
            _thoth_fail json 'is not installed here, and there is no python3 that could do its work'
            return 1
        fi
        "$python" -I -S "$THOTH_JSON" "$@"
    }
fi
