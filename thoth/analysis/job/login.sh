#
# A session of mlogin, behind prepare.sh: a shell in which an analyzer is edited, and run on the dump. What was made of it
# goes to Manta as one object, which whoever started the session reads, and acts on: thoth/analysis/login.py.
#
# Two more variables stand before it:
#   thoth_prompt        what the shell shows when it waits
#   thoth_result        the name of that object

export THOTH_RAN=$work/ran
cat > "$work/start" << 'END' || fail 'there is no room to work in'
BASH_ENV='$THOTH_ENVIRONMENT'
unset HISTFILE
. "$THOTH_ENVIRONMENT"
thoth_analyze() {
    local status
    command rm -rf -- "$THOTH_RAN" && command mkdir -- "$THOTH_RAN" || return 1
    (
        cd "$THOTH_RAN" && export HOME=$THOTH_RAN TMPDIR=$THOTH_RAN THOTH_CHANGES=$THOTH_RAN/changes &&
            exec bash --noprofile --norc "$THOTH_ANALYZER" < /dev/null
    )
    status=$?
    # One that was stopped asks for nothing.
    [ "$status" -le 128 ] || command rm -rf -- "$THOTH_RAN/changes"
    return "$status"
}
END
printf 'PS1=%q\n' "$thoth_prompt" >> "$work/start" || fail 'there is no room to work in'

echo 'thoth: dump info is in $THOTH_INFO'
printf 'thoth: analyzer "%s" is in $THOTH_ANALYZER\n' "$thoth_name"
echo 'thoth: run "thoth_analyze" to run $THOTH_ANALYZER'
echo 'thoth: any changes to $THOTH_ANALYZER will be stored upon successful exit'

HOME=$run TMPDIR=$run bash --noprofile --rcfile "$work/start" -i
status=$?

cd "$work" || fail 'the directory of the session is gone'
changes_in "$THOTH_RAN/changes" > asked
changes_in "$run/changes" > typed
{ plain "$run/analyzer" && cat "$run/analyzer"; } > analyzer
{
    printf 'thoth-login 1 %d %d %d %d\n' "$status" "$(bytes_of analyzer)" "$(bytes_of asked)" "$(bytes_of typed)" &&
        cat analyzer asked typed
} > result && mput -q -f result "$thoth_result" || fail 'what was made here cannot be stored in Manta'
exit 0
