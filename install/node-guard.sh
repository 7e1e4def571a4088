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
LC_ALL=C # lengths and ranges are those of bytes
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$PATH
export LC_ALL PATH
tab='	'

tell() { # into the node's log, once: who wants to fill it needs a connection for each line
    [ -z "${told-}" ] || return 0
    told=yes
    logger -p auth.warning -t thoth-node "refused: $1" 2>/dev/null
}

refuse() {
    echo "thoth-node: refused: $1" >&2
    tell "$1"
    exit 1
}

# The collector asks for a shell, and sends it COUNT bytes of a script before its requests. They are not run: what would
# be run follows here, as it was when this was installed.
skip_script() {
    count=${SSH_ORIGINAL_COMMAND-}
    count=${count#"exec /bin/sh -c 'n="}
    rest=';s=;while [ ${#s} -lt $n ];do p=$(dd bs=$((n-${#s})) count=1 2>/dev/null;echo .);p=${p%.};[ "$p" ]||exit 1;s=$s$p;done;eval "$s"'"'"
    count=${count%"$rest"}
    case $count in
    '' | *[!0-9]* | 0* | ???????*) refuse "what was asked for is no request of sdc-thoth" ;;
    esac
    [ "$SSH_ORIGINAL_COMMAND" = "exec /bin/sh -c 'n=$count$rest" ] ||
        refuse "what was asked for is no request of sdc-thoth"
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

split() { # WORDS COUNT -> $word1 $word2 ...: as what answers splits them, into so many, none of them empty
    case $tab$1$tab in
    *"$tab$tab"*) refuse "a request with an empty word" ;;
    esac
    IFS=$tab
    set -- "$2" $1
    IFS=
    [ $# -eq $(($1 + 1)) ] || refuse "a request with words too many or too few"
    word1=${2-} word2=${3-} word3=${4-} word4=${5-} word5=${6-}
}

check_place() {
    case $word4 in
    */*) refuse "a place with another directory in its name" ;;
    esac
    # Only "*" and "?" make patterns: all else that does so could stand for a slash.
    case $word4 in
    *[][{}\(\)\\]* | *[[:cntrl:]]*) refuse "a place whose name is no pattern of sdc-thoth" ;;
    esac
    case $word1$word2 in
    *[!A-Za-z-]*) refuse "a place whose type or system is none" ;;
    esac
    allowed "$word3" || refuse "a place that is not among its directories"
}

plain() { # WORD..: marks, numbers and programs
    for word; do
        case $word in
        *[!0-9A-Za-z]*) refuse "a request that holds what none of sdc-thoth does" ;;
        esac
    done
}

encoded() { # WORD..: as the one function for it makes them
    for word; do
        case $word in
        *[!!-~]* | [!=%]*) refuse "a request that holds what none of sdc-thoth does" ;;
        esac
    done
}

filtered() { # requests as node.sh takes them, from stdin to stdout
    IFS=
    while IFS= read -r request; do
        words=${request#*"$tab"}
        case $request in
        about | discover | over | end) ;;
        debug) [ "$debugger" = yes ] || refuse "a request for its debugger" ;;
        "place$tab"*) split "$words" 4 && check_place ;;
        "read$tab"* | "skim$tab"*) split "$words" 1 && plain "$word1" ;;
        "press$tab"*) split "$words" 2 && plain "$word1" "$word2" ;;
        "get$tab"*)
            split "$words" 5
            case $word1 in
            *[!0-9.:-]*) refuse "a request that holds what none of sdc-thoth does" ;;
            esac
            plain "$word2" "$word3"
            encoded "$word4" "$word5"
            ;;
        # What follows reads nothing but executables and libraries.
        "image$tab"*) split "$words" 1 && plain "$word1" ;;
        "file$tab"*) split "$words" 2 && encoded "$word1" "$word2" ;;
        "part$tab"*) split "$words" 2 && plain "$word1" "$word2" ;;
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
