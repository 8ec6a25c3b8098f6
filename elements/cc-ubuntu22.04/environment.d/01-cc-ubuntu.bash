export DIB_RELEASE=${DIB_RELEASE:-jammy}
