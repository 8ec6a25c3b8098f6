# Login shells: the command `spack` with what it can do to its own shell (`spack load`, `spack env activate`).
. /opt/spack/share/spack/setup-env.sh
