"""What stands in the documents holds: commands, files, targets and snippets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from cc_images.cli.help_texts import VERBS
from cc_images.cli.parser import parser
from cc_images.config.loader import load
from cc_images.config.settings import read
from tests.conftest import REPOSITORY, write_files

TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
DOCUMENTS = [*(REPOSITORY / name for name in TOP), *sorted((REPOSITORY / "docs").rglob("*.md"))]
PLACEHOLDERS = {
    "VERSION": "20261121T120000Z", "VERB": "plan", "SHELL": "bash", "DAYS": "1", "N": "1",
}  # fmt: skip
"""What stands in documents for a value that is not any text."""

SHOWN = re.compile(r"`([^`\n]+)`")


def code(document: Path) -> Iterator[str]:
    """Yield the lines of code blocks, which are indented by four and more."""
    for line in document.read_text().splitlines():
        if line.startswith("    ") and line.strip():
            yield line.strip()


def commands() -> list[tuple[str, str]]:
    """Return every command line of cc-images in the documents, with its document."""
    found: list[tuple[str, str]] = []
    for document in (each for each in DOCUMENTS if each.name != "cli.md"):  # made from the parser
        texts = [*code(document), *SHOWN.findall(document.read_text())]
        lines = [line for line in texts if line.startswith("cc-images ") and "[-" not in line and "…" not in line]
        meant = (line for line in dict.fromkeys(lines) if line.split()[1] in VERBS or line.split()[1].startswith("-"))
        found += [(document.name, line) for line in meant]
    return found


def is_taken(words: list[str]) -> bool:
    """Say whether the command line takes these words."""
    verb = words[0] if words[0] in VERBS else ""
    try:
        parser(verb).parse_args(words[1:] if verb else words)
    except SystemExit as end:
        return end.code == 0
    return True


def test_commands_in_the_documents_are_taken() -> None:
    refused = []
    for document, line in commands():
        words = shlex.split(re.sub(r"\s{2,}#.*| # .*|[;|&)].*", "", line), comments=True)[1:]
        words = [PLACEHOLDERS.get(word, word) for word in words]
        if not is_taken(words) and not is_taken([*words, "cc-x"]):
            refused.append(f"{document}: {line}")
    assert refused == []


def test_make_targets_and_scripts_in_the_documents_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text()
        lines = [*code(document), *SHOWN.findall(text)]
        named = {found[1] for line in lines if (found := re.match(r"make ([a-z]+)\b", line))}
        assert named <= targets, document.name
        for line in lines:
            for script in re.findall(r"(?<![\w/])(?:script|contrib|tests|docs|bench)/[\w./-]+\w", line):
                assert (REPOSITORY / script).exists(), f"{document.name}: {script}"


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name}: {link}"


def snippets(document: Path, first: str) -> Iterator[str]:
    """Yield the code blocks that begin with this."""
    block: list[str] = []
    for line in [*document.read_text().splitlines(), ""]:
        if line.startswith("    ") or (block and not line.strip()):
            block.append(line)
        elif block:
            text = "\n".join(each[4:] for each in block)
            if re.match(first, text):
                yield text + "\n"
            block = []


def test_entries_in_the_documents_load(tmp_path: Path) -> None:
    entries = [text for document in DOCUMENTS for text in snippets(document, r"CC-[\w.-]+:\n")]
    assert entries
    for text in entries:
        known = set(re.findall(r"^(CC-[\w.-]+):", text, re.MULTILINE))
        parents = {name for found in re.findall(r"depends: \[([^\]]*)\]", text) for name in found.split(", ")} - known
        images = "".join(f"{name}: {{arch: [amd64, arm64]}}\n" for name in sorted(parents)) + text
        write_files(tmp_path, images=images.replace("…", "a" * 64), sites="")
        load({"HOME": str(tmp_path), "CC_IMAGES_SETTINGS": ""}, tmp_path)


def test_settings_in_the_documents_load(tmp_path: Path) -> None:
    (text,) = snippets(REPOSITORY / "docs/settings.md", "store:")
    (tmp_path / "settings.yaml").write_text(text)
    assert read({"CC_IMAGES_SETTINGS": str(tmp_path / "settings.yaml")}).scheduled
