export DIB_RELEASE=${DIB_RELEASE:-focal}
