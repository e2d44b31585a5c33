"""The chapters of the page: each makes one system's text, numbers and pictures from what was just measured."""
