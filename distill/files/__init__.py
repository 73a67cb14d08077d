"""The one reader of each format that users bring: rows, texts, topics, qrels, runs; every package reads by these."""
