#
# One task of a job: runs an analyzer, or a command of mdb, on the dump that is its input, and writes one record of how
# it ended, what it wrote and what it asked to be changed. The record is read by thoth/analysis/job_records.py, which
# believes nothing of it. Whatever the analyzer did the task has done its work, and ends with 0.
#
# Before this stand, as thoth/analysis/job_assets.py writes them, the variables
#   thoth_documents     the file with the documents of all dumps of the job
#   thoth_environment   the text of the file that every bash of an analyzer reads as it starts
#   thoth_analyzer      its text, or else thoth_dcmd, a command of mdb
#   thoth_timeout       seconds that it may take
#   thoth_output        bytes of its output that are kept
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

# ---- what the analyzer finds

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
export HOME=$run TMPDIR=$run
export LIBPROC_INCORE_ELF=1 # mdb is not to load whatever node lies on the PATH
export DTRACE_DOF_INIT_DISABLE=1

# ---- running it: in a process group of its own, that nothing of it outlives

if [ -n "$thoth_dcmd" ]; then
    type -P mdb > /dev/null || fail 'there is no mdb'
    set -- mdb -e "$thoth_dcmd" "$THOTH_DUMP"
else
    set -- bash --noprofile --norc "$THOTH_ANALYZER"
fi

set -m
mkfifo "$work/pipe" || fail 'there is no place to work in'
# cat, since what head has read is lost when it is killed. The limit is in blocks of 512 bytes or 1024; it is met by an
# error, not by a signal: Manta fails a task in which anything dumps core.
{ ( trap '' XFSZ; ulimit -f "$((thoth_output / 512 + 1))"; cat > "$work/output" ); cat > /dev/null; } \
    < "$work/pipe" 2> /dev/null &
reader=$!
"$@" < /dev/null > "$work/pipe" 2>&1 &
program=$!
{ sleep "$thoth_timeout"; : > "$work/late"; kill -KILL -- "-$program"; } > /dev/null 2>&1 &
watch=$!

# bash tells of a program that a signal has killed, and of no other one: 137 may be an exit status too.
{ wait "$program"; status=$?; } 2> "$work/told"
exec 3>&2 2> /dev/null
kill -KILL -- "-$watch"
kill -KILL -- "-$program"
# What has left the group, and holds the pipe still, is not waited for.
{ sleep 2; kill -KILL -- "-$reader"; } &
watch=$!
wait "$reader"
kill -KILL -- "-$watch"
wait
exec 2>&3 3>&-
set +m

if [ "$status" -le 128 ] || [ ! -s "$work/told" ]; then
    ended="exit $status"
elif [ -e "$work/late" ]; then
    ended="late 0"
else
    ended="signal $((status - 128))"
fi

# ---- the record

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

: > "$work/changes"
if [ "${ended%% *}" = exit ] && [ -z "$thoth_dcmd" ] && [ -d changes ] && [ ! -L changes ]; then
    cd changes && if plain order; then changes > "$work/changes"; fi
fi

size=$(bytes_of "$work/output")
printf 'thoth-task 1 %s %s %d %d %d\n' "$THOTH_NAME" "$ended" "$SECONDS" "$size" "$(bytes_of "$work/changes")" &&
    cat "$work/output" "$work/changes" || fail 'the record cannot be written'
exit 0
