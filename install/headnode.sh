# What is Thoth's on a headnode besides its versions: user, home, services, key. Needs steps.sh.

top='' home=''    # set by locate
services=/opt/custom/smf
names="thoth sdc-thoth" # of the manifests; the services are site/NAME
uid=100 gid=1     # fixed, so that what is Thoth's on the pool stays its own when a boot makes the user anew; 1 is "other"
uuid=             # what the collector calls itself: its key's name, and the directory of its logs

locate() { # everything has its place below /opt/custom, which no boot wipes
    top=$root/opt/custom/thoth
    home=$top/home/thoth
}

# ---- programs of the system ---------------------------------------------------------------------------------------

# What a user or a service is run by gets no descriptor of the lock: what they leave running would hold it on.
system() { # PROGRAM ARGUMENT ...; with --root the one that lies there
    local name=$1 directory
    shift
    for directory in "$root/usr/sbin" "$root/usr/bin" "$root/sbin"; do
        if [[ -x $directory/$name ]]; then
            "$directory/$name" "$@" 9>&-
            return $? # the number, or a trap would be told the status from before it
        fi
    done
    warn "$name: not on this system${root:+, which --root says is below $root}"
    return 127
}

check_system() {
    local name directory
    for name in svccfg svcadm svcs useradd userdel passwd su crontab; do
        for directory in "$root/usr/sbin" "$root/usr/bin" "$root/sbin" ''; do
            [[ -n $directory ]] || die "$name is missing${root:+ below $root}: this is no illumos system; for Linux see systemd/"
            [[ ! -x $directory/$name ]] || break
        done
    done
}

is_headnode() { system bootparams 2>/dev/null | grep -q '^headnode=true'; }

sysinfo_field() { system sysinfo 2>/dev/null | release_tool field "$1" || true; }

admin_address() { # nothing where it cannot be told
    [[ -r $root/lib/sdc/config.sh ]] || return 0
    bash "$root/lib/sdc/config.sh" -json 2>/dev/null | release_tool field admin_ip || true
}

name_collector() { # -> $uuid: thoth-DATACENTER-UUID
    local datacenter server
    datacenter=$(sysinfo_field 'Datacenter Name')
    server=$(sysinfo_field UUID)
    uuid=thoth${datacenter:+-$datacenter}-${server:-$(uname -n)}
    uuid=$(printf %s "$uuid" | tr -c 'A-Za-z0-9._-' _)
}

# ---- the user, and what lies in its home --------------------------------------------------------------------------

user_line() { grep '^thoth:' "$root/etc/passwd" 2>/dev/null; }

check_user() {
    local line
    if line=$(user_line); then
        [[ $line =~ ^thoth:[^:]*:$uid: ]] || die "user thoth has another uid than $uid: $line; remove that user"
    else
        while IFS= read -r line; do
            [[ ! $line =~ ^[^:]*:[^:]*:$uid: ]] ||
                die "uid $uid is taken: $line; Thoth's user needs it, since files on the pool keep it over boots"
        done <"$root/etc/passwd"
    fi
}

make_user() { # as each boot does
    user_line >/dev/null || undo_with remove_user
    "$made/share/thoth/smf/postboot" user 9>&- || die "user thoth cannot be made"
}

remove_user() { ! user_line >/dev/null || system userdel thoth; }

# What lies in the home of thoth is written by thoth: root would follow any link that this user plants.
as_thoth() { # SCRIPT NAME ARGUMENT ...: a script for bash
    local path=$root/usr/bin:/usr/bin:/bin
    system su thoth -c "$(printf '%q ' env "HOME=$home" "PATH=$path" TMPDIR=/tmp bash -c "$@")"
}

