# What a node runs for sdc-thoth. It needs a POSIX shell, cat, dd, and stat or ls; it writes nothing, anywhere.
#
# Requests come on stdin, a line each, words apart by tabs, ended by "end"; one that has an "end" of its own is the last.
# Replies go to stdout as fields that end in NUL, and raw bytes whose number the asker knows. No name is ever evaluated:
# names come from a glob or from stdin, and go into quotes.
# (ksh93 itself keeps what $(...) collects in a file of /tmp that has no name.)
#
#   about                                what the node is: see about()
#   place TYPE SYSTEM DIR NAME           a place where dumps lie, as shell patterns; DIR may be @core_pattern, on Linux
#   discover                             the files that lie in the places: see discover()
#   read MARK; get SIGNATURE SKIP COUNT DIR NAME, ...; end     bytes of such files: see send_group()
#   skim MARK; get ...; end              the same, looked at only after the reading: for small parts
#   press TOOL MARK; get ...; end        the same for one file, its bytes compressed by gzip or zstd
#   hash THOTH; get ...; end             their identities, as the node's own thoth tells them: see hash_files()
#   debug; get ...; end                  what the node's mdb says of their stacks: see debug_files()
#   (where an open does not come back: "hung MARK", and the end)
#   image MARK; file DIR NAME; part SKIP COUNT; ...; over   bytes of executables and libraries: see read_images()
#
# A word in a request is "=" and plain characters, or "%" and the same with \0ooo for all others. A request has so many
# words as it says here, none of them empty. Where the node confines our key the same text runs behind node-guard.sh,
# with one argument: then what is refused is logged there, too.
# A signature is what the stat of a file must say: device:inode:size:mtime:ctime:links.

set -u
confined=${1-}
LC_ALL=C
TZ=UTC0
PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/gnu/bin:/opt/local/bin:$PATH
export LC_ALL TZ PATH
umask 077
ulimit -c 0 2>/dev/null
tab='	'
IFS=
places=
placeless=
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

take_words() { # REQUEST COUNT: its words behind the verb -> $word1 $word2 ...; it must have so many, and none empty
    case $tab$1$tab in
    *"$tab$tab"*) refuse_request ;;
    esac
    IFS=$tab
    set -f
    set -- "$2" $1
    IFS=
    set +f
    [ $# -eq $(($1 + 1)) ] || refuse_request
    word1=${2-} word2=${3-} word3=${4-} word4=${5-} word5=${6-}
}

refuse_request() {
    say bad - - "a request that this version does not know"
    stop_watchdog
    [ -z "$confined" ] || refuse "a request that this version does not know"
    exit 1
}

came_whole() { # LAST: whether that was the last line, and not the end of stdin in the middle of a request
    [ "$request" != "$1" ] || return 0
    stop_watchdog
    exit 1
}

# ---- stat --------------------------------------------------------------------------------------------------------

choose_stat() { # -> $format: nanoseconds where this stat knows them; $fds: where an open file can be looked at
    fds=/proc/self/fd
    for format in %d:%i:%s:%.Y:%.Z:%h %d:%i:%s:%Y:%Z:%h; do # one process tells all, on most nodes
        known=$(with_files exec stat -L -c "$format" / "$fds/3" 2>/dev/null 3</) || known=
        case $known in
        *[!0-9.:"$newline"]* | *::*) ;;
        *:*"$newline"*:*)
            [ "${known%"$newline"*}" = "${known#*"$newline"}" ] || continue
            # A stat that shows no fraction has taken the dot for a precision: of a time that is 0 it prints nothing.
            case $known in
            *.*) ;;
            *) format=%d:%i:%s:%Y:%Z:%h ;;
            esac
            return 0
            ;;
        esac
    done
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
    year=${1#"${1%%[1-9]*}"}
    year=$((${year:-0} - (month < 3))) month=$(((month + 9) % 12))
    days=$((year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719469))
    seconds=$((days * 86400 + hour * 3600 + minute * 60 + second))
    # Before 1970 the fraction would count the wrong way.
    case $seconds in
    -*) ;;
    *) seconds=$seconds$fraction ;;
    esac
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
    *) looks=$(with_files exec stat -L -c "$format" "$@" 2>/dev/null)$newline ;;
    esac
}

