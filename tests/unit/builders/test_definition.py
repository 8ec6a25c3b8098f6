"""Definition files of Apptainer as Containerfiles."""

from __future__ import annotations

import pytest

from cc_images.builders.containerfile.containerfile import images, parsed
from cc_images.builders.containerfile.definition import containerfile, is_definition
from cc_images.errors import UserError

TAGS = ("cc-debian12-container", "ws-base")
BASES = {"bookworm": "cc-debian12-container", "noble": "cc-ubuntu24.04-container"}

WHOLE = """\
# a comment

bootstrap: localimage
From: WS-Base     \r
Stage: one

%post -c /bin/bash
    [[ -n $BASH ]]
%post
echo END-0 > /x
END-0

BootStrap: debootstrap
OSVersion: bookworm
MirrorURL: http://mirror.example.org/debian
Include: curl, less
Stage: two

%files from one
    /x  /opt/x
%files
    app.py /opt/
    "a b"  # one with a space
    data/* /srv/
%environment
    export A='1 2'
%runscript
    exec echo "$@"
%labels
    Author me, "myself" and $I
    # no label
%help
    nothing
%test
    test -e /opt/x
"""

PLACE = "/.singularity.d/env/91-environment.sh"
VARIABLES = f"export APPTAINER_ENVIRONMENT={PLACE} SINGULARITY_ENVIRONMENT={PLACE}"
BEFORE = f"exec 2>&1; mkdir -p /.singularity.d/env; {VARIABLES}"


def of(text: str) -> str:
    return containerfile(text, TAGS, BASES)


def test_a_whole_file_is_translated() -> None:
    made = of(WHOLE)
    wanted = """\
FROM ws-base AS one
USER 0
RUN <<'END-0'
#!/bin/bash -ex
BEFORE
    [[ -n $BASH ]]
END-0
RUN <<'END-1'
#!/bin/sh -ex
BEFORE
echo END-0 > /x
END-0

END-1
FROM cc-debian12-container AS two
USER 0
RUN apt-get update && apt-get install --yes --no-install-recommends curl less
COPY --from=one ["/x", "/opt/x"]
COPY ["app.py", "/opt/app.py"]
COPY ["a b", "/a b"]
COPY ["data/*", "/srv/"]
COPY --chmod=0755 <<'END-0' /.singularity.d/env/90-of-definition.sh
    export A='1 2'
END-0
COPY --chmod=0755 <<'END-0' /.singularity.d/of-definition
#!/bin/sh
    exec echo "$@"
END-0
COPY --chmod=0755 <<'END-0' /.singularity.d/runscript.help
    nothing
END-0
ENTRYPOINT ["/.singularity.d/of-definition"]
CMD []
LABEL "Author"="me, \\"myself\\" and \\$I"
RUN <<'END-0'
#!/bin/sh -ex
BEFORE
    test -e /opt/x
END-0
RUN ["/bin/sh", "-c", "rm -rf /var/lib/apt/lists/*"]
"""
    assert made.splitlines() == wanted.replace("BEFORE", BEFORE).splitlines()
    found = parsed(made, {}, "amd64")
    assert images(found.needed(found.target(""))) == ("ws-base", "cc-debian12-container")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Bootstrap: docker\nFrom: debian:12\n", "FROM debian:12"),
        ("Bootstrap: docker\nRegistry: r.example.org:5000\nNamespace: a\nFrom: b@sha256:00\n",
         "FROM r.example.org:5000/a/b@sha256:00"),
        ("Bootstrap: scratch\n", "FROM scratch"),
        ("Bootstrap: debootstrap\nOSVersion: noble\n", "FROM cc-ubuntu24.04-container"),
    ],
)  # fmt: skip
def test_where_a_file_begins(text: str, first: str) -> None:
    assert of(text).splitlines()[0] == first


FORGOTTEN = 'RUN ["/bin/sh", "-c", "rm -rf /var/lib/apt/lists/*"]'


@pytest.mark.parametrize(
    ("script", "ends"),
    [
        ("%post\napt-get update && apt-get install -y less\n", True),
        ("%post\n    set -e;apt install -y less\n", True),
        ("%test\n(aptitude search less)\n", True),
        ("%post\napk add less\necho adapt\n", False),
        ("%post\ncat /etc/apt/sources.list\n", False),
        ("%help\napt-get install it\n", False),
    ],
)
def test_lists_of_apt_are_in_no_stage_whose_scripts_read_them(script: str, ends: bool) -> None:
    """They go at the end, since each script may read them; all instructions of a stage make one layer."""
    made = of(f"Bootstrap: docker\nFrom: debian:12\nStage: one\n{script}Bootstrap: scratch\n").splitlines()
    assert made[-2:] == ["FROM scratch", "USER 0"]
    assert (made[-3] == FORGOTTEN, made.count(FORGOTTEN)) == (ends, int(ends))


def test_a_script_for_another_program_is_left_alone() -> None:
    made = of("Bootstrap: scratch\n%post -c /usr/bin/python3\nprint(1)\n")
    assert "#!/usr/bin/python3\nprint(1)\n" in made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Bootstrap: library\nFrom: alpine\n", "line 1: Bootstrap: library cannot be built here; localimage"),
        ("Bootstrap: localimage\nFrom: /home/me/x.sif\n", "is no image of the catalogue"),
        ("Bootstrap: localimage\n", "From is missing"),
        ("Bootstrap: debootstrap\nOSVersion: sid\n", r"OSVersion: sid: .* bookworm \(cc-debian12-container\), noble"),
        ("Bootstrap: scratch\nFingerprints: 1\n", "line 2: the key Fingerprints is not known"),
        ("Bootstrap: scratch\n%setup\ntouch /x\n", "line 2: %setup cannot be done here: it runs on the host"),
        ("Bootstrap: scratch\n%appinstall x\n", "%appinstall"),
        ("Bootstrap: scratch\n%files\n/etc/passwd /x\n", "line 3: %files: /etc/passwd is not below the folder"),
        ("Bootstrap: scratch\n%files\n../x /x\n", r"%files: \.\./x is not below"),
        ("Bootstrap: scratch\n%files\na b c\n", "a source and a target"),
        ("Bootstrap: scratch\n%post -x\n", "line 2: %post -x is not understood"),
        ("Bootstrap: scratch\n%post -c ''\n", "line 2: %post -c  is not understood"),
        ("Bootstrap: scratch\n%post -c 'sh\n", "line 2: %post -c 'sh: No closing quotation"),
        ("Bootstrap: scratch\n%files\na 'b\n", "line 3: a 'b: No closing quotation"),
        ("Bootstrap: scratch\n%files from a\na\\\n", "line 3: .*: No escaped character"),
        ("Bootstrap: scratch\n%files from 'a b'\na\n", "line 2: %files from a b is not understood"),
        ("Bootstrap: debootstrap\nOSVersion: noble\nInclude: a;reboot\n", "Include: a;reboot is no package"),
        ("%post\n", "stands before Bootstrap"),
    ],
)
def test_mistakes_are_named_with_their_lines(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        of(text)


@pytest.mark.parametrize("text", ["BOOTSTRAP : docker\n", "\ufeff# x\r\n\r\n bootstrap: x\r\n", "%post\n"])
def test_definitions_are_known_by_their_first_line(text: str) -> None:
    assert is_definition(text)


@pytest.mark.parametrize("text", ["FROM x\n# Bootstrap: x\n", "ARG bootstrap=1\nFROM x\n", "", "# Bootstrap: x\n"])
def test_other_texts_are_no_definitions(text: str) -> None:
    assert not is_definition(text)
