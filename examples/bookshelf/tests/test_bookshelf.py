from bookshelf import APP
from bookshelf.tasks import draw_cover


def test_index_lists_books():
    assert "Middlemarch" in APP.test_client().get("/").text


def test_centuries():
    assert APP.test_client().get("/centuries").json == {"19th": 2, "20th": 2}


def test_cover_is_a_picture():
    assert draw_cover("Emma")["png"].startswith("iVBOR")