close_files() {
    exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null 8</dev/null 9</dev/null
}

# ksh93, the sh of illumos, passes on only the descriptors that it is told to. In $(...) "exec" saves a process.
with_files() { # a command that gets descriptors 3 to 9
    "$@" 3<&3 4<&4 5<&5 6<&6 7<&7 8<&8 9<&9
}

# ---- what others may change meanwhile ----------------------------------------------------------------------------
# A tenant may swap what lies in its directories at any time, between our look at it and our use of it.

choose_same() { # -> $same: whether this shell can compare files, open ones too; asked once
    same=
    { [ "/proc/$$/fd/3" -ef / ] && [ ! "/proc/$$/fd/3" -ef /proc ] && same=yes; } 2>/dev/null 3</
    exec 3</dev/null
}

# What was a file when we looked may be a FIFO when we open it, and such an open waits, for ever if nobody writes. So a
# watchdog runs beside the shell that opens files: one that does not come back from an open within seconds is ended, or
# within a minute where no FIFO lies in that directory: a file system may be slow. That is told as "hung MARK". While a
# file is opened descriptor 2 is "/", which the watchdog sees.

start_watchdog() {
    [ -z "$watchdog" ] && [ -n "$same" ] && command -v sleep >/dev/null 2>&1 || return 0
    trap '' USR1 # until the watchdog takes it
    watch </dev/null 2>/dev/null &
    watchdog=$!
}

stop_watchdog() {
    [ -z "$watchdog" ] || kill "$watchdog" 2>/dev/null
    watchdog=
}

about_to_open() { # tells the watchdog that this is another file than the last one
    [ -z "$watchdog" ] || kill -USR1 "$watchdog" 2>/dev/null
}

open_as() { # DESCRIPTOR NAME, in this directory; fails when it cannot be opened
    eval "command exec $1<\"./\$2\"" 2</
}

watch() {
    nap= others= looks=0
    trap 'others=yes' USR1
    trap 'kill $nap; exit 0' TERM
    while [ -e "/proc/$$/fd/0" ]; do
        sleep 2 >/dev/null &
        nap=$!
        while kill -0 $nap; do
            wait $nap
        done
        if [ ! "/proc/$$/fd/2" -ef / ]; then
            looks=0
        elif [ -n "$others" ]; then
            others= looks=1
        else
            looks=$((looks + 1))
        fi
        if [ $looks -ge 2 ] && { [ $looks -eq 30 ] || fifo_there; }; then
            kill -9 $$
            say "hung $mark"
            exit 0
        fi
    done
}

fifo_there() { # whether a FIFO lies in the directory where the watched shell is
    set +f
    for each in "/proc/$$/cwd/"*; do
        [ ! -p "$each" ] || return 0
    done
    return 1
}

# ---- places ------------------------------------------------------------------------------------------------------

