"""Unit tests of the file that buildah gets."""

from __future__ import annotations

import pytest

from cc_images.builders.containerfile.containerfile import parsed
from cc_images.builders.containerfile.generated import Generated, generated
from cc_images.errors import UserError


def of(text: str, target: str = "", **arguments: str) -> Generated:
    """Return the file for a target; each image x is loaded as local/x."""
    file = parsed(text, arguments, "amd64")
    wanted = file.target(target)
    begins = {each for stage in file.stages for each in (stage.begins, *stage.uses) if isinstance(each, str)}
    return generated(file, wanted, {each: f"local/{each}" for each in begins})


def lines(made: Generated) -> list[str]:
    """Return the lines without the arguments that every stage has."""
    return [line for line in made.text.splitlines() if not line.startswith(("ARG SOURCE_DATE", "ARG APT_CONFIG"))]


def test_stages_have_names_of_ours_and_unneeded_ones_are_left_out() -> None:
    made = of(
        "ARG BASE=x\nFROM never AS unused\nRUN false\nFROM $BASE AS tool\nRUN make\nFROM y\n"
        "COPY --from=tool /a /a\nCOPY --from=1 /b /b\nCOPY --from=z /c /c\n"
    )
    assert lines(made) == [
        "ARG BASE=x",
        "FROM local/x AS cc-stage-1",
        'RUN ["/bin/sh", "-c", "make"]',
        "FROM local/y AS cc-stage-2",
        "COPY --from=cc-stage-1 /a /a",
        "COPY --from=cc-stage-1 /b /b",
        "COPY --from=local/z /c /c",
    ]
    assert made.target == "cc-stage-2"


def test_scratch_stays_scratch_and_a_stage_starts_from_a_stage() -> None:
    assert lines(of("FROM scratch AS a\nFROM a\n", "a")) == ["FROM scratch AS cc-stage-0"]
    assert lines(of("FROM x AS a\nFROM a AS b\n"))[1] == "FROM cc-stage-0 AS cc-stage-1"


def test_texts_of_run_become_words_of_the_stages_shell() -> None:
    made = of(
        'FROM x\nRUN --mount=type=cache,target=/c <<EOF\necho "FROM y"\nEOF\nSHELL ["/bin/bash", "-ec"]\n'
        "RUN cat <<EOF > /a\nb\nEOF\n"
    )
    assert lines(made)[1:] == [
        'RUN --mount=type=cache,target=/c ["/bin/sh", "-c", "echo \\"FROM y\\"\\n"]',
        'SHELL ["/bin/bash", "-ec"]',
        'RUN ["/bin/bash", "-ec", "cat <<EOF > /a\\nb\\nEOF"]',
    ]


def test_commands_run_in_the_shell_of_their_stage_and_of_what_it_starts_from() -> None:
    text = 'FROM x AS a\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nFROM a\nRUN false | cat\nRUN ["/bin/true"]\n'
    assert lines(of(text))[-2:] == ['RUN ["/bin/bash", "-o", "pipefail", "-c", "false | cat"]', 'RUN ["/bin/true"]']


def test_lines_may_go_on_by_another_sign() -> None:
    made = of("# escape=`\nFROM x\nRUN echo a > /a `\n  && echo b\n")
    assert lines(made)[-1] == 'RUN ["/bin/sh", "-c", "echo a > /a   && echo b"]'


def test_a_text_on_a_line_that_goes_on_and_one_with_a_dot_in_its_name() -> None:
    made = of("FROM x\nRUN echo one && \\\n  cat <<EOF > /t\nline\nEOF\nRUN <<setup.sh\necho hi\nsetup.sh\n")
    assert lines(made)[-2:] == [
        'RUN ["/bin/sh", "-c", "echo one &&   cat <<EOF > /t\\nline\\nEOF"]',
        'RUN ["/bin/sh", "-c", "echo hi\\n"]',
    ]


def test_a_text_that_names_its_interpreter_becomes_a_program() -> None:
    (run,) = [line for line in lines(of("FROM x\nRUN <<EOF\n#!/usr/bin/python3\nprint(1)\nEOF\n")) if "RUN" in line]
    assert "mktemp" in run
    assert "#!/usr/bin/python3\\nprint(1)\\n" in run


def test_texts_of_copy_become_files_beside_the_context() -> None:
    made = of("FROM x\nCOPY --chown=1:1 <<A <<'B' /etc/\none\nA\n$two\nB\n")
    assert made.texts == {"0/A": "one\n", "1/B": "$two\n"}
    assert lines(made)[1] == "COPY --from=cc-images-texts --chown=1:1 0/A 1/B /etc/"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY <<A /a\n$HOME\nA\n", "need buildah 1.33"),
        ("COPY <<A file /a\nx\nA\n", "make it two"),
        ("SHELL bash\n", "no list of words"),
        ("SHELL 5\n", "no list of words"),
        ("SHELL []\n", "no list of words"),
        (f"SHELL {'[' * 50_000}\n", "no list of words"),
    ],
)
def test_what_this_buildah_cannot_is_said(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        of(f"FROM x\n{text}")
