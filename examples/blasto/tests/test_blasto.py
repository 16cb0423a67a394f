from blasto import APP


def test_index_lists_every_shell():
    page = APP.test_client().get("/")
    assert page.status_code == 200
    assert page.text.count("<tr>") == 5


def test_shell_by_name():
    assert APP.test_client().get("/shells/willow").json == {"name": "willow", "colour": "silver", "height_m": 250}


def test_unknown_shell_is_404():
    assert APP.test_client().get("/shells/dud").status_code == 404
