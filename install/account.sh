# The collector's key among those of a Triton account, by CloudAPI. Needs steps.sh and headnode.sh.

account= # whose; empty when no key is registered

check_account() { # SDC_* as the original's README has them; TRITON_* are the newer names, and win
    local url key
    url=${TRITON_URL:-${SDC_URL-}} account=${TRITON_ACCOUNT:-${SDC_ACCOUNT-}} key=${TRITON_KEY_ID:-${SDC_KEY_ID-}}
    case ${url:+u}${account:+a}${key:+k} in
        '') return 0 ;;
        uak) ;;
        *) die "CloudAPI needs all three of SDC_URL, SDC_ACCOUNT and SDC_KEY_ID (or TRITON_*): set those that are missing," \
            "or none, and register the key yourself" ;;
    esac
    [[ $url = https://* ]] || die "$url: not an https address of CloudAPI"
    [[ -z ${TRITON_USER:-${SDC_USER-}} ]] || die "SDC_USER: keys are the account's own to register; unset it"
    [[ -z $ca || -r $ca ]] || die "--ca $ca: cannot be read"
}

cloudapi() { "$made/bin/python" -I "$made/share/thoth/install/cloudapi.py" ${ca:+--ca "$ca"} "$@"; }

register() {
    local what
    if [[ -z $account ]]; then
        [[ -z ${MANTA_URL-} ]] || say "no SDC_URL: add the key to the account yourself: $public $uuid"
        return 0
    fi
    # A registration whose answer is lost has to be taken back, too; what was there before never is.
    what=$(printf '%s\n' "$public" | cloudapi look "$uuid") || exit 1
    [[ $what != present ]] || return 0
    [[ $what != other || -n $force ]] ||
        die "account $account has another key named $uuid; remove that one there, or replace it with -f"
    if [[ $what = other ]]; then
        cloudapi get "$uuid" >"$stage/key" || exit 1
        undo_with register_again "$uuid" "$stage/key"
        cloudapi remove "$uuid" || exit 1
    fi
    undo_with cloudapi remove "$uuid"
    printf '%s\n' "$public" | cloudapi add "$uuid" || exit 1
    say "key $uuid is registered with account $account"
}

register_again() { cloudapi add "$1" <"$2"; }
