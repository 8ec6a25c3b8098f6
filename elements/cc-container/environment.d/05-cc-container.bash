# Written by root.d before anything is fetched. /tmp is the build's own.
if [ -n "${CC_UBUNTU_KEYRING:-}" ]; then
    export DIB_MMDEBSTRAP_EXTRA_ARGS="${DIB_MMDEBSTRAP_EXTRA_ARGS:-} --keyring=/tmp/cc-ubuntu-archive-keyring.gpg"
fi
