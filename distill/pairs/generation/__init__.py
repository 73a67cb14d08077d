"""What the teacher is asked while pairs are made: grades, queries, instructions, altered texts. Prompts are files."""