take_place() { # a place request: adds what it names to $places
    take_words "$1" 4
    # A pattern that held a slash or a bracket could stand for other directories than it seems to.
    case $word3$word4 in
    *[][{}\(\)\\]* | *[[:cntrl:]]*) refuse_request ;;
    esac
    case $word4 in
    */*) refuse_request ;;
    esac
    case $word3 in
    @core_pattern) kernel_place "$word1" "$word4" ;;
    /*) places=$places$word1$tab$word2$tab$word3$tab$word4$newline ;;
    *) refuse_request ;;
    esac
}

kernel_place() { # TYPE EXECUTABLE: adds the place that this Linux kernel's core_pattern names, when it names one
    [ -r /proc/sys/kernel/core_pattern ] || return 0
    IFS= read -r pattern </proc/sys/kernel/core_pattern || return 0
    case $pattern in
    /*) ;;
    '') return 0 ;; # nobody takes them
    # Those of systemd and of apport put them where other places are.
    '|'*/systemd-coredump | '|'*/systemd-coredump' '* | '|'*/apport | '|'*/apport' '* | @*/systemd/coredump*) return 0 ;;
    *) # a name in each process's own directory, or another program or socket
        placeless=$pattern
        return 0
        ;;
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
        [*?[\\"$tab"]*) glob=$glob'?' pattern=${pattern#?} ;;
        *)
            literal=${pattern%%[%*?[\\"$tab"]*}
            glob=$glob$literal
            pattern=${pattern#"$literal"}
            ;;
        esac
    done
    folder=${glob%/*}
    places=$places$1${tab}Linux$tab${folder:-/}$tab${glob##*/}$newline
}

# ---- discovery ---------------------------------------------------------------------------------------------------
# Replies: "system" NAME and an empty field, "placeless" CORE_PATTERN where that names no place, then per directory any
# number of
#   "found" TYPE DIR NOW COUNT NAME... SIGNATURES    COUNT names, then their signatures, a line each
#   "odd" TYPE DIR NAME KIND                     a name that matches but is no file that can be read
#   "bad" TYPE DIR REASON                        a place that could not be searched
# and at last "end".

discover() {
    say system "$system" ""
    [ -z "$placeless" ] || [ "$system" != Linux ] || say placeless "$placeless"
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

tell_time() { # -> $now, in seconds since 1970; empty when nothing here knows
    now=$(date +%s 2>/dev/null)
    case $now in
    '' | *[!0-9]*) now=$(awk 'BEGIN { srand(); print srand() }' 2>/dev/null) ;;
    esac
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
    elif [ "$PWD" != "$1" ] || ! is_here "$1"; then
        why="the path leads through a link"
    fi
    [ -z "$why" ]
}

# ksh93 makes $PWD of names, after it has gone there: by then a link may have become a directory again. So we look from
# here upwards. A tenant may swap what the lower part of the path names, but not where the upper part is, nor our "..".

is_here() { # DIR: whether it is this directory, and those above it are those above this one
    [ -n "$same" ] || return 0
    above=$1 up=.
    while [ -n "$above" ]; do
        [ "$up" -ef "$above" ] || return 1
        above=${above%/*} up=$up/..
    done
    [ "$up" -ef / ]
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
    chunks=0
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
            chunks=$((chunks + 1))
            if [ $chunks -eq 750 ]; then
                say bad "$type" "$directory" "holds too many dumps: the first 150000 are looked at"
                break
            fi
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
    tell_time # each time: the listing waits while dumps are transferred, for hours perhaps
    if [ "$format" != ls ] && signatures=$(stat -c "$format" -- "$@" 2>/dev/null); then
        say found "$type" "$directory" "$now" $# "$@" "$signatures"
        return
    fi
    for name in "$@"; do
        signature "$name"
        if [ -n "$signature" ]; then
            say found "$type" "$directory" "$now" 1 "$name" "$signature"
        else
            say odd "$type" "$directory" "$name" gone
        fi
    done
}

# ---- reading -----------------------------------------------------------------------------------------------------
# Up to seven files are opened together, on descriptors 3 to 9, so that a few processes serve all of them.

read_files() { # answers the get requests that follow, as they come
    start_watchdog
    while IFS= read -r request; do
        case $request in
        "get$tab"*) take_get "${request#*"$tab"}" ;;
        end) break ;;
        *) refuse_request ;;
        esac
        open_file
        [ $count -lt 7 ] || send_group
    done
    came_whole end
    [ $count -eq 0 ] || send_group
    stop_watchdog
    say "end $mark"
}

take_get() { # a get request -> $wanted $skip $units $name, and $directory where we then are, or $problem
    take_words "$1" 5
    wanted=$word1 skip=$word2 units=$word3 name=$word5
    # They become part of a command.
    is_number "$skip" && { [ "$units" = all ] || is_number "$units"; } || refuse_request
    if [ "$word4" != "$directory_word" ]; then
        directory_word=$word4
        word "$word4"
        directory=$word
        go_to "$directory"
    fi
    word "$name"
    name=$word
    problem=$why
    [ -n "$problem" ] || listed "$name" || problem=$no_place
    # sdc-thoth asks for nothing that was not listed.
    [ -z "$confined" ] || [ "$problem" != "$no_place" ] || tell "a file that lies in none of its places"
}

is_number() {
    case $1 in
    '' | *[!0-9]* | 0?* | ?????????????????*) return 1 ;;
    esac
}

go_to() { # DIR: go there if it is a place -> $patterns of names that are listed there, and $why that failed
    patterns=
    rest=$places
    while [ -n "$rest" ]; do
        split_place "${rest%%"$newline"*}"
        rest=${rest#*"$newline"}
        same_depth "$1" "$place_dir" || continue
        # Unquoted: it is a pattern.
        case $1 in
        $place_dir) patterns=$patterns$place_name$newline ;;
        esac
    done
    why=$no_place
    [ -n "$patterns" ] || return 0
    enter "$1" || [ -e "$1" ] || why=gone
}

same_depth() { # PATH PATTERN: a "*" of a pattern must not stand for a "/"
    IFS=/
    set -f
    set -- "$2" $1
    depth=$#
    set -- "" $1
    IFS=
    set +f
    [ $# -eq "$depth" ]
}

listed() { # NAME: whether discovery would list it here
    rest=$patterns
    case $1 in
    */* | '') return 1 ;;
    esac
    while [ -n "$rest" ]; do
        pattern=${rest%%"$newline"*}
        rest=${rest#*"$newline"}
        case $1 in
        $pattern) return 0 ;;
        esac
    done
    return 1
}

open_file() { # the file of a get, on the next descriptor; takes note of it for send_group
    fd=$((count + 3))
    status=$problem
    if [ -n "$problem" ]; then
        :
    elif [ -L "./$name" ]; then
        status="a link"
    elif [ -f "./$name" ]; then
        # The test comes first since an open of a FIFO would wait; what is really open is looked at afterwards.
        if [ -n "$held" ]; then
            eval "command exec $fd<." 2>/dev/null && status=ok || status=denied
            eval "name$fd=\$name"
        else
            open_here $fd "$name"
        fi
    elif [ -e "./$name" ]; then
        status="not a regular file"
    else
        status=gone
    fi
    [ -z "$no_press" ] || status=$no_press
    eval "status$fd=\$status wanted$fd=\$wanted skip$fd=\$skip units$fd=\$units"
    [ $count -gt 0 ] || parts=$skip/$units
    [ "$parts" = "$skip/$units" ] || parts=
    count=$((count + 1))
}

open_here() { # DESCRIPTOR NAME, in this directory -> $status
    status=denied
    about_to_open
    open_as $1 "$2" && status=ok
    [ -e "./$2" ] || [ "$status" = ok ] || status=gone
    [ "$status" != ok ] || is_that_file $1 "$2" || status="not a regular file"
}

# A link may be there at the open, and a file again whenever we look. Only one look that tells device and inode of what
# lies there, be it a link, shows whether that is open. It takes a process: one for a group. Until then the directories
# are held open in place of the files. So it is where the node confines our key: whoever has that, and a tenant's help,
# must not read other files. Elsewhere our key reads them anyway, and what was not listed is dropped by sdc-thoth.

choose_held() { # -> $held: whether that can be done here
    case $fds/$format in
    */ls) return 0 ;;
    /proc/self/fd/*) ;;
    *) return 0 ;;
    esac
    { [ "/proc/$$/fd/3/proc" -ef /proc ] && held=yes; } 2>/dev/null 3</
    exec 3</dev/null
}

open_held() { # opens the files of a group, each in the directory on its descriptor -> $lain: what lies there
    set --
    fd=3
    while [ $fd -lt $((count + 3)) ]; do
        eval "status=\$status$fd name=\${name$fd-}"
        [ "$status" = ok ] && set -- "$@" "$fds/$fd/./$name"
        fd=$((fd + 1))
    done
    [ $# -gt 0 ] || return 0
    lain=$newline$(with_files exec stat -c "$format" "$@" 2>/dev/null)
    fd=3
    while [ $fd -lt $((count + 3)) ]; do
        eval "status=\$status$fd name=\${name$fd-}"
        if [ "$status" = ok ]; then
            status=gone
            cd -P "/proc/$$/fd/$fd/." 2>/dev/null && open_here $fd "$name"
            eval "status$fd=\$status"
        fi
        fd=$((fd + 1))
    done
    directory_word= # we are elsewhere
}

lies_there() { # SIGNATURE of an open file: whether that is one of those
    [ -n "$held" ] || return 0
    inode=${1#*:}
    case $lain in
    *"$newline${1%%:*}:${inode%%:*}:"*) ;;
    *) return 1 ;;
    esac
}

is_that_file() { # DESCRIPTOR NAME: whether a regular file is open there, and lies here by that name and by no link
    [ -z "$same" ] || { [ -f "/proc/$$/fd/$1" ] && [ "/proc/$$/fd/$1" -ef "./$2" ] && [ ! -L "./$2" ]; }
}

# Reply: "group MARK" COUNT, then STATUS for each file: "ok", or why not; the bytes of those that are ok, in order;
# "after MARK" and their signatures, a line each, as they are after the reading. Nobody can write the mark, a random
# one for each request, into a file in time: what a file holds is never taken for the end of it.

send_group() {
    [ -z "$held" ] || open_held
    set --
    fd=3
    while [ $fd -lt $((count + 3)) ]; do
        eval "status=\$status$fd"
        [ "$status" = ok ] && set -- "$@" "$fds/$fd"
        fd=$((fd + 1))
    done
    # Where it cannot be seen at once what is open, its signature tells before it is read.
    if [ -z "$skim" ] || [ -z "$same" ] || [ -n "$held" ]; then
        look "$@"
        set --
        fd=3
        while [ $fd -lt $((count + 3)) ]; do
            eval "status=\$status$fd wanted=\$wanted$fd"
            if [ "$status" = ok ]; then
                signature=${looks%%"$newline"*}
                looks=${looks#*"$newline"}
                if ! lies_there "$signature"; then
                    eval "status$fd='not a regular file'"
                elif [ "$signature" = "$wanted" ]; then
                    set -- "$@" "$fds/$fd"
                else
                    eval "status$fd=\"changed \$signature\""
                fi
            fi
            fd=$((fd + 1))
        done
    fi
    say_statuses
    if [ -z "$press" ] || [ $# -eq 0 ]; then
        send_bytes "$@"
    else
        send_bytes "$@" | pressed
    fi
    look "$@"
    say "after $mark" "$looks"
    close_files
    count=0
}

say_statuses() {
    set --
    fd=3
    while [ $fd -lt $((count + 3)) ]; do
        eval "set -- \"\$@\" \"\$status$fd\""
        fd=$((fd + 1))
    done
    say "group $mark" $count "$@"
}

send_bytes() { # paths of open files; one process for several of them, where that is possible
    if [ $# -gt 1 ] && [ "$parts" = 0/all ] && [ "$fds" != stdin ]; then
        with_files cat "$@"
        return
    fi
    case $parts/$fds in
    *all/* | */stdin) ;;
    0/*)
        if [ $# -gt 1 ] && can_head; then
            with_files head -q -c $((${parts#0/} * 4096)) "$@"
            return
        fi
        ;;
    esac
    for path in "$@"; do
        fd=${path##*/}
        eval "send_one $fd \"\$skip$fd\" \"\$units$fd\""
    done
}