make_home() {
    directory "$top/home"
    if [[ ! -d $home ]]; then
        undo_with rm -rf "$home"
        mkdir -m 700 "$home"
        chown $uid:$gid "$home"
    fi
    local made_now
    made_now=$(as_thoth 'cd "$1" || exit 1
        for each in .ssh log state; do
            [ -d $each ] || { mkdir -m 700 $each && echo $each; } || exit 1
        done' sh "$home") || die "$home: user thoth cannot make its directories"
    [[ -z $made_now ]] || undo_with as_thoth 'cd "$1" && rm -rf $2' sh "$home" "$made_now"
}

home_read() { # FILE COPY -> $there, yes or empty. What cannot be told is no "no": it would be written over
    local word
    there=
    as_thoth 'if [ -f "$1" ]; then echo there && cat "$1"; else [ ! -e "$1" ] && [ ! -L "$1" ] && echo absent; fi' \
        sh "$home/$1" >"$2.told" || die "$home/$1: no file that user thoth can read; move it away"
    { read -r word && cat >"$2"; } <"$2.told"
    [[ $word = absent ]] || there=yes
}

home_offer() { # FILE MODE, content on stdin: for what people edit, so it stays when it is there; -f keeps it as FILE.old
    local before=$stage/before.$1 after=$stage/after.$1
    cat >"$after"
    home_read "$1" "$before"
    if [[ -n $there ]]; then
        [[ -n $force ]] && ! cmp -s "$before" "$after" || return 0
        home_change "$1.old" "$2" "$before"
        say "$home/$1: replaced; what it was is in $home/$1.old"
    fi
    home_change "$1" "$2" "$after"
}

home_change() { # FILE MODE CONTENT: what was there comes back on failure
    local before=$stage/before.$1
    home_read "$1" "$before"
    if [[ -n $there ]]; then
        undo_with home_write "$1" "$2" "$before"
    else
        undo_with as_thoth 'rm -f "$1"' sh "$home/$1"
    fi
    home_write "$1" "$2" "$3"
}

home_write() { # FILE MODE CONTENT
    as_thoth 'umask 077
        cat >"$1.new" && chmod "$2" "$1.new" && mv -f "$1.new" "$1" || { rm -f "$1.new"; exit 1; }' \
        sh "$home/$1" "$2" <"$3" ||
        die "$home/$1: user thoth cannot write it"
}

# ---- the key ------------------------------------------------------------------------------------------------------

make_key() { # -> $public: type and base64. It has no passphrase: nobody is there to type one
    local key=$home/.ssh/id_ed25519 made_now
    made_now=$(as_thoth '[ ! -s "$1" ] || exit 0
        umask 077
        rm -f "$1.new" "$1.new.pub"
        ssh-keygen -q -t ed25519 -N "" -C "$2" -f "$1.new" </dev/null &&
            mv "$1.new.pub" "$1.pub" && mv "$1.new" "$1" && echo made' sh "$key" "$uuid") || die "$key: cannot be made"
    [[ -z $made_now ]] || undo_with as_thoth 'rm -f "$1" "$1.pub"' sh "$key"
    public=$(as_thoth 'ssh-keygen -y -f "$1" </dev/null' sh "$key" | cut -d' ' -f1,2)
    [[ $public = ssh-* ]] || die "$key: not a private key without a passphrase; move it away"
}

fingerprint() { # MD5, as Manta and CloudAPI name keys
    printf '%s\n' "$public" | ssh-keygen -E md5 -lf - | sed 's/^[0-9]* MD5:\([0-9a-f:]*\) .*/\1/'
}

# ---- services -----------------------------------------------------------------------------------------------------

make_services() { # their manifests, and what startd knows of them
    local each there
    trust "$root$services"
    directory "$root$services"
    for each in $names; do
        there=$root$services/$each.xml
        choose_manifest "$each" "$there" >"$stage/$each.xml"
        if cmp -s "$stage/$each.xml" "$there" && is_known "$each"; then
            continue
        fi
        undo_with bring_in "$each"
        if [[ -n $force && -f $there ]] && ! is_released "$each" "$there" cat; then
            put "$there.old" 644 <"$there"
            say "$there: replaced; what it was is in $there.old"
        fi
        put "$there" 644 <"$stage/$each.xml"
        bring_in "$each" || die "$there: svccfg does not take it"
    done
    [[ $(state_of thoth) != maintenance* ]] || system svcadm clear svc:/site/thoth:default || true
    comes_up thoth || die "site/thoth does not run; see svcs -x site/thoth"
}

# A manifest is edited, as the collector's own says: enabled='true' has the daemon start at each boot.
choose_manifest() { # NAME FILE: the manifest that has to lie there. -f: the release's; else what was edited in it stays
    local release=$made/share/thoth/smf/$1.xml enabled
    if [[ -n $force || ! -f $2 ]]; then
        cat "$release"
    elif is_released "$1" "$2" but_for_enabled; then
        enabled=$(sed -n "s/.*$default_instance['\"]\([a-z]*\)['\"].*/\1/p" "$2")
        sed "s/\($default_instance\)['\"][a-z]*['\"]/\1'$enabled'/" "$release"
    else
        warn "$2: edited, so it stays; this release's is $release"
        cat "$2"
    fi
}

default_instance='<create_default_instance enabled='

but_for_enabled() { sed "s/$default_instance['\"][a-z]*['\"]/$default_instance/" "$1"; }

is_released() { # NAME FILE HOW: whether a version has this manifest, when both are seen through HOW
    local each
    for each in "$made" "$top"/versions/*; do
        [[ ! -f $each/share/thoth/smf/$1.xml || $("$3" "$each/share/thoth/smf/$1.xml") != "$("$3" "$2")" ]] || return 0
    done
    return 1
}

is_known() { system svcs -H "svc:/site/$1:default" >/dev/null 2>&1; }

bring_in() { # NAME: what startd knows follows the manifest, there or not
    if [[ -f $root$services/$1.xml ]]; then
        system svccfg import "$root$services/$1.xml"
    elif is_known "$1"; then
        system svcadm disable -s "svc:/site/$1:default" && system svccfg delete -f "svc:/site/$1"
    fi
}

state_of() { system svcs -H -o state "svc:/site/$1:default" 2>/dev/null || echo unknown; }

comes_up() { # NAME: whether the service runs within a minute
    local tries=0
    while [[ $tries -lt 60 ]]; do
        case $(state_of "$1") in
            online | degraded) return 0 ;;
            disabled | maintenance*) return 1 ;;
        esac
        sleep 1
        tries=$((tries + 1))
    done
    return 1
}

restart_collector() { # when it runs: whether it runs again
    case $(state_of sdc-thoth) in
        online* | degraded*) system svcadm restart svc:/site/sdc-thoth:default || return 1 ;;
        maintenance*) system svcadm clear svc:/site/sdc-thoth:default || return 1 ;;
        *) return 0 ;;
    esac
    comes_up sdc-thoth
}

switch() { # to the version in $made; the one before it runs again if this one does not
    in_use >"$stage/before"
    put "$top/.switching" 644 <"$stage/before"
    undo_with restart_collector
    point "$top/current" "versions/${made##*/}"
    make_commands
    make_services
    restart_collector || die "site/sdc-thoth does not run with $version; see svcs -x site/sdc-thoth"
}

switched() { # to the version in $made, and for good; of the others only the one before it stays
    committed=yes
    rm -f -- "$top/.switching"
    forget_versions "${made##*/}" "$1"
}

# A run that was killed in between may have left the new version with the old one's services, and nobody knows whether it
# runs. The old one is the one to go back to, so it is in use again until the next run has changed over.
switch_back() {
    local old
    [[ -s $top/.switching ]] || return 0
    old=$(<"$top/.switching")
    [[ $(in_use) = "$old" || ! -d $top/versions/$old ]] || repoint "$top/current" "versions/$old"
}

make_commands() { # what people and services call
    local each
    directory "$top/bin"
    for each in sdc-thoth sdc-thoth-install sdc-thoth-update sdc-thoth-uninstall; do
        point "$top/bin/$each" "../current/share/thoth/install/$each"
    done
    point "$top/bin/sdc-install-thoth" ../current/share/thoth/install/sdc-thoth-install
    for each in postboot collector; do
        point "$top/bin/$each" "../current/share/thoth/smf/$each"
    done
    point "$top/bin/thoth" ../current/bin/thoth
}
