"""Tell twistd of Heimdall."""

from twisted.application.service import ServiceMaker

heimdall = ServiceMaker(
    "Heimdall", "heimdall.tap", "A caching DNS server with a cache shared through Redis.", "heimdall"
)
