"""The summary page: questions and answers first, then set-up, tables, figures and notes by section."""