choose_press() { # TOOL -> $press, or $no_press when it is not here
    press=$1
    nice=$(command -v nice) || nice=
    case $1 in
    gzip | zstd) command -v "$1" >/dev/null 2>&1 || no_press="cannot compress" ;;
    *) no_press="cannot compress" ;;
    esac
}

pressed() { # what comes, compressed at the level that costs the least; what else runs here goes first
    case $press in
    gzip) $nice gzip -1 -c ;;
    zstd) $nice zstd -1 -q -c ;;
    esac
}

send_one() { # DESCRIPTOR SKIP UNITS, of 4096 bytes
    if [ "$2/$3" = 0/all ]; then
        eval "cat <&$1"
    elif [ "$3/$(($2 % 256))" = all/0 ]; then
        eval "dd bs=1048576 $seek=$(($2 / 256)) <&$1" 2>/dev/null
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
        [ "$(printf abc | head -q -c 2 - 2>/dev/null)" = ab ] && head=yes
    fi
    [ "$head" = yes ]
}

# ---- executables and libraries -----------------------------------------------------------------------------------
# What a core names and does not hold. Parts come in the order of the file, in units of 4096 bytes. Nothing is read but
# what begins as an executable or library does, so that whoever asks learns nothing from other files.
# Reply: for each file "file MARK" STATUS SIGNATURE; when that is "ok" the bytes of its parts, as far as the file has
# them, and "after MARK" with its signature, on a line, after the reading. At last "end MARK".

