"""The one reader of each format that users bring: rows, texts, topics, qrels, runs; every package reads by these."""

# An input of each stage that reads users' files. Raise it when a file may be read into other rows than before, so that
# what an earlier version has read is read again.
READING = 3
