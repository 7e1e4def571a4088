#
# What an analyzer finds on a machine of Manta's, in a task of a job or in a session of mlogin: a directory of its own,
# its variables, and the document of the dump. What there is to run follows this: task.sh, or login.sh.
#
# Before this stand, as thoth/analysis/job_assets.py writes them, the variables
#   thoth_documents     the file with the documents of all dumps of the job
#   thoth_environment   the text of the file that every bash of an analyzer reads as it starts
#   thoth_analyzer      its text, or else thoth_dcmd, a command of mdb
#   thoth_changes, thoth_values   how many changes there may be, and bytes of them all
#   thoth_home          where in Manta the directories of dumps are
#   THOTH_RESERVED      what thoth_set does not set
#
# Needs bash 3.2 and what POSIX has beside it.

fail() {
    printf 'thoth: %s\n' "$1" >&2
    exit 1
}

bytes_of() {
    local told
    told=$(wc -c < "$1") && printf '%s' "${told//[!0-9]/}"
}

# The documents: a line that says how many bytes come before them, this line among them; a line for each dump (its name,
# its type, where its document begins, how many bytes that has, the name of the dump's object); and the documents.
find_document() {
    local table name begin=0
    {
        read -r table
        while read -r name THOTH_TYPE start size THOTH_FILENAME; do
            [ -n "$name" ] || return 1
            begin=$((table + start))
            [ "$name" != "$THOTH_NAME" ] || break
        done
    } < "$thoth_documents"
    [ "$name" = "$THOTH_NAME" ] || return 1
    tail -c "+$((begin + 1))" "$thoth_documents" | head -c "$size"
}

[ -f "$MANTA_INPUT_FILE" ] || fail 'there is no dump: MANTA_INPUT_FILE names no file'
work=$(mktemp -d "${TMPDIR:-/var/tmp}/thoth.XXXXXXXX") || fail 'there is no place to work in'
trap 'cd /; rm -rf "$work"' EXIT
run=$work/run
mkdir "$run" && cd "$run" || fail 'there is no place to work in'

THOTH_NAME=${MANTA_INPUT_OBJECT%/*}
THOTH_NAME=${THOTH_NAME##*/}
find_document > info.json || fail "no document of '$THOTH_NAME' came with the job"
[ "$THOTH_TYPE" != - ] || THOTH_TYPE=
printf '%s' "$thoth_environment" > environment.sh && printf '%s' "$thoth_analyzer" > analyzer ||
    fail 'there is no room to work in'

export THOTH_NAME THOTH_TYPE THOTH_FILENAME THOTH_RESERVED
export THOTH_DUMP=$MANTA_INPUT_FILE THOTH_INFO=$run/info.json THOTH_ANALYZER=$run/analyzer
export THOTH_CHANGES=$run/changes THOTH_PLACE=$thoth_home/$THOTH_NAME
export THOTH_ENVIRONMENT=$run/environment.sh BASH_ENV='$THOTH_ENVIRONMENT'
export LIBPROC_INCORE_ELF=1 # mdb is not to load whatever node lies on the PATH
export DTRACE_DOF_INIT_DISABLE=1

# ---- what it asked to be changed

# The changes: for each a line with the sizes of its head and its value, and these. A line with a word is the end of what
# cannot be read.
changes() {
    local name head value left=$thoth_values
    [ "$(wc -l < order)" -le "$thoth_changes" ] || { echo many; return; }
    while IFS= read -r name; do
        [[ $name =~ ^change\.[A-Za-z0-9]+$ ]] && plain "$name" && plain "$name.value" || { echo damaged; return; }
        head=$(bytes_of "$name") && value=$(bytes_of "$name.value") || { echo damaged; return; }
        left=$((left - head - value))
        [ "$left" -ge 0 ] || { echo large; return; }
        printf '%d %d\n' "$head" "$value"
        cat "$name" "$name.value"
    done < order
}

plain() {
    [ -f "$1" ] && [ ! -L "$1" ]
}

# changes_in DIRECTORY: those that its functions have left there; nothing for one that is not there.
changes_in() (
    [ -d "$1" ] && [ ! -L "$1" ] && cd "$1" && plain order || return 0
    changes
)