read_images() {
    start_watchdog
    status=
    while IFS= read -r request; do
        case $request in
        "file$tab"*)
            finish_image
            take_words "${request#*"$tab"}" 2
            open_image
            say "file $mark" "$status" "$signature"
            ;;
        "part$tab"*)
            take_words "${request#*"$tab"}" 2
            is_number "$word1" && is_number "$word2" || refuse_request
            [ "$status" != ok ] || send_part "$word1" "$word2"
            ;;
        over) break ;;
        *) refuse_request ;;
        esac
    done
    came_whole over
    finish_image
    stop_watchdog
    say "end $mark"
}

open_image() { # $word1 $word2: DIR and NAME -> $status and $signature; what is read from is descriptor 4
    signature= looks= passed=0
    word "$word2"
    name=$word
    word "$word1"
    status="not a name"
    case $name in
    */* | . | .. | '') return ;;
    esac
    status=gone
    [ -e "$word" ] || return 0
    enter "$word"
    status=$why
    [ -z "$why" ] || return 0
    status="a link"
    [ ! -L "./$name" ] || return 0
    status="not a regular file"
    [ -f "./$name" ] || return 0
    status=denied
    about_to_open
    open_as 3 "$name" || return 0
    about_to_open
    open_as 4 "$name" || return 0
    status="not a regular file"
    is_that_file 3 "$name" && is_that_file 4 "$name" || return 0
    status="not an executable or library"
    is_image || return 0
    # Descriptor 3 has been looked into: 4 has to be the same file.
    [ "$fds" = none ] || look "$fds/3" "$fds/4"
    signature=${looks%%"$newline"*}
    if [ "$looks" = "$signature$newline$signature$newline" ] && [ -n "$signature" ]; then
        status=ok
    else
        status=changed signature=
    fi
}

is_image() { # whether descriptor 3 begins as ELF of type ET_EXEC or ET_DYN does, in little-endian
    [ "$(dd bs=1 count=4 <&3 2>/dev/null)" = "$(printf '\177ELF')" ] || return 1
    case $(dd bs=1 $seek=12 count=1 <&3 2>/dev/null) in
    "$(printf '\002')" | "$(printf '\003')") ;;
    *) return 1 ;;
    esac
}

send_part() { # SKIP COUNT; dd goes on where the last one has ended
    dd bs=4096 $seek=$(($1 - passed)) count="$2" <&4 2>/dev/null
    passed=$(($1 + $2))
}

finish_image() {
    if [ "$status" = ok ]; then
        before=$signature
        look "$fds/4"
        say "after $mark" "$looks"
        # Of a file that has shrunk fewer bytes came than are waited for: the end of the reply tells.
        if [ "$looks" != "$before$newline" ]; then
            stop_watchdog
            exit 1
        fi
    fi
    status=
    close_files
}

# ---- the node's own thoth, and what the node is ------------------------------------------------------------------

hash_files() { # THOTH: answers the get requests that follow with STATUS TEXT each, then "end"
    thoth=$1
    while IFS= read -r request; do
        case $request in
        "get$tab"*) take_get "${request#*"$tab"}" ;;
        end) break ;;
        *) refuse_request ;;
        esac
        if [ -n "$problem" ]; then
            say 1 "$problem"
        elif [ -L "./$name" ] || [ ! -f "./$name" ]; then
            say 1 "not a regular file"
        else
            text=$("$thoth" object "./$name" 2>&1 </dev/null)
            say $? "$text"
        fi
    done
    came_whole end
    say end
}

debug_files() { # answers the get requests that follow with STATUS TEXT each, then "end"; only where that is configured
    while IFS= read -r request; do
        case $request in
        "get$tab"*) take_get "${request#*"$tab"}" ;;
        end) break ;;
        *) refuse_request ;;
        esac
        if [ -n "$problem" ]; then
            say 1 "$problem"
        elif [ -L "./$name" ] || [ ! -f "./$name" ]; then
            say 1 "$no_place"
        elif ! command -v mdb >/dev/null 2>&1; then
            say 1 "there is no mdb"
        else
            text=$(ask_mdb)
            say 0 "$text"
        fi
    done
    came_whole end
    say end
}

ask_mdb() { # what mdb says of ./$name: so long and so much at most, with nobody's settings
    ulimit -t 60 2>/dev/null
    limited mdb -S -e "\$c 0$newline::walk thread | ::findstack" "./$name" | dd bs=4096 count=512 2>/dev/null
}

limited() { # COMMAND: for so long at most; what was a file when we looked may be a FIFO when it is opened
    "$@" 2>&1 </dev/null &
    running=$!
    end_late </dev/null >/dev/null 2>&1 &
    limit=$!
    wait $running 2>/dev/null
    kill $limit 2>/dev/null
}

end_late() { # ends $running when its time is over
    nap=
    trap 'kill $nap; exit 0' TERM
    sleep 80 &
    nap=$!
    wait $nap
    kill -9 $running
}

about() { # Reply: "about", system, node name, release, version, machine, what sysinfo prints, "end"
    text=
    if command -v sysinfo >/dev/null 2>&1; then
        text=$(sysinfo 2>/dev/null </dev/null) || text=
    fi
    # SYSTEM NODE RELEASE VERSION MACHINE, of which only the version may have blanks in it.
    told=${uname#* }
    name=${told%% *}
    told=${told#* }
    version=${told#* }
    say about "$system" "$name" "${told%% *}" "${version% *}" "${version##* }" "$text" end
}

head=
seek=skip
uname=$(uname -snrvm)
system=${uname%% *}
[ "$system" = SunOS ] && seek=iseek
directory_word=
no_place="not a place where dumps are collected"
count=0
press=
no_press=
watchdog=
choose_same
close_files
choose_stat
held=
[ -z "$confined" ] || [ -z "$same" ] || choose_held
while IFS= read -r request; do
    case $request in
    end) exit 0 ;;
    about) about ;;
    "place$tab"*) take_place "${request#*"$tab"}" ;;
    discover) discover ;;
    "read$tab"* | "skim$tab"*)
        take_words "${request#*"$tab"}" 1
        mark=$word1
        skim=${request%"$tab"*}
        skim=${skim#read}
        read_files
        exit 0
        ;;
    "press$tab"*)
        take_words "${request#*"$tab"}" 2
        mark=$word2
        choose_press "$word1"
        skim=
        read_files
        exit 0
        ;;
    "hash$tab"*)
        [ -z "$confined" ] || refuse_request # it runs a program that the request names
        take_words "${request#*"$tab"}" 1
        word "$word1"
        hash_files "$word"
        exit 0
        ;;
    debug)
        [ -z "$confined" ] || [ "$debugger" = yes ] || refuse_request
        debug_files
        exit 0
        ;;
    "image$tab"*)
        take_words "${request#*"$tab"}" 1
        mark=$word1
        read_images
        ;;
    *) refuse_request ;;
    esac
done
exit 1
