"""A trained student at work: it reads a query and a passage and says, with its reasons, how relevant they are."""
