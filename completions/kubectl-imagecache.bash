# Completion of kubectl-imagecache in bash (3.2 or newer).
# Load it with: source completions/kubectl-imagecache.bash
# As a kubectl plugin it needs nothing of this: kubectl's own completion asks kubectl_complete-imagecache.

_kubectl_imagecache() {
    local cur words cword line value directive=0 last
    local -a args
    # COMP_WORDS is cut at = and :, which flags and image names hold: cut the line at blanks instead.
    line=${COMP_LINE:0:COMP_POINT}
    read -r -a words <<<"$line"
    if [[ $line == *[[:space:]] ]]; then
        cur=
        args=("${words[@]:1}")
    else
        cword=$((${#words[@]} - 1))
        cur=${words[cword]}
        args=("${words[@]:1:cword-1}")
    fi
    COMPREPLY=()
    while IFS= read -r value; do
        if [[ $value == :* ]]; then
            directive=${value#:}
        else
            COMPREPLY+=("${value%%$'\t'*}")
        fi
    done < <("${words[0]}" __complete ${args[@]+"${args[@]}"} "$cur" 2>/dev/null)

    # readline replaces only what follows the last = or :, so candidates must not repeat what stands before.
    last=$cur
    [[ $last == -*=* ]] && last=${last#*=}
    if [[ ${COMP_WORDBREAKS-} == *:* && $last == *:* ]]; then
        local before=${last%"${last##*:}"} i
        for i in "${!COMPREPLY[@]}"; do
            COMPREPLY[i]=${COMPREPLY[i]#"$before"}
        done
        last=${last##*:}
    fi
    if ((directive & 16)); then
        _kubectl_imagecache_paths -d "$last"
    elif ((!(directive & 4) && ${#COMPREPLY[@]} == 0)); then
        _kubectl_imagecache_paths -f "$last"
    fi
    if ((directive & 2)) && type compopt >/dev/null 2>&1; then
        compopt -o nospace 2>/dev/null
    fi
}

_kubectl_imagecache_paths() {
    local path
    while IFS= read -r path; do
        COMPREPLY+=("$path")
    done < <(compgen "$1" -- "$2")
    type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null
}

complete -o bashdefault -F _kubectl_imagecache kubectl-imagecache
