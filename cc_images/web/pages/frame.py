"""The frame of pages: what each of them is made with. Hands names on."""

from cc_images.web.pages.forms import Form, Posted, local, redirect
from cc_images.web.pages.layout import page, rendered
from cc_images.web.pages.live import stream
from cc_images.web.pages.visitors import Administrator, Anyone, Member, enter, leave

__all__ = [
    "Administrator",
    "Anyone",
    "Form",
    "Member",
    "Posted",
    "enter",
    "leave",
    "local",
    "page",
    "redirect",
    "rendered",
    "stream",
]
