"""Images from Containerfiles, built by a real buildah in the sandbox on a tree that dib has made."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from cc_images.host.containers.archive import Image, plain, read
from tests.real.conftest import CATALOGUE, Project
from tests.support.registrybed import REASON as NO_REGISTRY
from tests.support.registrybed import RegistryBed

pytestmark = pytest.mark.skipif(shutil.which("buildah") is None, reason="needs buildah")

FAMILY = """\
CC-Root: {elements: [tiny-os], formats: [oci], artifacts: {DIB_TINY_ROOT: {url: "TINY_ROOT_URL"}}}
WS-Base: {builder: containerfile, depends: [CC-Root], version: "1.0", bump: yes}
WS-Kid: {builder: containerfile, depends: [WS-Base], secrets: [TOKEN], build-args: {WHO: you}}
"""

FILES = {
    "ws-base/Containerfile": """\
ARG BASE=registry.example.org/debian:12
FROM ${BASE}
LABEL license=MIT
RUN useradd --create-home --uid 1000 user && echo built > /opt/base
USER user
WORKDIR /home/user
CMD ["sh"]
""",
    "ws-kid/Dockerfile": """\
FROM registry.example.org/never AS unused
RUN false
from ws-base as tool
USER root
RUN <<EOF
printf 'FROM %s\\n' nowhere > /tool
EOF
FROM ws-base
ARG WHO=me
USER root
COPY --from=1 /tool /opt/tool
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN --mount=type=secret,id=TOKEN cat /run/secrets/TOKEN | wc -c > /opt/count && [[ $(hostname) == localhost ]]
RUN echo $WHO > /opt/who && rm /opt/base
COPY <<DOC /opt/doc.txt
a text
DOC
ADD files.tar /opt/
COPY . /context/
USER user
ENTRYPOINT ["/bin/echo", "a b"]
""",
    "ws-kid/.containerignore": "*.md\\n",
    "ws-kid/README.md": "not in the image\\n",
    "ws-kid/run.sh": "#!/bin/sh\\n",
}


@pytest.fixture
def family(project: Project) -> Project:
    """Return a project of a base, an image on it, and one on that."""
    catalogue = project.folder / "images.yaml"
    root = catalogue.read_text().partition('{url: "')[2].partition('"')[0]
    catalogue.write_text((CATALOGUE + FAMILY).replace("TINY_ROOT_URL", root))
    for name, text in FILES.items():
        file = project.folder / "containers" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("\\n", "\n"))
    inner = project.folder / "inner.txt"
    inner.write_text("from an archive\n")
    kid = project.folder / "containers" / "ws-kid"
    subprocess.run(["tar", "-C", project.folder, "-cf", kid / "files.tar", "inner.txt"], check=True)
    project.environment["TOKEN"] = "very-secret-token"
    return project


def image(project: Project, name: str) -> Image:
    return read(project.store / "images" / f"{name}.oci.tar")


def names(found: Image, layer: int) -> set[str]:
    with plain(found.layers[layer]) as tar:
        return {each.name for each in tar if not each.isdir()}


def test_a_family_is_built_shares_layers_and_is_built_again_only_where_it_changed(family: Project) -> None:
    code, said = family.run("-b", "ws-base", "ws-kid")
    assert code == 0, said
    base, kid = image(family, "WS-Base"), image(family, "WS-Kid")
    assert [each.digest for each in kid.layers[:2]] == [each.digest for each in base.layers]
    assert (len(base.layers), len(kid.layers)) == (2, 3)
    assert names(kid, 2) == {
        "opt/tool", "opt/count", "opt/who", "opt/doc.txt", "opt/inner.txt", "opt/.wh.base",
        "context/Dockerfile", "context/run.sh", "context/files.tar",
    }  # fmt: skip
    said_of_it = kid.configuration
    assert (said_of_it.user, said_of_it.folder, said_of_it.entrypoint) == ("user", "/home/user", ("/bin/echo", "a b"))
    assert (said_of_it.labels["name"], said_of_it.labels["version"]) == ("ws-kid", "1.0")
    assert not [each for each in said_of_it.environment if each != "PATH"]
    assert base.configuration.labels["license"] == "MIT"
    assert "license" not in said_of_it.labels, "it says none itself"
    stored = subprocess.run(["grep", "-rl", "very-secret-token", family.store], check=False, capture_output=True)
    assert stored.stdout == b""

    assert "2 unchanged" in family.run("-b", "ws-base", "ws-kid")[1]
    (family.folder / "containers/ws-kid/README.md").write_text("another text\n")
    assert "1 unchanged" in family.run("-b", "ws-kid")[1], "its ignore file leaves that out"

    assert family.run("-q", "-b", "-f", "ws-kid")[0] == 0
    assert image(family, "WS-Kid") == kid, "the same bytes once more"
    (family.folder / "containers/ws-kid/run.sh").write_text("#!/bin/sh -e\n")
    assert "context/run.sh" in family.run("explain", "ws-kid")[1]
    code, said = family.run("-b", "ws-base", "ws-kid")
    assert (code, "1 built, 1 unchanged" in said) == (0, True), said
    labels = {name: image(family, name).configuration.labels["version"] for name in ("WS-Base", "WS-Kid")}
    assert labels == {"WS-Base": "1.0", "WS-Kid": "1.0.1"}, "what has changed has another version"
    family.assert_no_leftovers()


APT = """\
FROM cc-root
RUN echo {} && apt-get update && apt-get install -y --no-install-recommends less bc && apt-get clean
"""
PLANTED = "RUN apt-get update && apt-get install --print-uris -qq tree | cut -d ' ' -f 2,3 > /planted && \\\n" + (
    'while read -r name size; do truncate -s "$size" "/run/cc-images/kept/$name"; done < /planted\n'
)


def test_packages_are_downloaded_once_and_taken_again_only_if_the_indices_list_them(family: Project) -> None:
    file = family.folder / "containers/ws-base/Containerfile"

    def built(text: str) -> str:
        file.write_text(text)
        code, said = family.run("-b", "ws-base")
        assert code == 0, said
        newest = max((family.store / "logs").iterdir())
        return (newest / "layer-ws-base-amd64.log").read_text()

    assert re.search(r"Need to get [1-9][0-9.]* .?B", built(APT.format("one")))
    kept = {each.name.partition("_")[0] for each in packages(family)}
    assert {"less", "bc"} <= kept, "though apt-get clean has removed them"
    assert "Need to get 0 B" in built(APT.format("two"))
    found = image(family, "WS-Base")
    assert {"usr/bin/less", "usr/bin/bc"} <= names(found, 1)
    assert not [name for name in names(found, 1) if name.endswith(".deb") or name.startswith("run/")]

    built(APT.format("three") + PLANTED)
    (planted,) = (each for each in packages(family) if each.name.startswith("tree_"))
    assert planted.read_bytes().strip(b"\0") == b""
    assert "Need to get 0 B" not in built(APT.format("four").replace("less bc", "tree"))
    assert "usr/bin/tree" in names(image(family, "WS-Base"), 1), "the one that the indices list"
    family.assert_no_leftovers()


def packages(project: Project) -> list[Path]:
    """Return the packages that are kept of the base image's builds."""
    return [*(project.store / "caches/ws-base-amd64/current/").rglob("*.deb")]


