#!/bin/sh
# What the collector's key may do on a node, and nothing else: the command of its line in authorized_keys,
#
#     restrict,from="COLLECTOR",command="/opt/custom/thoth-node" ssh-ed25519 ...
#
# Whatever is asked for, this answers: it looks into the directories below, lists the dumps in them, and reads those;
# and it reads executables and libraries, wherever they are, for the stacks of what crashed.
# Where [paths] of the collector's configuration names other directories, name them here as well.

directories='
@DIRECTORIES@
'

debugger=no # yes: mdb may be run on the dumps, where the collector's configuration asks for that

set -f
tab='	'

refuse() {
    echo "thoth-node: refused: $1" >&2
    logger -p auth.warning -t thoth-node "refused: $1" 2>/dev/null
    exit 1
}

# The collector asks for a shell, and sends it COUNT bytes of a script before its requests. They are not run: what would
# be run follows here, as it was when this was installed.
skip_script() {
    count=${SSH_ORIGINAL_COMMAND-}
    count=${count#"exec /bin/sh -c 'n="}
    count=${count%';s=;while [ ${#s} -lt $n ];do p=$(dd bs=$((n-${#s})) count=1 2>/dev/null;echo .);p=${p%.};[ "$p" ]||exit 1;s=$s$p;done;eval "$s"'"'"}
    case $count in
    '' | *[!0-9]* | ???????*) refuse "what was asked for is no request of sdc-thoth" ;;
    esac
    while [ "$count" -gt 0 ]; do
        came=$(dd bs="$count" count=1 2>/dev/null; echo .)
        came=${came%.}
        [ "$came" ] || refuse "its script did not come whole"
        count=$((count - ${#came}))
    done
}

allowed() { # DIRECTORY
    case $directories in
    *"
$1
"*) ;;
    *) return 1 ;;
    esac
}

filtered() { # requests as node.sh takes them, from stdin to stdout
    while IFS= read -r request; do
        case $request in
        "place$tab"*)
            name=${request##*"$tab"}
            directory=${request%"$tab"*}
            directory=${directory##*"$tab"}
            case $name in
            */* | '') refuse "a place with another directory in its name" ;;
            esac
            allowed "$directory" || refuse "a place that is not among its directories"
            ;;
        about | discover | end | "read$tab"* | "skim$tab"* | "press$tab"* | "get$tab"*) ;;
        "image$tab"* | "file$tab"* | "part$tab"* | over) ;; # what follows reads nothing but executables and libraries
        debug) [ "$debugger" = yes ] || refuse "a request for its debugger" ;;
        *) refuse "a request that is not for dumps" ;;
        esac
        printf '%s\n' "$request"
        [ "$request" != end ] || return 0
    done
}

if [ "${1-}" != answer ]; then
    skip_script
    filtered | /bin/sh "$0" answer
    exit
fi
set +f

