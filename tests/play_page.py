"""The page of ``ddim play`` in a browser, as tests drive it."""

import urllib.parse

#: How many runs have reached their end.
DONE = "Number(document.querySelector('[data-done]')?.dataset.done ?? 0)"
#: Drop a file of these bytes, in base64, under this name.
DROP = """const bytes = Uint8Array.from(atob(arguments[0]), c => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[1], {type: "image/png"}));
document.querySelector(".zone").dispatchEvent(new DragEvent("drop", {dataTransfer: data}));"""


def opened(browser, server, query="lang=en"):
    browser.open("about:blank")  # so that nothing is left of another test
    browser.open(f"{server.address}?{query}")
    browser.wait(f"{DONE} > 0")


def query(browser):
    found = urllib.parse.urlsplit(browser.url).query
    return dict(urllib.parse.parse_qsl(found, keep_blank_values=True))
