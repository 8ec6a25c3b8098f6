# What a booted guest is asked: the commands that follow these lines, as root where the user may become it.
# cc-images puts a marker into CC_MARK; every answer ends with a line of it, the exit code, and the seconds since the
# machine's start at which these lines began and at which the answer was there.

cc_done() {
    printf '\n%s %s %s %s\n' "$CC_MARK" "$1" "$CC_BEGAN" "$(cut -d' ' -f1 /proc/uptime)"
}

cc_version() {
    if command -v dpkg-query > /dev/null; then
        dpkg-query -W -f '${db:Status-Status} ${Version}\n' "$1" 2> /dev/null | sed -n 's/^installed //p' | head -n 1 | grep .
    else
        rpm -q --qf '%{EPOCH}:%{VERSION}-%{RELEASE}\n' "$1" 2> /dev/null | sed 's/^(none)://' | head -n 1 | grep -v 'not installed'
    fi
}

cc_compare() {
    if command -v dpkg > /dev/null; then
        dpkg --compare-versions "$1" "$2" "$3"
    else
        case "$2:$(rpm --eval "%{lua: print(rpm.vercmp('$1', '$3'))}")" in
            lt:-1 | le:-1 | le:0 | eq:0 | ge:0 | ge:1 | gt:1) return 0 ;;
        esac
        return 1
    fi
}

cc_listens() {
    state=0A
    if [ "$1" = udp ]; then
        state=07
    fi
    cat "/proc/net/$1" "/proc/net/${1}6" 2> /dev/null \
        | awk -v port=":$2" -v state=$state '$4 == state && index($2, port) { found = 1 } END { exit !found }'
}

# the first words of a server; bash alone can connect without another program
cc_greets() {
    timeout 10 bash -c 'exec 3<> "/dev/tcp/127.0.0.1/$1" && dd bs=256 count=1 <&3' greets "$1" 2> /dev/null
    true
}

# systemctl's own --wait came with systemd 240
cc_system() {
    left=$1
    while state=$(systemctl is-system-running); [ "$state" = starting ] || [ "$state" = initializing ]; do
        [ "$left" -gt 0 ] || break
        left=$((left - 1))
        sleep 1
    done
    echo "$state"
}

cc_cloud_init() {
    left=$1
    while [ ! -e /run/cloud-init/result.json ] && [ "$left" -gt 0 ]; do
        left=$((left - 1))
        sleep 1
    done
    [ -e /run/cloud-init/result.json ]
}

cc_runs() {
    found=$(command -v -- "$1") && [ -f "$found" ] && [ -x "$found" ]
}

cc_as_user() {
    if [ "$(id -u)" -eq 0 ] && [ -n "${SUDO_USER:-}" ]; then
        sudo -n -u "$SUDO_USER" sh -c "$1" 2>&1
    else
        sh -c "$1" 2>&1
    fi
}
