"""Renderers for people and programs: text, HTML, metrics, progress. They decide nothing."""
