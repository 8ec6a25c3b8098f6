# Sourced by dib-run-parts, in the shell that runs a folder of hooks, last of all. The loop here takes the place of its
# own one: it says through a pipe which hook begins and which one fails, and what comes back says how to go on (see hooks.py).
# After the hooks of the phase CC_IMAGES_UNTIL nothing comes back: the build is over.
set +x
cc_hooks=$target_dir/..
if [ ! -p "$cc_hooks/cc-ask" ]; then
    mkfifo -m 0666 "$cc_hooks/cc-ask" "$cc_hooks/cc-answer"
    [ -z "${CC_IMAGES_UNTIL:-}" ] || mkdir -p "$cc_hooks/$CC_IMAGES_UNTIL.d"
fi
cc_say() { echo "$* $target_dir" > "$cc_hooks/cc-ask"; }
target=none
for target in $targets; do
    cc_say begins 0 "$target"
    output "Running $target_dir/$target"
    while :; do
        cc_code=0
        "$target_dir/$target" || cc_code=$?
        [ "$cc_code" -ne 0 ] || break
        output "$target failed with code $cc_code"
        export -p > /tmp/cc-debug.env
        cc_say failed "$cc_code" "$target"
        read -r cc_answer < "$cc_hooks/cc-answer"
        case $cc_answer in
            retry) output "Running $target_dir/$target once more" ;;
            continue) break ;;
            *) exit "$cc_code" ;;
        esac
    done
    output "$target completed"
done
if [ "${target_dir##*/}" = "${CC_IMAGES_UNTIL:-}.d" ]; then
    output "The hooks of $CC_IMAGES_UNTIL are over, and so is the build"
    cc_say over 0 "$target"
    read -r cc_answer < "$cc_hooks/cc-answer"
fi
targets=
