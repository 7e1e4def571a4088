# The part of https://github.com/trentm/json that analyzers use, in the tasks of a job, where it is not installed and
# there is no Python: what thoth/analysis/json_paths.py does, with its options, its output and its limits.
#
# For any POSIX awk, in the C locale; the program has the words of the command line as its own.

BEGIN {
    for (code = 1; code < 256; code++) {
        char = sprintf("%c", code)
        byte[char] = code
    }
    at = options()
    tokens = tokenized(file)
    if (file != "" && tokens < 0) fail(file ": cannot be read")
    output = ""
    if (grouped) top = all_values()
    else {
        next_token = 1
        top = parsed(0)
        if (next_token <= tokens) fail("input is not JSON: there is more behind the first value")
    }
    if (per_item) items(at)
    else values(at)
    printf "%s", output
    exit 0
}

function fail(message) {
    printf "json: error: %s\n", message | "cat >&2"
    close("cat >&2")
    exit 1
}

# ---- the command line: returns the number of the first path

function options(    number, word, letter, place) {
    for (number = 1; number < ARGC; number++) {
        word = ARGV[number]
        if (word == "--") return number + 1
        if (substr(word, 1, 1) != "-" || word == "-") return number
        for (place = 2; place <= length(word); place++) {
            letter = substr(word, place, 1)
            if (letter == "a") per_item = 1
            else if (letter == "g") grouped = 1
            else if (letter == "f" && (place < length(word) || number + 1 < ARGC)) {
                file = place < length(word) ? substr(word, place + 1) : ARGV[++number]
                break
            } else fail(word " is not known here; usage: json [-a] [-g] [-f FILE] [PATH...]")
        }
    }
    return number
}

# ---- the input: tokens, then a tree of nodes
#
# kind[node] is object, array, string, number or word; text[node] what a scalar is; size[node] how many members;
# member[node, i] their nodes, name[node, i] their names, place[node, name] where a name is.

function tokenized(source,    line, count, got) {
    count = 0
    while ((got = (getline line < (source == "" ? "-" : source))) > 0) {
        while (line != "") {
            if (match(line, /^[ \t\r]+/)) { line = substr(line, RLENGTH + 1); continue }
            if (match(line, /^"([^"\\]|\\.)*"/) || match(line, /^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?/) ||
                match(line, /^[a-z]+/) || match(line, /^[][{},:]/)) {
                token[++count] = substr(line, 1, RLENGTH)
                line = substr(line, RLENGTH + 1)
                continue
            }
            fail("input is not JSON: at " substr(line, 1, 20))
        }
    }
    return got < 0 ? -1 : count
}

function parsed(depth,    first, node) {
    if (next_token > tokens) fail("input is not JSON: it ends before its time")
    if (depth > 500) fail("input is not JSON: it is nested too deep")
    first = token[next_token++]
    node = ++nodes
    size[node] = 0
    if (first == "{") object(node, depth)
    else if (first == "[") array(node, depth)
    else if (substr(first, 1, 1) == "\"") { kind[node] = "string"; text[node] = unescaped(substr(first, 2, length(first) - 2)) }
    else if (first ~ /^-?(0|[1-9][0-9]*)([.eE]|$)/) { kind[node] = "number"; text[node] = plain_number(first) }
    else if (first == "true" || first == "false" || first == "null") { kind[node] = "word"; text[node] = first }
    else fail("input is not JSON: at " substr(first, 1, 20))
    return node
}

function object(node, depth,    key, value) {
    kind[node] = "object"
    if (token[next_token] == "}") { next_token++; return }
    while (1) {
        key = token[next_token++]
        if (substr(key, 1, 1) != "\"" || token[next_token++] != ":") fail("input is not JSON: an object without a name")
        key = unescaped(substr(key, 2, length(key) - 2))
        value = parsed(depth + 1)
        if (!((node, key) in place)) { place[node, key] = ++size[node]; name[node, size[node]] = key }
        member[node, place[node, key]] = value
        if (closed("}")) return
    }
}

function array(node, depth) {
    kind[node] = "array"
    if (token[next_token] == "]") { next_token++; return }
    while (1) {
        member[node, ++size[node]] = parsed(depth + 1)
        if (closed("]")) return
    }
}

function closed(bracket,    what) {
    what = next_token <= tokens ? token[next_token++] : ""
    if (what != bracket && what != ",") fail("input is not JSON: a , or a " bracket " is missing")
    return what == bracket
}

# All that comes, one after the other, as one array; arrays as their members.
function all_values(    node, count, i, j, found, only_arrays) {
    next_token = 1
    only_arrays = 1
    while (next_token <= tokens) {
        found[++count] = parsed(0)
        if (kind[found[count]] != "array") only_arrays = 0
    }
    node = ++nodes
    kind[node] = "array"
    for (i = 1; i <= count; i++) {
        if (!only_arrays) member[node, ++size[node]] = found[i]
        else for (j = 1; j <= size[found[i]]; j++) member[node, ++size[node]] = member[found[i], j]
    }
    size[node] += 0
    return node
}

# ---- texts

