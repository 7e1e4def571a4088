#
# One task of a job, behind prepare.sh: runs an analyzer, or a command of mdb, on the dump that is its input, and writes
# one record of how it ended, what it wrote and what it asked to be changed. The record is read by
# thoth/analysis/job_records.py, which believes nothing of it. Whatever the analyzer did the task has done its work, and
# ends with 0.
#
# Two more variables stand before it:
#   thoth_timeout       seconds that it may take
#   thoth_output        bytes of its output that are kept

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
HOME=$run TMPDIR=$run "$@" < /dev/null > "$work/pipe" 2>&1 &
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

: > "$work/changes"
if [ "${ended%% *}" = exit ] && [ -z "$thoth_dcmd" ]; then
    changes_in "$run/changes" > "$work/changes"
fi

size=$(bytes_of "$work/output")
printf 'thoth-task 1 %s %s %d %d %d\n' "$THOTH_NAME" "$ended" "$SECONDS" "$size" "$(bytes_of "$work/changes")" &&
    cat "$work/output" "$work/changes" || fail 'the record cannot be written'
exit 0
