"""The pages: what people see of the service, rendered here, complete without JavaScript."""

from cc_images.web.pages import (
    administration,
    audit_log,
    home,
    images,
    log_in,
    logs,
    me,
    new,
    requests,
    sign_up,
    static_files,
)
from cc_images.web.pages.layout import error, wanted
from cc_images.web.pages.planning import Planner

PEOPLE = (sign_up, me, administration, audit_log)
"""Pages of accounts."""

ROUTERS = tuple(each.router for each in (static_files, log_in, home, new, requests, logs, images, *PEOPLE))
"""The routes of the pages."""

__all__ = ["ROUTERS", "Planner", "error", "wanted"]
