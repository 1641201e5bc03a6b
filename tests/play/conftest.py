"""A server whose networks are ready, and a browser, for modules that make none of their own."""

import pytest
from browser import browsing
from playing import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("play")) as server:
        server.events({"timesteps": 1})  # it has started
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsing(tmp_path_factory.mktemp("profile")) as browser:
        browser.resize(1280, 900)
        yield browser
