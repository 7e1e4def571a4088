# What a node runs for sdc-thoth. It needs a POSIX shell, cat, dd, and stat or ls; it writes nothing, anywhere.
#
# Requests come on stdin, a line each, ended by "end". Replies go to stdout as fields that end in NUL, and raw bytes
# whose number the asker knows. No name is ever evaluated: names come from a glob or from stdin, and go into quotes.
#
#   about                                   -> system, node name, release, version, machine, and the node's sysinfo
#   place TYPE SYSTEM DIR NAME  discover    -> the files that the places' globs match, see discover()
#   place TYPE Linux @core_pattern NAME        where the kernel puts cores of executables that match NAME
#   place ...  get SIGNATURE SKIP COUNT DIR NAME ...  read   -> their bytes, see read_group()
#   place ...  get ...  skim                   the same, looked at only after the reading
#   place ...  get ...  hash THOTH          -> their identities as the node's own thoth tells them
#
# A word in a request is "=" and plain characters, or "%" and the same with \0ooo for all others.
# A signature is what the stat of a file must say: device:inode:size:mtime:ctime:links.

set -u
LC_ALL=C
TZ=UTC0
PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/gnu/bin:/opt/local/bin:$PATH
export LC_ALL TZ PATH
umask 077
ulimit -c 0 2>/dev/null
tab='	'
IFS=
places=
newline='
'

say() { # fields
    printf '%s\0' "$@"
}

word() { # a word of a request -> $word
    case $1 in
    =*) word=${1#=} ;;
    %*)
        # The dot keeps newlines at the end, which a command substitution drops.
        word=$(printf '%b.' "${1#%}")
        word=${word%.}
        ;;
    *) word= ;;
    esac
}

# ---- stat --------------------------------------------------------------------------------------------------------

choose_stat() { # -> $format: nanoseconds where this stat knows them; $fds: where an open file can be looked at
    fds=none
    case $(stat -c %.Y / 2>/dev/null) in
    *[!0-9.]* | '' | *.) format=%d:%i:%s:%Y:%Z:%h ;;
    *.*) format=%d:%i:%s:%.Y:%.Z:%h ;;
    *) format=%d:%i:%s:%Y:%Z:%h ;;
    esac
    known=$(stat -c "$format" / 2>/dev/null) || known=
    [ -n "$known" ] || choose_ls || return 0
    for fds in /proc/self/fd /dev/fd; do
        look "$fds/3" 3</
        [ "$looks" = "$known$newline" ] && return 0
    done
    fds=stdin
    [ "$format" != ls ] && [ "$(stat -c "$format" - </ 2>/dev/null)" = "$known" ] || fds=none
}

choose_ls() { # a node without such a stat: an ls that tells full times does too, but for the device
    format=ls
    for long in --full-time -E; do
        ls_signature / && known=$signature && return 0
    done
    return 1
}

ls_signature() { # [-L] PATH -> $signature; fails when ls tells no full times
    ls_fields "$(ls -din $long "$@" 2>/dev/null)" || return 1
    signature=0:$inode:$size:$seconds
    ls_fields "$(ls -dinc $long "$@" 2>/dev/null)" || return 1
    signature=$signature:$seconds:$links
}

ls_fields() { # a line of ls: inode, mode, links, user, group, size, date, time, ... -> $inode $links $size $seconds
    IFS=' '
    set -f
    set -- $1
    IFS=
    set +f
    [ $# -gt 8 ] || return 1
    case $7/$8 in
    [0-9]*-[0-9]*-[0-9]*/[0-9]*:[0-9]*:[0-9]*) ;;
    *) return 1 ;;
    esac
    inode=$1 links=$3 size=$6
    seconds_of "${7%%-*}" "${7#*-}" "$8"
}

seconds_of() { # YEAR MONTH-DAY HOUR:MINUTE:SECOND, in UTC -> $seconds since 1970
    month=${2%-*} day=${2#*-}
    hour=${3%%:*} second=${3##*:} minute=${3#*:}
    minute=${minute%:*} fraction=
    case $second in
    *.*) fraction=.${second#*.} second=${second%.*} ;;
    esac
    # A leading zero would make it octal. The year begins in March, so that leap days end it.
    month=${month#0} day=${day#0} hour=${hour#0} minute=${minute#0} second=${second#0}
    year=$(($1 - (month < 3))) month=$(((month + 9) % 12))
    days=$((year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719469))
    seconds=$((days * 86400 + hour * 3600 + minute * 60 + second))$fraction
}

signature() { # a name in this directory -> $signature, empty when it cannot be had
    if [ "$format" = ls ]; then
        ls_signature "./$1" || signature=
    else
        signature=$(stat -c "$format" "./$1" 2>/dev/null) || signature=
    fi
}

look() { # paths of open files -> $looks, a signature each, a line each
    looks=
    [ $# -gt 0 ] || return 0
    case $fds/$format in
    stdin/*)
        for path in "$@"; do
            eval "signature=\$(stat -c \"\$format\" - <&${path##*/})"
            looks=$looks$signature$newline
        done
        ;;
    */ls)
        for path in "$@"; do
            with_files ls_signature -L "$path" || signature=
            looks=$looks$signature$newline
        done
        ;;
    *) looks=$(with_files stat -L -c "$format" "$@" 2>/dev/null)$newline ;;
    esac
}

