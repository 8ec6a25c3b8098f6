# Before dnf.
export YUM=yum
