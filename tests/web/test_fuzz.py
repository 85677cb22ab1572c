"""A thousand requests that schemathesis makes from the API's document: all are answered."""

import httpx
import pytest

from tests.support.web import Page  # isort: skip  first: it skips all where it must

from tests.support.fuzz import from_document, of_each, requests  # isort: skip  as this does

from hypothesis import given

from sam_mlx.web.endpoints import ENDPOINTS, document
from sam_mlx.web.open_sessions import MAX_SESSIONS

SCHEMA = from_document(document())
EACH = 60  # a few endpoints have fewer different requests
counted: list[int] = []


@pytest.fixture
def places(live):
    """The parts of an address that lead to something, made anew where a request removed it."""

    def current():
        page = current.page
        if client.get(f"{page.picture}/objects/o1").status_code == 404 and "o1" not in names(page):
            page = current.page = Page(client).ready()
            page.click()
        session = page.session.rpartition("/")[2]
        return {"session": session, "picture": "p1", "object": "o1", "format": "svg"}

    def names(page):
        found = client.get(page.picture).json()
        return [o["id"] for o in found.get("objects", ())]

    with httpx.Client(base_url=f"http://127.0.0.1:{live}") as client:
        current.page = Page(client)
        yield current


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.handler.__name__)
def test_no_request_is_too_much(live, server, places, endpoint):
    count = 0

    @of_each(EACH)
    @given(requests(SCHEMA, endpoint))
    def ask(case):
        nonlocal count
        count += 1
        if count % 4:  # or nearly all would end at addresses where nothing is
            case.path_parameters = {**(case.path_parameters or {}), **fitting(places())}
        if len(server.sessions) > MAX_SESSIONS - 20:
            server.sessions._open.clear()
        answer = case.call(base_url=f"http://127.0.0.1:{live}")
        assert answer.status_code != 500, answer.text
        if answer.status_code >= 400:
            assert len(answer.json()["error"]) < 400
        counted.append(answer.status_code)

    def fitting(found):
        return {k: v for k, v in found.items() if f"{{{k}}}" in endpoint.path}

    ask()


def test_it_was_a_thousand_and_many_were_answered():
    if len({*counted}) < 2:
        pytest.skip("of these tests only this one was run")
    assert len(counted) >= 1000
    assert sum(status < 300 for status in counted) > 300