def test_files_of_named_contexts_are_in_the_image_and_a_new_one_is_a_reason_to_build(family: Project) -> None:
    """One is a folder, one a commit of a repository, and a variable takes the place of the repository."""
    notes, repository, mine = (family.folder / name for name in ("notes", "repository", "mine"))
    for folder, text in ((notes, "a note"), (repository / "src", "a source"), (mine, "mine")):
        folder.mkdir(parents=True)
        (folder / "file").write_text(text)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@invalid", "-C", str(repository)]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    source = f"{{git: 'file://{repository}', commit: {commit}, folder: src, variable: CC_IMAGES_MINE}}"
    catalogue = family.folder / "images.yaml"
    said = catalogue.read_text()
    catalogue.write_text(
        said.replace('version: "1.0"', f'version: "1.0", contexts: {{notes: notes, source: {source}}}')
    )
    (family.folder / "containers/ws-base/Containerfile").write_text(
        "FROM cc-root\nCOPY --from=notes . /notes/\n"
        "RUN --mount=type=bind,from=source,target=/run/source cp /run/source/file /found\n"
    )

    def found() -> dict[str, bytes]:
        with plain(image(family, "WS-Base").layers[-1]) as tar:
            return {each.name: file.read() for each in tar if each.isreg() and (file := tar.extractfile(each))}

    code, output = family.run("-b", "ws-base")
    assert code == 0, output
    assert found() == {"notes/file": b"a note", "found": b"a source"}
    assert "1 unchanged" in family.run("-b", "ws-base")[1]
    (notes / ".git").mkdir()
    assert "1 unchanged" in family.run("-b", "ws-base")[1]
    (notes / "second").write_text("a note")
    code, output = family.run("-b", "ws-base", CC_IMAGES_MINE="mine")
    assert (code, "1 built" in output) == (0, True), output
    assert found() == {"notes/file": b"a note", "notes/second": b"a note", "found": b"mine"}
    code, output = family.run("-b", "ws-base", CC_IMAGES_MINE="gone")
    assert (code, "is no folder" in output, "set CC_IMAGES_MINE" in output) == (2, True, True), output
    family.assert_no_leftovers()


