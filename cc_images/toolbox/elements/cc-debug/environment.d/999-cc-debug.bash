# Sourced by dib-run-parts, in the shell that runs a folder of hooks, last of all. The loop here takes the place of its
# own one: a hook that fails is reported through a pipe, and what comes back says how to go on (see shells.py).
set +x
cc_hooks=$target_dir/..
if [ ! -p "$cc_hooks/cc-ask" ]; then
    mkfifo -m 0666 "$cc_hooks/cc-ask" "$cc_hooks/cc-answer"
fi
for target in $targets; do
    output "Running $target_dir/$target"
    while :; do
        cc_code=0
        "$target_dir/$target" || cc_code=$?
        [ "$cc_code" -ne 0 ] || break
        output "$target failed with code $cc_code, and a shell is opened"
        export -p > /tmp/cc-debug.env
        echo "$target $cc_code $target_dir" > "$cc_hooks/cc-ask"
        read -r cc_answer < "$cc_hooks/cc-answer"
        case $cc_answer in
            retry) output "Running $target_dir/$target once more" ;;
            continue) break ;;
            *) exit "$cc_code" ;;
        esac
    done
    output "$target completed"
done
targets=
