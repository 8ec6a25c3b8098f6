"""A package of Spack for tests that needs an MPI: in its program each rank sends its number to the next one."""

from __future__ import annotations

from collections.abc import Mapping

REPOSITORY: Mapping[str, str] = {
    "repo/spack_repo/tests/repo.yaml": "repo: {namespace: tests, api: v2.0}\n",
    "repo/spack_repo/tests/packages/mpich/package.py": '''\
from spack_repo.builtin.build_systems.generic import Package

from spack.package import *


class Mpich(Package):
    """MPICH as Debian has it: it is never built, and needs nothing of Spack."""

    homepage = "https://www.mpich.org"

    version("4.0.2")

    variant("pmi", default="pmi2", values=("pmi", "pmi2", "pmix"), multi=False)

    provides("mpi")

    def setup_dependent_package(self, module, dependent_spec):
        self.spec.mpicc = self.prefix.bin.mpicc
''',
    "repo/spack_repo/tests/packages/ring/package.py": '''\
from spack_repo.builtin.build_systems.generic import Package

from spack.package import *

SOURCE = r"""
#include <mpi.h>
#include <stdio.h>

int main(int count, char **words) {
    int rank, ranks, got = -1, length;
    char name[MPI_MAX_LIBRARY_VERSION_STRING];
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Get_library_version(name, &length);
    MPI_Sendrecv(&rank, 1, MPI_INT, (rank + 1) % ranks, 0, &got, 1, MPI_INT, (rank + ranks - 1) % ranks, 0,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    printf("rank %d of %d got %d by %.5s\\n", rank, ranks, got, name);
    MPI_Finalize();
    return 0;
}
"""


class Ring(Package):
    """Each rank sends its number to the next one."""

    homepage = "https://example.org"
    has_code = False

    version("1.0")

    depends_on("c", type="build")
    depends_on("mpi")

    def install(self, spec, prefix):
        with open("ring.c", "w") as file:
            file.write(SOURCE)
        mkdirp(prefix.bin)
        Executable(spec["mpi"].mpicc)("-O2", "-o", prefix.bin.ring, "ring.c")
''',
}
"""The files of a repository with this package and its MPI, below the folder of an environment.

The MPICH of Spack's own repository may need packages that the repository for tests does not have.
"""

REPOS = {"tests": "./repo/spack_repo/tests"}
"""How an environment names it."""

MPICH = {"externals": [{"spec": "mpich@4.0.2 pmi=pmi2", "prefix": "/usr"}], "buildable": False}
"""Debian's MPICH, as settings of a package name what Spack has not built."""

ONE_MPI = {"static_analysis": True}
"""The settings of a concretizer that does not look at what other MPIs would need."""
