# Completion of kubectl-imagecache in fish: put this file in ~/.config/fish/completions.
# As a kubectl plugin it needs nothing of this: kubectl's own completion asks kubectl_complete-imagecache.

function __kubectl_imagecache_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    test (count $found) -gt 0; or return
    set -l directive (string replace -r '^:' '' -- $found[-1])
    # fish wants the whole word, the part before = of --flag=VALUE too.
    set -l prefix (string match -r -- '^-[^=]*=' "$current")
    for line in $found[1..-2]
        echo -- "$prefix$line"
    end
    test (count $found) -gt 1; and return
    if test (math "floor($directive / 16) % 2") -eq 1
        __fish_complete_directories (string replace -r -- '^-[^=]*=' '' "$current")
    else if test (math "floor($directive / 4) % 2") -eq 0
        __fish_complete_path (string replace -r -- '^-[^=]*=' '' "$current")
    end
end

complete -c kubectl-imagecache -f -a '(__kubectl_imagecache_complete)'
