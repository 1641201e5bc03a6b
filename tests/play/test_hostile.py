"""What other sites, wrong files and wrong numbers get: a message, and nothing on the disk."""

import base64
import io
import os
import socket
import sys

import pytest
import requests
from PIL import Image
from playing import NAMES, bomb, png, serving

from jittor_ddim.play import guard

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("play")) as server:
        for name in NAMES:
            server.about(name)  # so that they lie in its folder
        yield server


@pytest.fixture(scope="module")
def written():
    """The paths that this process, in which the server runs, opens to write."""
    found, writing = [], os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def watch(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & writing:
            found.append(arguments[0])

    sys.addaudithook(watch)  # for ever: there is no way to remove one
    return found


@pytest.fixture(autouse=True)
def nothing_is_written(server, written):
    def all_files():
        return {path for path in server.folder.rglob("*") if path.suffix != ".txt"}

    before = all_files()
    written.clear()
    yield
    assert all_files() == before
    assert [path for path in written if path != os.devnull] == []


def refused(server, ask, status=400):
    answer = server.post("api/run", json={"client": "one", "ask": {"engine": "jittor", **ask}})
    assert answer.status_code == status
    return answer.json()["error"]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"num_sample": 4}, "num_sample: no such parameter; did you mean num_samples?"),
        ({"x" * 5000: 1}, "no such parameter"),
        ({"engine": "../../etc"}, "engine must be one of jittor, pytorch"),
        ({"precision": "float64"}, "precision must be one of float32, bfloat16"),
        ({"network": "../../etc/passwd"}, "network must be one of digits, colours, large"),
        ({"network": "logs/\0"}, "network must be one of"),
        ({"spacing": "found:/etc/passwd"}, "spacing must be one of"),
        ({"sampler": "nothing"}, "sampler must be one of"),
        ({"timesteps": 0}, "timesteps: expected a whole number from 1 to 1000"),
        ({"timesteps": 10**9}, "timesteps: expected a whole number from 1 to 1000"),
        ({"timesteps": True}, "timesteps: expected a whole number"),
        ({"timesteps": "3"}, "timesteps: expected a whole number"),
        ({"raw": 1}, "raw"),
        ({"class_": 3}, "class_: no such parameter; did you mean class?"),
        ({"class": "3"}, "class"),
        ({"class": True}, "class"),
        ({"eta": -1}, "eta: expected a number from 0 to 10"),
        ({"strength": 0}, "strength: expected a number from 0.01 to 1"),
        ({"eta": "NaN"}, "eta"),
        ({"eta": 0.5, "sampler": "unipc"}, "takes none"),
        ({"seed": 2**63}, "seed"),
        ({"num_samples": 65}, "num_samples"),
        ({"network": "large", "num_samples": 9}, "of 256 x 256 pixels the page shows at most 8"),
        ({"network": "large", "num_samples": 3, "raw": True}, "at most 2 with their numbers"),
        ({"class": 10}, "class 10: the network has the classes 0 … 9"),
        ({"guidance": 2}, "choose one"),
        ({"kind": "reconstruct"}, "drop a picture"),
        ({"kind": "reconstruct", "picture": "***"}, "expected a PNG of 8 x 8"),
        ({"kind": "reconstruct", "sampler": "heun"}, "encoded by ddim and dpmpp_2m"),
        ({"kind": "edit", "picture": base64.b64encode(png(9)).decode()}, "PNG of 8 x 8"),
        ({"kind": "delete"}, "kind"),
    ],
)
def test_what_no_network_can_do_is_named(server, ask, message):
    assert message in refused(server, ask)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"client": 1}', b"[" * 100_000, b"\xff"])
def test_what_is_no_request_is_said(server, body):
    answer = server.post("api/run", data=body)
    assert answer.status_code == 400
    assert "error" in answer.json()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "example.org"},
        {"Host": "example.org:8642"},
        {"Host": "127.0.0.1.example.org"},
        {"Host": "192.168.1.1"},
        {"Host": "[::1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},  # an image there, with ours
    ],
)
@pytest.mark.parametrize("path", ["", "api/about", "api/picture"])
def test_another_site_is_refused(server, headers, path):
    method = "post" if path == "api/picture" else "get"
    answer = requests.request(method, server.address + path, headers=headers, timeout=9)
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_link_on_another_site_is_followed(server):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert requests.get(server.address, headers=headers, timeout=9).status_code == 200


