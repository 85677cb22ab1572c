"""Who may ask: attacks by other pages, and by other machines."""

import pytest

from tests.support.web import png  # isort: skip  first: it skips all where it must

from starlette.testclient import TestClient

from sam_mlx.web.application import application
from sam_mlx.web.guard import host_of, is_loopback


def ask(server, headers, host="127.0.0.1", token=None, path="/api/sessions", method="POST"):
    with TestClient(application(server, host, token), base_url="http://x") as client:
        return client.request(method, path, headers=headers, follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"])
def test_the_servers_own_names(server, host):
    assert ask(server, {"host": host}).status_code == 201
    assert ask(server, {"host": host, "origin": f"http://{host.lower()}"}).status_code == 201


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "",
     "192.168.0.9:8000", "[::2]", "[", "127.0.0.1@evil.example", "0.0.0.0"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/sessions", "/api/nothing", "/page/x.js"])
def test_a_name_that_was_made_to_point_here_is_refused(server, host, path):
    answer = ask(server, {"host": host}, path=path, method="GET")
    assert answer.status_code == 403 and "Host" in answer.json()["error"]


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:9", "https://127.0.0.1:8000", "",
     "http://localhost:8000", "http://127.0.0.1:8000.evil.example"],
)  # fmt: skip
def test_a_foreign_page_cannot_post(server, origin):
    answer = ask(server, {"host": "127.0.0.1:8000", "origin": origin})
    assert answer.status_code == 403 and "another site" in answer.json()["error"]


def test_what_browsers_say_of_where_a_request_comes_from(server):
    host = {"host": "127.0.0.1:8000"}
    for site, expected in [("cross-site", 403), ("same-site", 403), ("same-origin", 200)]:
        headers = {**host, "sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        path = "/api/openapi.json"
        assert ask(server, headers, path=path, method="GET").status_code == expected
    link = {**host, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask(server, link, path="/", method="GET").status_code != 403
    assert ask(server, link, path="/api/openapi.json", method="GET").status_code == 403


TOKEN = "t0k3n"


def test_others_need_the_token(server):
    def status(headers=None, path="/api/openapi.json", host="192.168.0.9:8000"):
        headers = {"host": host, **(headers or {})}
        return ask(server, headers, "0.0.0.0", TOKEN, path, "GET").status_code

    assert status() == status(path="/") == status(path="/page/x.js") == 403
    assert status(path="/api/openapi.json?token=wrong") == 403
    assert status({"authorization": "Bearer wrong"}) == status({"cookie": "sam_mlx_80=x"}) == 403
    assert status({"cookie": "a=\x01;;="}) == status({"authorization": b"\xe9"}) == 403
    assert status({"authorization": f"Bearer {TOKEN}"}) == 200
    assert status(path=f"/api/openapi.json?token={TOKEN}") == 200
    assert status({"cookie": f"sam_mlx_80={TOKEN}"}) == 200
    assert status({"cookie": f"sam_mlx_80={TOKEN}"}, host="evil.example") == 403
    assert status({"cookie": f"sam_mlx_80={TOKEN}", "origin": "http://evil.example"}) == 403


def test_the_pages_address_gives_a_cookie_and_loses_the_token(server):
    headers = {"host": "192.168.0.9:8000"}
    answer = ask(server, headers, "0.0.0.0", TOKEN, f"/?token={TOKEN}&theme=dark", "GET")
    assert answer.status_code == 303 and answer.headers["location"] == "/?theme=dark"
    assert answer.headers["set-cookie"] == (f"sam_mlx_80={TOKEN}; HttpOnly; Path=/; SameSite=lax")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_other_users_of_this_machine_need_the_token_too(server, host):
    headers = {"host": "127.0.0.1:8000"}
    for path in ("/", "/page/main.js", "/api/openapi.json"):
        assert ask(server, headers, host, TOKEN, path, "GET").status_code == 403
    answer = ask(server, headers, host, TOKEN, f"/?token={TOKEN}", "GET")
    cookie = {"cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert ask(server, headers | cookie, host, TOKEN, "/", "GET").status_code != 403


def test_a_ticket_is_for_one_use_of_the_pages_address(server):
    app = application(server, "127.0.0.1", TOKEN, "ticket")
    with TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False) as client:
        assert client.get("/api/openapi.json?token=ticket").status_code == 403
        answer = client.get("/?token=ticket")
        assert answer.status_code == 303 and TOKEN in answer.headers["set-cookie"]
        client.cookies.clear()
        assert client.get("/?token=ticket").status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.9", "mac.local"])
def test_addresses_and_own_names_of_a_server_for_others(server, host, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Mac.local")
    for name in ("192.168.0.9:8000", "[fd00::9]:8000", "mac.local:8000", "mac", "localhost"):
        answer = ask(server, {"host": name}, host, TOKEN, f"/api/openapi.json?token={TOKEN}", "GET")
        assert answer.status_code == 200, name
    for name in ("evil.local", "mac.local.evil.example", "", "192.168.0.9.evil.example"):
        answer = ask(server, {"host": name}, host, TOKEN, f"/api/openapi.json?token={TOKEN}", "GET")
        assert answer.status_code == 403, name


def test_every_answer_forbids_what_the_page_does_not_need(client, page):
    answers = [
        client.get("/"), client.get("/api/openapi.json"), client.get("/nothing"),
        client.get("/api/openapi.json", headers={"host": "evil.example"}),
        client.get(f"{page.picture}/image"),
    ]  # fmt: skip
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


def test_errors_name_no_path_of_this_machine(client, page, server):
    broken = png([[1, 2], [3, 4]])[:30]
    for answer in (page.add(broken), page.add(b"x"), client.get("/page/../../etc/passwd")):
        assert answer.status_code >= 400
        assert str(server.store.folder) not in answer.text and "/tmp" not in answer.text
        assert "sam_mlx/" not in answer.text


def test_a_fault_of_the_servers_own_tells_the_client_nothing(client, page, server, monkeypatch):
    def fail(content):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(server, "encoding_share", fail)
    answer = client.get(page.picture)
    assert answer.status_code == 500 and "secret" not in answer.text


def test_names_and_addresses():
    assert host_of("[::1]:80") == "::1" and host_of(" A.b:1 ") == "a.b" and host_of("") == ""
    assert is_loopback("127.0.0.9") and is_loopback("::1") and is_loopback("localhost")
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "example.com", "")))
