export DIB_RELEASE=${DIB_RELEASE:-8-stream}
