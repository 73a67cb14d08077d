"""Dense retrieval: an encoder of queries and passages, exact search over an index on disk, and rank fusion."""
