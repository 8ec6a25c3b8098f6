"""The pages: what people see of the service, rendered here, complete without JavaScript."""

from cc_images.web.pages import home, log_in, static_files
from cc_images.web.pages.layout import error, wanted

ROUTERS = (static_files.router, log_in.router, home.router)
"""The routes of the pages."""

__all__ = ["ROUTERS", "error", "wanted"]
