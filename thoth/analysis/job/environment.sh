#
# What is different in a task of a job from the shell functions in thoth/analysis/environment.sh, behind which this
# stands: there is no Python here, and a file that is to be stored goes to Manta from here. _thoth_json is the program
# in json.awk; THOTH_PLACE is the directory of the dump in Manta.
#

# The program behind /usr/bin/awk of an older illumos knows no functions.
_thoth_awk=$(type -P gawk || type -P nawk || type -P mawk || type -P awk) || :

if ! type -P json > /dev/null; then
    json() {
        [ -n "$_thoth_awk" ] || { _thoth_fail json 'is not installed here, and no awk either'; return 1; }
        LC_ALL=C "$_thoth_awk" "$_thoth_json" "$@"
    }
fi

# _thoth_digest md5|sha256 FILE: in hex, by what there is.
_thoth_digest() {
    local told
    if type -P digest > /dev/null; then
        told=$(command digest -a "$1" -- "$2") || return 1
    elif type -P "$1sum" > /dev/null; then
        told=$(command "$1sum" < "$2") || return 1
    else
        told=$(command openssl dgst "-$1" -r < "$2") || return 1
    fi
    printf '%s' "${told%% *}"
}

# A file becomes the dump in its expanded form: the object is here when the analyzer ends, and told of in the record.
thoth_store() {
    local name size md5 sha256
    if [ "$#" -ne 1 ] || [ ! -f "$1" ]; then
        _thoth_fail thoth_store 'usage: thoth_store FILE'
        return 1
    fi
    name=${1##*/}
    case "$name" in
        .* | *[!A-Za-z0-9._-]* | info.json)
            _thoth_fail thoth_store 'give the file a plain name: letters, digits, ".", "_" and "-", none of ours'
            return 1 ;;
        "${MANTA_INPUT_OBJECT##*/}" | "$THOTH_FILENAME")
            _thoth_fail thoth_store 'the file has the name of the dump itself, which is not replaced'
            return 1 ;;
    esac
    size=$(command wc -c < "$1") && md5=$(_thoth_digest md5 "$1") && sha256=$(_thoth_digest sha256 "$1") ||
        { _thoth_fail thoth_store 'the file cannot be read, or nothing here makes digests'; return 1; }
    command mput -q -f "$1" "$THOTH_PLACE/$name" >&2 || { _thoth_fail thoth_store 'mput cannot store it'; return 1; }
    _thoth_change thoth_store store '' "$name ${size//[!0-9]/} $md5 $sha256"
}
