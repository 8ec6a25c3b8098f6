"""The pages: what people see of the service, rendered here, complete without JavaScript."""

from cc_images.web.pages import home, images, log_in, logs, new, requests, static_files
from cc_images.web.pages.layout import error, wanted
from cc_images.web.pages.planning import Planner

ROUTERS = tuple(each.router for each in (static_files, log_in, home, new, requests, logs, images))
"""The routes of the pages."""

__all__ = ["ROUTERS", "Planner", "error", "wanted"]
