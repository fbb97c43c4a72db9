from test_shop import shop  # noqa: F401  (a fixture)


def test_the_page_announces_what_is_new(shop):  # noqa: F811
    assert '<p class="announcement"><< text >></p>' in shop.get("/").text
