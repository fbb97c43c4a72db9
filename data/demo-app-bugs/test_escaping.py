from test_shop import send_form, shop  # noqa: F401  (a fixture)


def test_markup_in_<< field >>_is_shown_as_text(shop):  # noqa: F811
    order = {"customer": "Ada", "item": "Tea", "quantity": "1", "unitPriceCents": "399"} | {"<< field >>": "<b>bold</b>"}
    page = send_form(shop, **order)
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold</b>" not in page
