"""The user's browser at an authorization server that asks nothing: it follows redirects, with cookies."""

import http.cookiejar
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def visit(url: str, authority: Path | None = None, *, short_of: str | None = None) -> str:
    """Opens the URL and follows redirects to their end, or to the first that begins with `short_of`, which is not opened. Where it ended."""
    handlers = [NoRedirect, urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())]
    if authority:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority)))
    opener = urllib.request.build_opener(*handlers)
    for _ in range(20):
        try:
            with opener.open(url, timeout=20):
                return url
        except urllib.error.HTTPError as response:
            location = response.headers.get("location")
            assert location, f"{response.code} of {url}: {response.read(500)}"
        url = urllib.parse.urljoin(url, location)
        if short_of and url.startswith(short_of):
            return url
    raise AssertionError(f"redirects without end, last to {url}")
