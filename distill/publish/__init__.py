"""The dataset as a product of its own: card, export to other tools' formats, validation, push to the hub."""