close_files() {
    exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null 8</dev/null 9</dev/null
}

with_files() { # a command that gets descriptors 3 to 9: ksh93, the sh of illumos, passes on only those that it is told to
    "$@" 3<&3 4<&4 5<&5 6<&6 7<&7 8<&8 9<&9
}

# ---- places ------------------------------------------------------------------------------------------------------

kernel_place() { # TYPE EXECUTABLE: adds the place that this Linux kernel's core_pattern names, when it names one
    [ -r /proc/sys/kernel/core_pattern ] || return 0
    IFS= read -r pattern </proc/sys/kernel/core_pattern || return 0
    case $pattern in
    /*) ;;
    *) return 0 ;; # a pipe, or a name in each process's own directory
    esac
    case $pattern in
    *%p*) ;;
    *)
        IFS= read -r uses_pid </proc/sys/kernel/core_uses_pid || uses_pid=0
        [ "$uses_pid" = 0 ] || pattern=$pattern.%p
        ;;
    esac
    glob=
    while [ -n "$pattern" ]; do
        case $pattern in
        %%*) glob=$glob% pattern=${pattern#??} ;;
        %e*) glob=$glob$2 pattern=${pattern#??} ;;
        %*) glob=$glob'*' pattern=${pattern#%} pattern=${pattern#?} ;;
        [*?[\\]*) glob=$glob'?' pattern=${pattern#?} ;;
        *)
            literal=${pattern%%[%*?[\\]*}
            glob=$glob$literal
            pattern=${pattern#"$literal"}
            ;;
        esac
    done
    folder=${glob%/*}
    places=$places$1${tab}Linux$tab${folder:-/}$tab${glob##*/}$newline
}

# ---- discovery ---------------------------------------------------------------------------------------------------
# Replies: "system" NAME NOW, then per directory any number of
#   "found" TYPE DIR COUNT NAME... SIGNATURES    COUNT names, then their signatures, a line each
#   "odd" TYPE DIR NAME KIND                     a name that matches but is no file that can be read
#   "bad" TYPE DIR REASON                        a place that could not be searched
# and at last "end".

discover() {
    case $(uname -s) in
    SunOS) system=SunOS ;;
    Linux) system=Linux ;;
    *) system=$(uname -s) ;;
    esac
    now=$(date +%s 2>/dev/null)
    case $now in
    '' | *[!0-9]*) now=$(awk 'BEGIN { srand(); print srand() }' 2>/dev/null) ;;
    esac
    say system "$system" "$now"
    if [ "$fds" = none ]; then
        say bad - - "nothing on this node can look at an open file: it takes stat -c, ls --full-time or ls -E, and /proc" end
        return
    fi
    rest=$places
    while [ -n "$rest" ]; do
        line=${rest%%"$newline"*}
        rest=${rest#*"$newline"}
        split_place "$line"
        case $place_system in
        - | "$system") search "$place_type" "$place_dir" "$place_name" ;;
        esac
    done
    say end
}

