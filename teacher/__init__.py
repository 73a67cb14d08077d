"""Asking the teacher: endpoints, engines, batch files; a journal that neither loses nor buys twice; a budget."""