def test_the_page_itself_is_let_in(server):
    own = {"Origin": server.address.rstrip("/")}
    assert server.post("api/picture", data=png(), headers=own).status_code == 200
    port = server.address.rstrip("/").rpartition(":")[2]
    headers = {"Host": f"localhost:{port}"}
    assert requests.get(server.address, headers=headers, timeout=9).status_code == 200


@pytest.mark.parametrize(
    ("listening", "host", "here"),
    [
        ("127.0.0.1", "127.0.0.1:80", True),
        ("127.0.0.1", "[::1]:80", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("0.0.0.0", "10.0.0.1:8642", True),
        ("0.0.0.0", "[fe80::1]:8642", True),
        ("0.0.0.0", "rebound.example.org", False),
        ("box.local", "box.local:1", True),
    ],
)
def test_only_names_that_nobody_can_register_are_this_machine(listening, host, here):
    async def nothing(*_):
        pass

    assert guard.Guard(nothing, listening)._is_here(host) is here


def test_the_page_may_ask_nobody_else(server):
    policy = requests.get(server.address, timeout=9).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy and "unsafe" not in policy and "*" not in policy


@pytest.mark.parametrize(
    "path",
    ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "....//app.py", "//etc/passwd", "languages/%00",
     "api/nothing", "C:%5Cwindows"],
)  # fmt: skip
def test_paths_stay_inside_the_page(server, path):
    request = requests.Request("GET", server.address).prepare()
    request.url = server.address + path  # as it is, not tidied up
    with requests.Session() as session:
        answer = session.send(request, timeout=9)
    assert answer.status_code == 404
    assert b"import" not in answer.content and b"root:" not in answer.content


def test_a_network_that_is_not_offered_is_named(server):
    for path in ("api/about", "api/picture"):
        method = "post" if path == "api/picture" else "get"
        wrong = {"network": f"{server.folder}/digits.safetensors"}
        answer = requests.request(method, server.address + path, params=wrong, timeout=9)
        assert answer.status_code == 400
        assert "network must be one of digits" in answer.json()["error"]


def test_what_an_address_does_not_take_is_named(server):
    for path in ("api/about", "api/picture"):
        method = "post" if path == "api/picture" else "get"
        wrong = {"netwrok": "digits"}
        answer = requests.request(method, server.address + path, params=wrong, timeout=9)
        assert answer.status_code == 400
        assert answer.json()["error"] == "netwrok: no such parameter; did you mean network?"


@pytest.mark.parametrize("suffix", ["exe", "..%2f..%2fetc", "png.exe", "%00"])
def test_a_file_of_another_kind_is_refused(server, suffix):
    answer = server.post(f"api/file/{suffix}", json={"client": "one", "ask": {"engine": "jittor"}})
    assert answer.status_code in (400, 404, 405)


def noisy():
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bomb(8_000, 8_000), "make it smaller than 50 megapixels"),
        (bomb(10_000, 10_000), "make it smaller than 50 megapixels"),  # Pillow warns
        (bomb(60_000, 60_000), "make it smaller than 50 megapixels"),  # Pillow refuses
        (b"GIF89a", "cannot be read"),
        (b"", "cannot be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe", "cannot be read"),
        (noisy()[:2000], "cannot be read"),
    ],
)
def test_what_is_no_picture_is_said(server, content, message):
    answer = server.post("api/picture", data=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_an_upload_beyond_the_limit_is_not_read(server):
    def parts():
        for _ in range(2000):
            yield bytes(1_000_000)

    try:
        answer = server.post("api/picture", data=parts())
    except requests.ConnectionError:
        pass  # the answer came while the rest was still being sent
    else:
        assert answer.status_code == 413
    host, _, port = server.address[len("http://") : -1].partition(":")
    with socket.create_connection((host, int(port)), timeout=9) as connection:
        head = [
            "POST /api/picture HTTP/1.1",
            f"Host: {host}:{port}",
            f"Content-Length: {2**31}",
            "Connection: close",
        ]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        answer = b""
        while part := connection.recv(10_000):
            answer += part
    assert b" 413 " in answer and b"more than 20 MB" in answer
    assert server.post("api/picture", data=png()).status_code == 200


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "RGB", "CMYK"])
def test_any_picture_becomes_one_of_the_network(server, mode):
    buffer = io.BytesIO()
    Image.new(mode, (30, 20)).save(buffer, "tiff" if mode == "CMYK" else "png")
    answer = server.post("api/picture", data=buffer.getvalue())
    with Image.open(io.BytesIO(answer.content)) as found:
        assert (found.size, found.mode, found.format) == ((8, 8), "L", "PNG")