def test_what_a_command_says_is_shown_and_nothing_is_left(family: Project) -> None:
    (family.folder / "containers/ws-base/Containerfile").write_text("FROM cc-root\nRUN echo no such luck; exit 3\n")
    code, said = family.run("-b", "ws-base")
    assert code == 3
    assert "no such luck" in said
    family.assert_no_leftovers()


def test_a_build_that_is_killed_leaves_nothing(family: Project) -> None:
    (family.folder / "containers/ws-base/Containerfile").write_text("FROM cc-root\nRUN echo waiting; sleep 600\n")
    process = family.start("-b", "ws-base")
    log = threading.Event()
    deadline = time.monotonic() + 240
    while not log.is_set() and time.monotonic() < deadline:
        time.sleep(0.5)
        for file in family.store.glob("logs/*/*ws-base*.log"):
            if "\nwaiting" in file.read_text(errors="replace"):
                log.set()
    assert log.is_set()
    process.kill()
    process.communicate()
    assert not [*family.store.glob("work/*/*/spec.json")], "which has the values of secrets"
    family.assert_nothing_leaked()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM ws-kid\n", "ws-kid"),
        ("FROM cc-tiny\n", "add cc-tiny to its depends"),
        ("RUN true\n", "line 1: RUN stands before the first FROM"),
        ("FROM 127.0.0.1:9/none:1\n", "nobody knows what that is now"),
    ],
)
def test_what_cannot_be_built_is_said_before(family: Project, text: str, message: str) -> None:
    (family.folder / "containers/ws-base/Containerfile").write_text(text)
    code, said = family.run("-b", "ws-base")
    assert code == 2
    assert message in said


@pytest.mark.skipif(bool(NO_REGISTRY), reason=NO_REGISTRY or "it can run")
def test_an_image_of_a_registry_is_taken_by_its_digest(family: Project) -> None:
    """Its name is asked when the plan is made; a new image behind it is a reason to build, unless nobody is asked."""
    context = family.folder / "containers" / "ws-kid"
    (context / "Dockerfile").write_text("FROM scratch\nCOPY run.sh /run.sh\n")
    with RegistryBed(family.folder / "registry") as registry:
        name = f"127.0.0.1:{registry.port}/base/kid"

        def publish() -> None:
            assert family.run("-q", "-b", "ws-kid")[0] == 0
            archive = family.store / "images" / "WS-Kid.oci.tar"
            command = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci-archive:{archive}"]
            subprocess.run([*command, f"docker://{name}:1"], check=True)

        publish()
        (family.folder / "containers/ws-base/Containerfile").write_text(f"FROM {name}:1\nCOPY Containerfile /c\n")
        code, said = family.run("-b", "ws-base")
        assert code == 0, said
        assert "fetch amd64.oci.tar" in said
        base = image(family, "WS-Base")
        assert base.layers[0].digest == image(family, "WS-Kid").layers[0].digest
        assert "1 unchanged" in family.run("-b", "ws-base")[1]
        (context / "run.sh").write_text("#!/bin/sh -e\n")
        publish()
        assert "1 unchanged" in family.run("--offline", "-b", "ws-base")[1]
        code, said = family.run("-b", "ws-base")
        assert (code, "1 built" in said) == (0, True), said
        assert image(family, "WS-Base").layers[0].digest == image(family, "WS-Kid").layers[0].digest
    code, said = family.run("-b", "ws-base")
    assert (code, "1 unchanged" in said) == (0, True), "a registry that is away is taken for what it was"
    assert "it is taken for what it was when it was asked last" in said