split_place() { # a line of $places -> its parts
    place_type=${1%%"$tab"*}
    place=${1#*"$tab"}
    place_system=${place%%"$tab"*}
    place=${place#*"$tab"}
    place_dir=${place%%"$tab"*}
    place_name=${place#*"$tab"}
}

search() { # TYPE DIR-GLOB NAME-GLOB
    set +f
    say_closed "$1" "$2"
    # IFS is empty: the glob is expanded, and nothing is split.
    for directory in $2; do
        [ ! -d "$directory" ] || search_directory "$1" "$directory" "$3"
    done
}

say_closed() { # TYPE DIR-GLOB: a glob passes silently by directories on its way that may not be looked into
    way=
    left=${2#/}
    while :; do
        case $left in
        */*) way=$way/${left%%/*} left=${left#*/} ;;
        *) return 0 ;;
        esac
        for parent in $way; do
            [ -d "$parent" ] || continue
            case ${left%%/*} in
            *[*?[]*) [ -r "$parent" ] && [ -x "$parent" ] ;;
            *) [ -x "$parent" ] ;;
            esac || say bad "$1" "$parent" "permission denied"
        done
    done
}

enter() { # DIR: go there, by no link. Sets $why when that fails
    why=
    if ! cd -P "$1" 2>/dev/null; then
        why="permission denied"
    elif [ "$PWD" != "$1" ]; then
        why="the path leads through a link"
    fi
    [ -z "$why" ]
}

search_directory() { # TYPE DIR NAME-GLOB
    if ! enter "$2"; then
        say bad "$1" "$2" "$why"
        return
    fi
    if [ ! -r . ]; then
        say bad "$1" "$2" "permission denied"
        return
    fi
    type=$1
    directory=$2
    pattern=$3
    set --
    for name in $pattern; do
        if [ -L "$name" ]; then
            say odd "$type" "$directory" "$name" "a link"
        elif [ ! -f "$name" ]; then
            odd_kind "$name"
        elif [ ! -r "$name" ]; then
            say odd "$type" "$directory" "$name" denied
        else
            set -- "$@" "$name"
            [ $# -lt 200 ] && continue
            found "$@"
            set --
        fi
    done
    [ $# -eq 0 ] || found "$@"
}

odd_kind() { # a name that is not a regular file
    if [ -d "$1" ]; then
        say odd "$type" "$directory" "$1" "a directory"
    elif [ -p "$1" ]; then
        say odd "$type" "$directory" "$1" "a FIFO"
    elif [ -S "$1" ]; then
        say odd "$type" "$directory" "$1" "a socket"
    elif [ -b "$1" ] || [ -c "$1" ]; then
        say odd "$type" "$directory" "$1" "a device"
    elif [ -e "$1" ]; then
        say odd "$type" "$directory" "$1" "not a regular file"
    fi
}

found() { # names in this directory: one stat for all of them, or one each when a name has vanished meanwhile
    if [ "$format" != ls ] && signatures=$(stat -c "$format" "$@" 2>/dev/null); then
        say found "$type" "$directory" $# "$@" "$signatures"
        return
    fi
    for name in "$@"; do
        signature "$name"
        if [ -n "$signature" ]; then
            say found "$type" "$directory" 1 "$name" "$signature"
        else
            say odd "$type" "$directory" "$name" gone
        fi
    done
}

# ---- reading -----------------------------------------------------------------------------------------------------
# Up to seven files are opened together, on descriptors 3 to 9, so that a few processes serve all of them.
# Reply: "group" COUNT, then STATUS for each: "ok", or why not; the bytes of those that are ok, in order; then
# "after" and their signatures, a line each. A skim saves the first look: what a file is shows at its end.

open_one() { # DESCRIPTOR SIGNATURE DIR NAME -> $status
    status=gone
    case $4 in
    */* | '') status="not a name" && return ;;
    esac
    if ! listed "$3" "$4"; then
        status="not a place where dumps are collected"
        return
    fi
    if ! enter "$3"; then
        status=$why
        [ -e "$3" ] || status=gone
        return
    fi
    if [ -L "./$4" ]; then
        status="a link"
    elif [ -e "./$4" ] && [ ! -f "./$4" ]; then
        status="not a regular file"
    elif [ -f "./$4" ]; then
        status=denied
        # The test comes first since an open of a FIFO would wait; what is really open is compared afterwards.
        eval "command exec $1<\"./\$4\"" 2>/dev/null && status=ok
        [ "$status" = ok ] || [ -e "./$4" ] || status=gone
    fi
}

listed() { # DIR NAME: whether discovery would list it
    rules=$places
    while [ -n "$rules" ]; do
        split_place "${rules%%"$newline"*}"
        rules=${rules#*"$newline"}
        same_depth "$1" "$place_dir" || continue
        # Unquoted: these are patterns.
        case $1 in
        $place_dir) case $2 in $place_name) return 0 ;; esac ;;
        esac
    done
    return 1
}

same_depth() { # a "*" of a pattern must not stand for a "/"
    IFS=/
    set -f
    set -- "$2" $1
    depth=$#
    set -- "" $1
    IFS=
    [ $# -eq "$depth" ]
}

read_group() { # $count requests in $skip3 $blocks3 $wanted3 $dir3 $name3, 4 ... 9
    paths=
    descriptors=
    fd=3
    set --
    while [ $fd -lt $((count + 3)) ]; do
        eval "open_one $fd \"\$wanted$fd\" \"\$dir$fd\" \"\$name$fd\""
        eval "status$fd=\$status"
        [ "$status" = ok ] && set -- "$@" "$fds/$fd"
        fd=$((fd + 1))
    done
    [ -n "$skim" ] || look "$@"
    fd=3
    set --
    while [ $fd -lt $((count + 3)) ]; do
        eval "status=\$status$fd wanted=\$wanted$fd"
        if [ "$status" = ok ] && [ -z "$skim" ]; then
            signature=${looks%%"$newline"*}
            looks=${looks#*"$newline"}
            [ "$signature" = "$wanted" ] || status="changed $signature"
        fi
        eval "status$fd=\$status"
        set -- "$@" "$status"
        fd=$((fd + 1))
    done
    say group $count "$@"
    send
}

send() { # the bytes of the files that are ok, then their signatures again
    whole=1
    heads=$blocks3
    set --
    fd=3
    while [ $fd -lt $((count + 3)) ]; do
        eval "status=\$status$fd skip=\$skip$fd blocks=\$blocks$fd"
        [ "$skip/$blocks" = 0/all ] || whole=
        [ "$skip/$blocks" = "0/$heads" ] || heads=
        [ "$status" = ok ] && set -- "$@" "$fds/$fd"
        fd=$((fd + 1))
    done
    # One process for several files, where that is possible.
    if [ $# -gt 1 ] && [ -n "$whole" ] && [ "$fds" != stdin ]; then
        with_files cat "$@"
    elif [ $# -gt 1 ] && [ -n "$heads" ] && [ "$heads" != all ] && [ "$fds" != stdin ] && can_head; then
        with_files head -q -c $((heads * 4096)) "$@"
    else
        for path in "$@"; do
            fd=${path##*/}
            eval "send_one $fd \"\$skip$fd\" \"\$blocks$fd\""
        done
    fi
    look "$@"
    say after "$looks"
    close_files
}

send_one() { # DESCRIPTOR SKIP BLOCKS, in blocks of 4096 bytes
    if [ "$2/$3" = 0/all ]; then
        eval "cat <&$1"
    elif [ "$2" = 0 ]; then
        eval "dd bs=4096 count=$3 <&$1" 2>/dev/null
    elif [ "$3" = all ]; then
        eval "dd bs=4096 $seek=$2 <&$1" 2>/dev/null
    else
        eval "dd bs=4096 $seek=$2 count=$3 <&$1" 2>/dev/null
    fi
}

can_head() { # whether head takes several files and a number of bytes; asked once
    if [ -z "$head" ]; then
        head=no
        case $(head -q -c 4096 / 2>&1 </dev/null; printf abc | head -q -c 2 - 2>&1) in
        *ab) head=yes ;;
        esac
    fi
    [ "$head" = yes ]
}

read_all() { # the requests that were noted, in groups
    count=0
    rest=$gets
    while [ -n "$rest" ]; do
        line=${rest%%"$newline"*}
        rest=${rest#*"$newline"}
        note_get "$line" $((count + 3))
        count=$((count + 1))
        if [ $count -eq 7 ]; then
            read_group
            count=0
        fi
    done
    [ $count -eq 0 ] || read_group
    say end
}

note_get() { # a line of $gets, DESCRIPTOR
    IFS=$tab
    set -f
    set -- "$2" $1
    IFS=
    set +f
    word "$5"
    eval "wanted$1=\$2 skip$1=\$3 blocks$1=\$4 dir$1=\$word"
    word "$6"
    eval "name$1=\$word"
}

# ---- the node's own thoth, and what the node is ------------------------------------------------------------------

hash_all() { # THOTH: replies STATUS TEXT for each, then "end"
    rest=$gets
    while [ -n "$rest" ]; do
        line=${rest%%"$newline"*}
        rest=${rest#*"$newline"}
        note_get "$line" 3
        if ! listed "$dir3" "$name3"; then
            say 1 "not a place where dumps are collected"
        elif ! enter "$dir3"; then
            say 1 "$why"
        else
            text=$("$1" object "./$name3" 2>&1 </dev/null)
            say $? "$text"
        fi
    done
    say end
}

about() {
    text=
    if command -v sysinfo >/dev/null 2>&1; then
        text=$(sysinfo 2>/dev/null </dev/null) || text=
    fi
    say about "$(uname -s)" "$(uname -n)" "$(uname -r)" "$(uname -v)" "$(uname -m)" "$text" end
}

head=
seek=skip
[ "$(uname -s)" = SunOS ] && seek=iseek
gets=
close_files
choose_stat
while IFS= read -r request; do
    case $request in
    about) about ;;
    "place$tab"*"$tab@core_pattern$tab"*)
        split_place "${request#*"$tab"}"
        kernel_place "$place_type" "$place_name"
        ;;
    "place$tab"*) places=$places${request#*"$tab"}$newline ;;
    "get$tab"*) gets=$gets${request#*"$tab"}$newline ;;
    discover) discover ;;
    read | skim)
        skim=${request#read}
        read_all
        gets=
        ;;
    "hash$tab"*)
        word "${request#*"$tab"}"
        hash_all "$word"
        gets=
        ;;
    end) exit 0 ;;
    *)
        say bad - - "a request that this version does not know"
        exit 1
        ;;
    esac
done
exit 1
