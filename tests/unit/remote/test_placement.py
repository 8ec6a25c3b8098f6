"""Chains of a plan, and where they are done."""

from __future__ import annotations

from typing import Any

import pytest

from cc_images.errors import UserError
from cc_images.model.attempt import BuilderHost
from cc_images.model.catalog import Arch, Download, Format
from cc_images.model.plan import BootJob, BuildJob, ConvertJob, FetchJob, Plan, PushJob, Request, Task
from cc_images.model.spec import Base
from cc_images.remote.placement import Chain, Host, Placed, chains, place
from tests.support.jobs import build_job, layer_job

AMD64, ARM64 = Arch.AMD64, Arch.ARM64

REQUEST = Request(tags=("cc-one",), build=True)


def convert(tag: str = "cc-one", arch: Arch = AMD64) -> ConvertJob:
    return ConvertJob(name=tag, published_name=tag, tag=tag, arch=arch, version="v", formats=(Format.QCOW2,))


def boot(tag: str = "cc-one") -> BootJob:
    return BootJob(name=tag, tag=tag, arch=AMD64, version="v", formats=(Format.QCOW2,), firmware=(), checks={},
                   test_key="t")  # fmt: skip


def task(name: str, job: Any, *needs: str, cached: bool = False) -> Task:
    return Task(id=name, job=job, reason="", needs=needs, cached=cached)


PUSH = PushJob(name="x", tag="cc-one", arch=AMD64, version="v", format=Format.QCOW2, site="s", properties={})
FETCH = FetchJob(artifact=Download(url="https://example.org/a", sha256="0" * 64))


def parts(*tasks: Task, request: Request = REQUEST) -> dict[tuple[str, ...], str]:
    """Return the ids of each chain's tasks, with why it stays."""
    found = chains(Plan(version="v", tasks=tasks), request)
    return {tuple(each.id for each in chain.tasks): chain.stays for chain in found}


def test_what_belongs_to_one_image_stays_together() -> None:
    found = parts(
        task("fetch a", FETCH),
        task("layer base", layer_job(tag="base"), "fetch a"),
        task("build cc-one", build_job(), "layer base"),
        task("build cc-two", build_job(tag="cc-two"), "layer base"),
        task("convert cc-one", convert(), "build cc-one"),
        task("convert cc-two", convert("cc-two"), "build cc-two"),
        task("boot cc-one", boot(), "convert cc-one"),
        task("push cc-one", PUSH, "boot cc-one"),
    )
    assert found == {
        ("fetch a",): "downloads come into this host's store",
        ("layer base",): "",
        ("build cc-one", "convert cc-one", "boot cc-one"): "",
        ("build cc-two", "convert cc-two"): "",
        ("push cc-one",): "the credentials of sites stay here",
    }


def test_work_on_stored_builds_stays_here() -> None:
    stored = task("build cc-one", build_job(), cached=True)
    assert parts(stored, task("convert cc-one", convert(), "build cc-one"), task("boot cc-one", boot())) == {
        ("build cc-one",): "there is nothing to do",
        ("convert cc-one",): "it works on a stored build",
        ("boot cc-one",): "it works on a stored build",
    }


def test_a_conversion_does_not_join_another_images_build() -> None:
    found = parts(task("build cc-two", build_job(tag="cc-two")), task("convert cc-one", convert(), "build cc-two"))
    assert set(found) == {("build cc-two",), ("convert cc-one",)}


@pytest.mark.parametrize(
    ("request_", "job", "why"),
    [
        (Request(tags=("x",), debug=True), build_job(), "a debug shell needs this terminal"),
        (Request(tags=("x",), keep_failed=True), build_job(), "--keep-failed keeps its tree here"),
        (Request(tags=("x",), until="install.d"), build_job(until="install.d"), "--until keeps its tree here"),
    ],
)
def test_trees_and_shells_stay_here(request_: Request, job: BuildJob, why: str) -> None:
    (chain,) = chains(Plan(version="v", tasks=(task("build x", job),)), request_)
    assert place(chain, HOSTS, {}, {}) == Placed(name="here", why=why)


def host(name: str, arch: Arch | None = AMD64, *also: Arch, unfit: str = "", **more: Any) -> Host:
    named = (arch, *also) if also and arch is not None else ()
    return Host(entry=BuilderHost(name=name, architectures=named, **more), arch=arch, unfit=unfit)


HERE = host("here", AMD64, ARM64, local=True, trusted=True)
HOSTS = [HERE, host("big", tasks=4), host("arm", ARM64)]


def chain(**more: Any) -> Chain:
    """Return the chain of a build."""
    return Chain(tasks=(task("build x", build_job(**more)),))


def placed(wanted: Chain, hosts: list[Host] = HOSTS, on: str = "", **load: int) -> str:
    return place(wanted, hosts, load, {}, on).name


def test_native_comes_before_emulation_and_is_waited_for() -> None:
    arm = chain(arch=ARM64)
    assert place(arm, HOSTS, {}, {}) == Placed(name="arm", why="native arm64")
    assert place(arm, HOSTS, {"arm": 1}, {}) == Placed(name="", why="arm is busy")
    assert place(arm, [HERE], {}, {}) == Placed(name="here", why="arm64 emulated")
    gone = [HERE, host("arm", ARM64, unfit="does not answer")]
    assert placed(arm, gone) == "here"


def test_the_least_loaded_is_taken_and_among_equals_the_first() -> None:
    assert placed(chain()) == "here"
    assert placed(chain(), here=1) == "big"
    assert placed(chain(), [host("two", tasks=2), host("four", tasks=4)], two=1, four=1) == "four"
    assert place(chain(), HOSTS, {"here": 1, "big": 4}, {}).why == "here and big are busy"


def test_a_host_that_has_the_layers_comes_before_one_that_is_idle() -> None:
    wanted = chain(base=Base(tag="base", recipe_key="k", content=()))
    assert wanted.builds is not None
    assert wanted.builds.spec.relies_on == ("k",)
    found = place(wanted, HOSTS, {"big": 3}, {"big": {"k"}, "here": {"other"}})
    assert found == Placed(name="big", why="native amd64, has its layers")
    assert place(wanted, HOSTS, {"big": 4}, {"big": {"k"}}).name == "here", "it has a free place"


def test_secrets_go_to_trusted_hosts() -> None:
    wanted = chain(secrets=("TOKEN",))
    assert placed(wanted, [host("big"), host("safe", trusted=True)]) == "safe"
    with pytest.raises(UserError, match="no builder can do build x: big is not trusted with TOKEN") as caught:
        placed(wanted, [host("big")])
    assert caught.value.hint


def test_one_that_is_named_is_taken_or_it_is_said_why_not() -> None:
    assert place(chain(), HOSTS, {}, {}, "big") == Placed(name="big", why="--on big, native amd64")
    assert placed(chain(), on="big", big=4) == ""
    with pytest.raises(UserError, match=r"no builder can do build x: arm does not build for amd64$"):
        placed(chain(), on="arm")
    with pytest.raises(UserError, match="--on nobody: there is no such builder"):
        placed(chain(), on="nobody")


def test_all_reasons_are_said_when_nobody_fits() -> None:
    hosts = [host("arm", ARM64), host("old", unfit="has another mke2fs: 1.46, here 1.47")]
    with pytest.raises(UserError, match=r"arm does not build for amd64; old has another mke2fs: 1.46, here 1.47"):
        placed(chain(), hosts)