function unescaped(raw,    result, from, letter, code, low) {
    result = ""
    while ((from = index(raw, "\\")) > 0) {
        result = result substr(raw, 1, from - 1)
        letter = substr(raw, from + 1, 1)
        raw = substr(raw, from + 2)
        if (letter == "u") {
            code = hex(substr(raw, 1, 4))
            raw = substr(raw, 5)
            if (code >= 55296 && code < 56320 && substr(raw, 1, 2) == "\\u") {
                low = hex(substr(raw, 3, 4))
                if (low >= 56320 && low < 57344) {
                    code = 65536 + (code - 55296) * 1024 + low - 56320
                    raw = substr(raw, 7)
                }
            }
            result = result utf8(code)
        } else if (letter == "n") result = result "\n"
        else if (letter == "t") result = result "\t"
        else if (letter == "r") result = result "\r"
        else if (letter == "b") result = result "\b"
        else if (letter == "f") result = result "\f"
        else if (letter == "\"" || letter == "\\" || letter == "/") result = result letter
        else fail("input is not JSON: \\" letter)
    }
    return result raw
}

function hex(digits,    i, value) {
    if (digits !~ /^[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]$/) fail("input is not JSON: \\u" digits)
    value = 0
    for (i = 1; i <= 4; i++) value = value * 16 + index("0123456789abcdef", tolower(substr(digits, i, 1))) - 1
    return value
}

# A character as bytes. What stands for a byte that was no UTF-8 (U+DC80 to U+DCFF) is that byte again.
function utf8(code) {
    if (code < 128) return sprintf("%c", code)
    if (code >= 56448 && code < 56576) return sprintf("%c", code - 56320)
    if (code >= 55296 && code < 57344) code = 65533
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    if (code < 65536) return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64, 128 + int(code / 64) % 64, 128 + code % 64)
}

function escaped(plain,    i, char, result) {
    if (plain !~ /["\\\001-\037]/) return plain
    result = ""
    for (i = 1; i <= length(plain); i++) {
        char = substr(plain, i, 1)
        if (char == "\"" || char == "\\") result = result "\\" char
        else if (char == "\n") result = result "\\n"
        else if (char == "\t") result = result "\\t"
        else if (char == "\r") result = result "\\r"
        else if (char == "\b") result = result "\\b"
        else if (char == "\f") result = result "\\f"
        else if (byte[char] < 32) result = result sprintf("\\u%04x", byte[char])
        else result = result char
    }
    return result
}

# A whole number as it is, whatever its length; another one as JavaScript writes it.
function plain_number(raw,    value, digits, short) {
    if (raw !~ /[.eE]/) return raw == "-0" ? "0" : raw
    value = raw + 0
    if (value == int(value) && value < 1e21 && value > -1e21) {
        short = sprintf("%.0f", value)
        return short == "-0" ? "0" : short
    }
    for (digits = 1; digits < 17; digits++) {
        short = sprintf("%." digits "g", value)
        if (short + 0 == value) return short
    }
    return sprintf("%.17g", value)
}

# ---- paths: a.b, a[0], a["b.c"]; an array or a text has a length

# The node at a path; 0: it leads nowhere. A length becomes a node of its own.
function lookup(node, path,    key) {
    while (path != "") {
        if (match(path, /^\[-?[0-9]+\]/)) key = substr(path, 2, RLENGTH - 2)
        else if (match(path, /^\["[^"]*"\]/) || match(path, /^\['[^']*'\]/)) key = substr(path, 3, RLENGTH - 4)
        else if (match(path, /^\.?[^.[]+/)) { key = substr(path, 1, RLENGTH); sub(/^\./, "", key) }
        else fail("not a path: " path)
        path = substr(path, RLENGTH + 1)
        node = member_of(node, key)
    }
    return node
}

function member_of(node, key,    made) {
    if (kind[node] == "object") return (node, key) in place ? member[node, place[node, key]] : 0
    if (key == "length" && (kind[node] == "array" || kind[node] == "string")) {
        made = ++nodes
        kind[made] = "number"
        text[made] = kind[node] == "array" ? size[node] : characters(text[node])
        return made
    }
    if (kind[node] == "array" && key ~ /^-?[0-9]+$/) {
        key = key < 0 ? size[node] + key + 1 : key + 1
        return key >= 1 && key <= size[node] ? member[node, key] : 0
    }
    return 0
}

function characters(plain) {
    gsub(/[\200-\277]/, "", plain)
    return length(plain)
}

# ---- output

function shape(node) {
    if (!node) return ""
    return kind[node] == "string" ? text[node] : json(node, "")
}

function json(node, indent,    i, inner, result) {
    if (kind[node] == "string") return "\"" escaped(text[node]) "\""
    if (kind[node] != "object" && kind[node] != "array") return text[node]
    if (!size[node]) return kind[node] == "object" ? "{}" : "[]"
    inner = indent "  "
    result = kind[node] == "object" ? "{" : "["
    for (i = 1; i <= size[node]; i++) {
        result = result (i > 1 ? "," : "") "\n" inner
        if (kind[node] == "object") result = result "\"" escaped(name[node, i]) "\": "
        result = result json(member[node, i], inner)
    }
    return result "\n" indent (kind[node] == "object" ? "}" : "]")
}

function values(from,    number, shown) {
    if (from >= ARGC) {
        if ((shown = shape(top)) != "") output = shown "\n"
        return
    }
    for (number = from; number < ARGC; number++)
        if ((shown = shape(lookup(top, ARGV[number]))) != "") output = output shown "\n"
}

# The members of an array one by one, a line for each; anything else is its only one.
function items(from,    i, count) {
    count = kind[top] == "array" ? size[top] : 1
    for (i = 1; i <= count; i++) output = output row(kind[top] == "array" ? member[top, i] : top, from) "\n"
}

function row(item, from,    number, result) {
    if (from >= ARGC) return shape(item)
    result = shape(lookup(item, ARGV[from]))
    for (number = from + 1; number < ARGC; number++) result = result " " shape(lookup(item, ARGV[number]))
    return result
}
