# No ifupdown here, so no interfaces.d/eth0 that networking.service would fail on.
export DIB_APT_MINIMAL_CREATE_INTERFACES=${DIB_APT_MINIMAL_CREATE_INTERFACES:-0}
