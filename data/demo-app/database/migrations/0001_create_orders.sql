-- Orders, and three of them, so that a new lab's page is not empty.
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer TEXT NOT NULL CHECK (length(customer) > 0),
    item TEXT NOT NULL CHECK (length(item) > 0),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    unit_price_cents INTEGER NOT NULL CHECK (unit_price_cents >= 0),
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

INSERT INTO orders (customer, item, quantity, unit_price_cents) VALUES
    ('Ada', 'Keyboard', 1, 4900),
    ('Grace', 'Compiler handbook', 2, 3550),
    ('Linus', 'Penguin plush', 3, 1990);
